"""Fitting in the cinema with a batch and a step that set themselves: exact sums, exact resuming, a log of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmrec.adaptive import statistics
from llmrec.adaptive.schedule import FINAL
from llmrec.adaptive.statistics import Moments
from llmrec.adaptive.steps import STEPS
from llmrec.cross_entropy import cross_entropy
from llmrec.errors import TrainingFault
from llmrec.recipe.sections import Adaptive
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever import adaptive as adapting
from llmrec.retriever.adaptive import Adapting
from llmrec.retriever.fit import fit
from llmrec.retriever.model import Retriever
from llmrec.retriever.windows import Batch, Growing, Window, batch, bucketed, windows
from tests.retriever.test_fit import ASKED, FITTED, KEYS, SMALL, Killed, log, same

GROWS: dict[str, Any] = {"batch": "noise_scale", "threshold": 0.3, "patience": 2, "smoothing": 0.5, "most": 32}
SCALES = {"dowg": 1e-2, "usgm": 3.0, "adabatchgrad": 1.0, "prodigy": 1e-3, "sgd": 0.3}


def needed(step: str) -> None:
    """Two steps are packages of their own."""
    if step in ("schedule_free", "prodigy"):
        pytest.importorskip({"schedule_free": "schedulefree", "prodigy": "prodigyopt"}[step])


@pytest.fixture(autouse=True)
def _measuring_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cinema has five updates an epoch."""
    monkeypatch.setattr(adapting, "SAMPLES", 0)


def section(settings: dict[str, Any], **more: Any) -> Section:
    return Section.model_validate(SMALL.model_dump() | {"batch_size": 4, "epochs": 6, "adaptive": settings} | more)


def fitted(of: Section, out: Path) -> Retriever:
    return fit(FITTED, len(KEYS), of, valid=ASKED, seed=7, out=out)


def rows(count: int) -> list[list[Window]]:
    return [[Window(at, 0, len(FITTED[at]), 0)] for at in range(count)]


def fresh(settings: dict[str, Any], **more: Any) -> Adapting:
    torch.manual_seed(3)
    of = section(settings, dropout=0.0, **more)
    assert of.adaptive is not None
    return Adapting(Retriever(len(KEYS), of), of.adaptive, samples=1000)


def made(one: Adapting) -> Callable[[list[list[Window]]], Batch]:
    return partial(batch, histories=FITTED, gaps=None, begin=one.model.begin)


def gradient(one: Adapting, parts: list[list[list[Window]]]) -> tuple[torch.Tensor, float, Moments | None]:
    loss, _, found = one._gradient(parts, made(one), cross_entropy)
    return one._flat(), loss, found


# The rows of an epoch.


def test_while_it_does_not_grow_batches_are_those_of_a_fixed_size() -> None:
    cut = windows([len(h) for h in FITTED], 6, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    lengths = np.array([w.stop - w.start for w in cut])
    order = np.argsort(lengths * rng.uniform(0.9, 1.1, len(lengths)), kind="stable")
    fixed = [[[cut[i]] for i in order[at : at + 8]] for at in rng.permutation(np.arange(0, len(order), 8))]
    assert list(bucketed(cut, 8, np.random.default_rng(2))) == fixed


@given(st.integers(0, 60), st.integers(1, 9), st.sets(st.integers(0, 20), max_size=3), st.integers(0, 9))
def test_each_row_comes_once_however_the_batch_grows(count: int, size: int, when: set[int], seed: int) -> None:
    whole = [[Window(at, 0, 1, 0)] for at in range(count)]
    dealt = Growing(whole, size, np.random.default_rng(seed))
    seen = []
    for at, some in enumerate(dealt):
        assert 1 <= len(some) <= dealt.size
        assert some == sorted(some, key=lambda row: row[0].history)  # neighbours stay together
        seen += some
        if at in when:
            dealt.size *= 2
    assert sorted(seen, key=lambda row: row[0].history) == whole


def test_the_next_batch_is_the_larger_one() -> None:
    dealt = Growing(rows(40), 4, np.random.default_rng(0))
    sizes = []
    for some in dealt:
        sizes.append(len(some))
        dealt.size = 8
    assert sizes[0] == 4
    assert sorted(sizes[1:]) == [4, 8, 8, 8, 8]  # 36 were left


# One update.


@pytest.mark.parametrize("more", [{}, {"horizon": 3}, {"temperature": 0.2, "bias": True}])
@pytest.mark.parametrize("micro", [1, 3, 7, 20])
def test_chunks_add_up_to_the_gradient_of_the_whole(micro: int, more: dict[str, Any]) -> None:
    one, other = fresh({}, **more), fresh({"micro": micro}, **more)
    some = rows(20)
    whole, loss, _ = gradient(one, [some])
    for parts in ([some], [some[0::2], some[1::2]]):
        found, also, _ = gradient(other, parts)
        assert also == pytest.approx(loss, rel=1e-5)
        torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-6)


