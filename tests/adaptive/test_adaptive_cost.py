"""The benchmark's verdict, of runs whose times and NDCG are made up and so known."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "adaptive_cost.py"
pytestmark = pytest.mark.skipif(not PATH.is_file(), reason="benchmarks do not ship")


@pytest.fixture(scope="module")
def bench() -> Any:
    spec = importlib.util.spec_from_file_location("adaptive_cost", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["adaptive_cost"] = module
    spec.loader.exec_module(module)
    return module


def world(bench: Any, *, of_prodigy: float, longer: float) -> Any:
    """Fixed batches come to .20 at 6e-3 in 10 s; norm x prodigy to `of_prodigy` in 4 s (seed 9: 5), others to .1."""

    def make(setting: Any, seed: int) -> Any:
        if setting.step is None:
            best, seconds = (0.2 if setting.batch == 16 else 0.19) - 0.01 * abs(math.log(setting.scale / 6e-3)), 10.0
        elif (setting.step, setting.controller) == ("prodigy", "norm"):
            best, seconds = of_prodigy, 5.0 if seed == 9 else 4.0
            if setting.epochs:  # twice as many
                best, seconds = best + longer, 3 * seconds
        elif setting.step == "prodigy":  # a decade of scale costs .01
            best, seconds = 0.1 - (0.01 * abs(math.log10(setting.scale / 1e-4)) if setting.scale else 0), 10.0
        else:
            best, seconds = 0.1 if setting.scale is None else 0.05, 10.0
        return bench.Ran(setting, seed, [seconds / 2, seconds], [best / 2, best], [])

    return make


def verdict(
    bench: Any, folder: Path, *, of_prodigy: float = 0.21, longer: float = 0.0, deadline: float = math.inf
) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    book = bench.Book(folder / "runs.jsonl", world(bench, of_prodigy=of_prodigy, longer=longer), deadline)
    found: dict[str, Any] = bench.judged(bench.Grid((16, 64), (3e-3, 6e-3)), book, 7, [8, 9, 10], 2)
    return found


def test_the_ratio_is_the_geometric_mean_over_seeds_with_its_interval(bench: Any, tmp_path: Path) -> None:
    found = verdict(bench, tmp_path)
    assert found["fixed"] == "fixed 16, adamw 0.006"
    assert found["adaptive"] == "norm x prodigy"
    assert found["seconds_ratio"] == pytest.approx((0.4 * 0.5 * 0.4) ** (1 / 3), abs=1e-4)
    spread = 4.302653 * math.log(0.5 / 0.4) / 3  # of a mean of three, one of which lies log(5/4) above the others
    assert found["low"] == pytest.approx(found["seconds_ratio"] * math.exp(-spread), abs=1e-3)
    assert found["high"] == pytest.approx(found["seconds_ratio"] * math.exp(spread), abs=1e-3)


def test_tuning_counts_on_the_fixed_side_alone(bench: Any, tmp_path: Path) -> None:
    found = verdict(bench, tmp_path)
    assert found["tuning_seconds"] == 40  # two batches, two rates, ten seconds
    assert found["seconds_ratio_with_tuning"] == pytest.approx((4 * 5 * 4) ** (1 / 3) / 50, abs=1e-4)
    assert found["screening_seconds"] == 35 * 10 + 4  # six controllers, one of them none, with six steps
    assert found["seconds_ratio_with_all"] == pytest.approx((358 * 359 * 358) ** (1 / 3) / 50, abs=1e-3)


def test_a_target_that_is_not_reached_gives_no_ratio_but_lower_targets_do(bench: Any, tmp_path: Path) -> None:
    found = verdict(bench, tmp_path, of_prodigy=0.191)
    assert found["seconds_ratio"] is None
    assert found["at_share"]["0.95"]["seconds_ratio"] == pytest.approx((0.4 * 0.5 * 0.4) ** (1 / 3), abs=1e-4)
    assert found["at_share"]["0.99"]["seconds_ratio"] is None


def test_what_is_not_reached_in_as_many_epochs_may_take_twice_as_many_and_their_seconds_count(
    bench: Any, tmp_path: Path
) -> None:
    assert verdict(bench, tmp_path / "soon")["adaptive_epochs"] == 2
    found = verdict(bench, tmp_path / "late", of_prodigy=0.191, longer=0.01)
    assert found["adaptive_epochs"] == 4
    assert found["in_as_many_epochs"] == [None, None, None]
    assert found["seconds_ratio"] == pytest.approx((1.2 * 1.5 * 1.2) ** (1 / 3), abs=1e-4)


def test_robustness_is_the_worse_end_over_the_best_decade(bench: Any, tmp_path: Path) -> None:
    found = verdict(bench, tmp_path)
    assert found["robust_step"] == "prodigy"
    assert found["robust_fraction"] == pytest.approx(0.08 / 0.1)
    assert found["robust_fraction_adamw"] == pytest.approx((0.2 - 0.01 * math.log(100)) / 0.2, abs=1e-4)
    assert found["kept"]["dowg"] == 0.5


def test_what_was_run_is_not_run_again(bench: Any, tmp_path: Path) -> None:
    first = verdict(bench, tmp_path)
    lines = (tmp_path / "runs.jsonl").read_text()
    assert verdict(bench, tmp_path, deadline=time.monotonic()) == first
    assert (tmp_path / "runs.jsonl").read_text() == lines


def test_time_that_is_up_leaves_nulls(bench: Any, tmp_path: Path) -> None:
    found = verdict(bench, tmp_path, deadline=time.monotonic())
    assert found["seconds_ratio"] is None
    assert found["robust_fraction"] is None


def test_a_fit_that_diverged_came_to_nothing(bench: Any) -> None:
    gone = bench.Ran(bench.Setting(16, "dowg"), 7, [], [], [])
    assert gone.best == 0
    assert gone.reached(0.1) is None


def test_a_curve_has_samples_updates_and_seconds_of_each_epoch(bench: Any) -> None:
    fixed = bench.Ran(bench.Setting(16, scale=6e-3), 7, [3.0, 6.0], [0.1, 0.2], [{}, {}])
    grown = {"samples": 100, "updates": 5, "batch": 32}
    adaptive = bench.Ran(bench.Setting(16, "dowg", "norm"), 8, [2.0], [0.3], [grown])
    assert bench.curves([fixed, adaptive], rows=100).splitlines()[1:] == [
        '"fixed 16, adamw 0.006",7,1,100,7,3.0,16,0.1',
        '"fixed 16, adamw 0.006",7,2,200,14,6.0,16,0.2',
        '"norm x dowg",8,1,100,5,2.0,32,0.3',
    ]


@pytest.mark.slow
def test_quick_runs_the_machinery_on_an_invented_world(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["adaptive_cost.py", "--quick", "--seeds", "1", "--epochs", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    bench.main()
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"seconds_ratio", "low", "high", "seconds_ratio_with_tuning"} <= set(answer)
    assert 0 <= answer["robust_fraction"] <= 1
    assert 0 <= answer["robust_fraction_adamw"] <= 1
    assert answer["runs"] == len((tmp_path / "runs.jsonl").read_text().splitlines())
