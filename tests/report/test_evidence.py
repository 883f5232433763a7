"""Reading a run folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from llmrec.errors import RunFault
from llmrec.report.evidence import read_evidence, seed_of


def test_a_run_that_was_not_evaluated_has_nothing_to_report(run: Path):
    (run / "evaluate" / "metrics.json").unlink()
    with pytest.raises(RunFault, match="Run `evaluate` first"):
        read_evidence(run)


def test_the_full_catalogue_comes_first(finished: Path):
    assert list(read_evidence(finished).tables) == ["catalogue", "uniform"]


def test_rankers_are_told_apart_by_what_they_are(finished: Path):
    evidence = read_evidence(finished)
    names = ["popularity", "retriever", "before", "orpo", "orpo-s8", "fused", "fused-s8", "theirs", "orpo-small"]
    kinds = ["floor", "retriever", "language", "language", "language", "fused", "fused", "other", "other"]
    assert [evidence.kind(name) for name in names] == kinds


def test_the_last_tuned_arm_speaks_for_the_language_side(finished: Path):
    evidence = read_evidence(finished)
    assert evidence.spokesman(["retriever", "orpo", "before"]) == "orpo"
    assert evidence.spokesman(["orpo-s8", "orpo-s7", "before"]) == "orpo-s7"
    assert evidence.spokesman(["before"]) == "before"
    assert evidence.spokesman(["retriever", "popularity"]) is None


@pytest.mark.parametrize(
    ("folder", "whose"),
    [
        ("orpo", ("orpo", None)),
        ("orpo-s8", ("orpo", 8)),
        ("fused-s8", ("fused", 8)),
        ("one/fused-s8", ("one/fused", 8)),
        ("theirs-s8", ("theirs-s8", None)),
        ("orpo-small", ("orpo-small", None)),
        ("twin-s2", ("twin-s2", None)),  # an arm of that name
    ],
)
def test_a_folder_is_a_seed_of_an_arm_or_of_fused(folder: str, whose: tuple[str, int | None]):
    assert seed_of(folder, ["orpo", "twin", "twin-s2"]) == whose


def test_the_best_floor_is_the_one_with_the_highest_primary_metric(finished: Path):
    assert read_evidence(finished).best_floor("uniform") == "transitions"  # it knows every next film of the cinema


def test_a_log_whose_last_line_was_cut_off_is_read_up_to_there(run: Path):
    log = run / "train" / "orpo" / "train_log.jsonl"
    whole = len(read_evidence(run).tuning["orpo"])
    log.write_text(log.read_text() + '{"step": 99, "lo')
    assert len(read_evidence(run).tuning["orpo"]) == whole


def test_a_broken_line_inside_a_log_is_named(run: Path):
    log = run / "pretrain" / "log.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:3], "nonsense", *lines[3:]]))
    with pytest.raises(RunFault, match=r"log\.jsonl:4: is not JSON"):
        read_evidence(run)


@pytest.mark.parametrize("name", ["evaluate/comparisons.json", "manifest.json"])
def test_a_file_that_is_no_json_is_named(run: Path, name: str):
    (run / name).write_text("{")
    with pytest.raises(RunFault, match=name):
        read_evidence(run)


def test_parts_that_a_run_does_not_have_are_empty(run: Path):
    for part in ("pretrain", "train", "retrieve", "prepare"):
        shutil.rmtree(run / part)
    (run / "manifest.json").unlink()
    evidence = read_evidence(run)
    assert evidence.pretraining == evidence.tuning == evidence.fitting == evidence.manifest == {}
    assert evidence.items is None


def test_stages_that_started_in_the_same_second_stand_in_the_order_of_the_work(run: Path):
    for record in run.rglob("stage.json"):
        record.write_text(json.dumps({**json.loads(record.read_text()), "started": "2026-01-01T00:00:00Z"}))
    done = [stage["stage"] for stage in read_evidence(run).cost["stages"]]
    assert done == ["prepare", "retrieve", "pretrain", "train"]


def test_cost_is_taken_from_the_evaluation_where_stages_left_no_record(run: Path):
    for record in run.rglob("stage.json"):
        record.unlink()
    kept = {"stages": [{"stage": "train", "seconds": 5}], "rankers": {}}
    (run / "evaluate" / "cost.json").write_text(json.dumps(kept))
    assert read_evidence(run).cost == kept


@pytest.mark.parametrize("name", ["evaluate/metrics.json", "rankings/orpo/summary.json", "prepare/stage.json"])
@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_every_file_of_a_stage_that_cannot_be_read_has_the_same_remedy(run: Path, name: str, content: str):
    (run / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunFault, match=rf"{name}: .* Remove the file to run its stage again\.$"):
        read_evidence(run)