def test_what_is_measured_is_what_its_halves_say() -> None:
    one, some = fresh(GROWS), rows(8)
    _, _, found = gradient(one, [some[0::2], some[1::2]])
    halves = torch.stack([gradient(one, [half])[0] for half in (some[0::2], some[1::2])])
    assert found is not None
    assert (found.groups, found.size) == (2, 4)
    expected = statistics.moments(halves, 4)
    for name in statistics.AVERAGED:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-3)


@pytest.mark.parametrize(
    "of", [torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_where_memory_is_full_fewer_rows_go_at_once_and_the_gradient_is_the_same(
    of: RuntimeError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _, _ = gradient(fresh({}), [rows(20)])
    real = adapting.lost

    def full(model: Retriever, loss_fn: Any, some: Batch) -> Any:
        if len(some.codes) > 6:
            raise of
        return real(model, loss_fn, some)

    monkeypatch.setattr(adapting, "lost", full)
    one = fresh({})
    found, _, _ = gradient(one, [rows(20)])
    assert one.room == 5
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-6)
    assert "memory is full with 20 rows at once; from here on 10" in capsys.readouterr().err


def test_no_memory_for_one_row_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(adapting, "lost", full)
    with pytest.raises(TrainingFault, match="no memory for a single row"):
        gradient(fresh({}), [rows(5)])


def test_other_errors_are_not_taken_for_full_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*given: object) -> None:
        raise RuntimeError("shapes do not agree")

    monkeypatch.setattr(adapting, "lost", wrong)
    with pytest.raises(RuntimeError, match="shapes do not agree"):
        gradient(fresh({}), [rows(5)])


# A whole fit.


def test_the_batch_grows_within_its_bound_and_the_log_tells(tmp_path: Path) -> None:
    fitted(section(GROWS), tmp_path)
    lines = log(tmp_path)
    batches = [line["batch"] for line in lines]
    assert all(one <= after for one, after in pairwise(batches))
    assert 4 < batches[-1] <= 32
    assert {"batch", "noise_scale", "step_size", "samples", "skipped"} < set(lines[0])
    assert lines[-1]["noise_scale"] > 0
    assert [line["samples"] for line in lines] == [40 * (at + 1) for at in range(6)]
    assert all(line["skipped"] == 0 for line in lines)


def test_it_is_told_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("llmrec.progress.EVERY", -1.0)
    fitted(section(GROWS, epochs=2), tmp_path)
    told = capsys.readouterr().err.splitlines()[-1]
    assert "done after 2 epochs, loss " in told
    assert ", batch " in told
    assert ", step size " in told


def test_a_schedule_over_samples_ends_where_it_should_although_steps_are_fewer(tmp_path: Path) -> None:
    fixed, grown = ({"step": "adamw"}, {**GROWS, "step": "adamw"})
    for name, settings in (("fixed", fixed), ("grown", grown)):
        fitted(section(settings, patience=6), tmp_path / name)
    last, other = log(tmp_path / "fixed")[-1], log(tmp_path / "grown")[-1]
    assert last["samples"] == other["samples"] == 240
    times = other["batch"] / 4
    # The last step was taken with what was left when its batch began; the rest is the root of the growth.
    assert FINAL * 0.02 <= last["step_size"] < 2 * FINAL * 0.02
    assert FINAL * 0.02 <= other["step_size"] / times**0.5 < 0.5 * 0.02


@pytest.mark.parametrize("step", STEPS)
def test_every_step_comes_to_know_the_next_film(step: str, tmp_path: Path) -> None:
    """Weights as drawn come to 0.09, 0.13 at best of 20 draws."""
    needed(step)
    settings = {"step": step, "scale": SCALES.get(step)}
    fitted(section(settings, epochs=15, patience=15, weight_decay=0.0, dropout=0.0), tmp_path)
    assert max(line["ndcg@10"] for line in log(tmp_path)) > 0.6


@pytest.mark.parametrize("step", STEPS)
def test_killed_and_run_again_it_takes_the_same_batches_and_ends_the_same(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed(step)
    of = section({**GROWS, "step": step, "scale": SCALES.get(step)})
    undisturbed = fitted(of, tmp_path / "one")
    one = Adapting.epoch

    def dying(self: Adapting, *given: Any) -> float:
        if given[3] == 4:
            raise Killed
        return one(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Adapting, "epoch", dying)
        with pytest.raises(Killed):
            fitted(of, tmp_path / "two")
    again = fitted(of, tmp_path / "two")
    assert same(again, undisturbed)

    def timeless(out: Path) -> list[dict[str, float]]:
        return [{key: value for key, value in line.items() if key != "seconds"} for line in log(out)]

    assert timeless(tmp_path / "two") == timeless(tmp_path / "one")
    assert log(tmp_path / "one")[-1]["batch"] > 4


@pytest.mark.parametrize("step", ["schedule_free", "usgm"])
def test_what_is_saved_is_the_average(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed(step)
    steps: list[Adapting] = []
    init = Adapting.__init__

    def kept(self: Adapting, *given: Any, **more: Any) -> None:
        init(self, *given, **more)
        steps.append(self)

    monkeypatch.setattr(Adapting, "__init__", kept)
    model = fit(FITTED, len(KEYS), section({"step": step, "scale": SCALES.get(step)}), valid=None, seed=7, out=tmp_path)
    averaged = Retriever.load(tmp_path, n_items=len(KEYS))
    assert same(averaged, model)
    iterate: Any = steps[0].optimizer
    iterate.train()
    assert not same(averaged, steps[0].model)


def test_statistics_that_are_no_numbers_are_counted_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Moments(2, 2, float("nan"), float("nan"), 0.0, 0.0, 1.0)
    monkeypatch.setattr(adapting, "moments", lambda *given: broken)
    fitted(section(GROWS, epochs=1), tmp_path)
    (line,) = log(tmp_path)
    assert (line["batch"], line["skipped"], line["noise_scale"]) == (4, 10, None)
    assert capsys.readouterr().err.count("statistics that are no numbers") == 10
    json.loads((tmp_path / "log.jsonl").read_text())


def test_a_loss_that_is_not_a_number_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapting, "lost", lambda model, *given: (model.items.weight.sum() * float("nan"), 3))
    with pytest.raises(TrainingFault, match=r"loss is nan in epoch 1, step 1. Lower retriever.adaptive.scale"):
        fitted(section({"step": "dowg"}), tmp_path)


def test_packed_rows_grow_too(tmp_path: Path) -> None:
    fitted(section(GROWS, rows="packed", max_length=12, batch_size=2), tmp_path)
    assert log(tmp_path)[-1]["batch"] > 2


@pytest.mark.parametrize(
    ("grown", "halved"), [(4, [True, False, False, True, False, False, True]), (8, [True, False, True, False])]
)
def test_only_now_and_then_is_an_update_measured(
    grown: int, halved: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every 12 samples, as near as whole updates come: every third of 4, every other one of 8."""
    monkeypatch.setattr(adapting, "SAMPLES", 3)
    one = fresh(GROWS)
    assert one.controller is not None
    one.controller.batch = grown
    seen = []
    real = one._gradient

    def counted(parts: Any, *given: Any) -> Any:
        seen.append(len(parts) == 2)
        return real(parts, *given)

    monkeypatch.setattr(one, "_gradient", counted)
    monkeypatch.setattr(one, "_decide", lambda found: None)
    one.epoch(rows(len(halved) * grown), made(one), cross_entropy, 1, np.random.default_rng(0))
    assert seen == halved


def test_a_short_batch_is_not_measured_but_the_next_whole_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    one = fresh(GROWS)
    seen = []
    real = one._gradient

    def counted(parts: Any, *given: Any) -> Any:
        seen.append((sum(map(len, parts)), len(parts)))
        return real(parts, *given)

    monkeypatch.setattr(one, "_gradient", counted)
    monkeypatch.setattr(one, "_decide", lambda found: None)
    one.epoch(rows(10), made(one), cross_entropy, 1, np.random.default_rng(0))
    assert sorted(seen) == [(2, 1), (4, 2), (4, 2)]


def test_a_bound_that_no_recipe_would_give_is_refused() -> None:
    own = Adaptive(batch="norm", most=2)
    with pytest.raises(ValueError, match="below the first"):
        Adapting(Retriever(len(KEYS), SMALL), own, samples=10)
