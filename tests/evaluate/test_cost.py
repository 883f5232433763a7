from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmrec.errors import RunFault
from llmrec.evaluate.cost import cost


def wrote(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_stages_come_in_the_order_in_which_they_started(tmp_path: Path):
    for stage, started in (("train/orpo", "2026-01-01T10:00:02"), ("prepare", "2026-01-01T10:00:01")):
        wrote(
            tmp_path / stage / "stage.json",
            {
                "stage": stage,
                "fingerprint": "f",
                "seconds": 3.5,
                "peak_rss_gb": 0.5,
                "started": started,
                "device": "cpu",
            },
        )
    found = cost(tmp_path)["stages"]
    assert [stage["stage"] for stage in found] == ["prepare", "train/orpo"]
    assert found[0] == {
        "stage": "prepare",
        "seconds": 3.5,
        "peak_rss_gb": 0.5,
        "started": "2026-01-01T10:00:01",
        "device": "cpu",
    }


def test_rankers_go_by_their_folder(tmp_path: Path):
    wrote(tmp_path / "rankings" / "popularity" / "summary.json", {"users_per_second": 900.0})
    assert cost(tmp_path) == {"stages": [], "rankers": {"popularity": {"users_per_second": 900.0}}}


def test_a_run_that_has_not_begun_cost_nothing(tmp_path: Path):
    assert cost(tmp_path) == {"stages": [], "rankers": {}}


@pytest.mark.parametrize("content", ["{", "[1, 2]"])
def test_half_a_file_is_named(tmp_path: Path, content: str):
    wrote(tmp_path / "prepare" / "stage.json", {})
    (tmp_path / "prepare" / "stage.json").write_text(content)
    with pytest.raises(RunFault, match=r"prepare/stage.json: .*to run"):
        cost(tmp_path)
