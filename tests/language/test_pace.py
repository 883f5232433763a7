"""The trainer's loop, with a batch that grows: what each update has, and what is due."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from llmrec.errors import TrainingFault
from llmrec.language.pace import Pace

ASKED = {
    "logging_strategy": IntervalStrategy.STEPS,
    "eval_strategy": IntervalStrategy.STEPS,
    "save_strategy": SaveStrategy.STEPS,
    "logging_first_step": False,
    "eval_delay": 0,
}


def run(
    batches: int, first: int, epochs: float, wanted: dict[int, int], every: int = 3, at_once: bool = False
) -> tuple[Pace, list[tuple[float, bool]], int]:
    """transformers' loop (5.23, `_run_epoch`): of each update how much of a mean its gradient is, and what was due.

    `wanted` says after which micro-batch how many are asked for. Returns the steps that were planned, too.
    """
    pace, args = Pace(), SimpleNamespace(gradient_accumulation_steps=first, **ASKED)
    updates = -(-batches // first)
    steps = -(-int(epochs * updates * 100) // 100)
    pace.plan(accumulation=first, batches=batches, rows=4 * batches, steps=steps)
    state = SimpleNamespace(global_step=0, logging_steps=every, eval_steps=every, save_steps=every)
    control = SimpleNamespace(should_training_stop=False)
    found: list[tuple[float, bool]] = []
    pace.on_train_begin(args, state, control)
    while not control.should_training_stop:
        left, at, held = batches, 0, 0.0
        remainder = batches % args.gradient_accumulation_steps or args.gradient_accumulation_steps
        for update in range(updates):
            taken = min(left, args.gradient_accumulation_steps if update != updates - 1 else remainder)
            left -= taken
            for _ in range(taken):
                at += 1
                pace.saw(4)
                held += 1 / taken
                pace.wanted = max(pace.wanted, wanted.get(pace.done, 1))
                if at % args.gradient_accumulation_steps == 0 or at == batches:
                    state.global_step += 1
                    if at_once:
                        args.gradient_accumulation_steps = pace.accumulation = pace.wanted
                    pace.on_step_end(args, state, control)
                    found.append((held, control.should_log))
                    held = 0.0
                if control.should_training_stop:
                    return pace, found, steps
    return pace, found, steps


def test_the_table_of_traps() -> None:
    """32 micro-batches, two epochs, from two to four an update: at once, and where it is exact."""
    _, at_once, _ = run(32, 2, 2, {2: 4}, at_once=True)
    assert {0.5, 1.5} <= {gradient for gradient, _ in at_once}
    pace, waiting, planned = run(32, 2, 2, {2: 4})
    assert {gradient for gradient, _ in waiting} == {1.0}
    assert (planned, len(waiting), pace.done) == (32, 2 + 7 + 8, 64)


@given(some.integers(1, 40), some.integers(1, 5), some.integers(1, 3), some.data())
def test_every_gradient_is_a_mean_and_every_row_is_seen_once_an_epoch(
    batches: int, first: int, epochs: int, data: Any
) -> None:
    first = min(first, batches)
    doublings = some.integers(0, 4).map(lambda by: first * 2**by)
    pace, found, planned = run(
        batches, first, epochs, data.draw(some.dictionaries(some.integers(1, 60), doublings, max_size=4))
    )
    assert [gradient for gradient, _ in found] == pytest.approx([1.0] * len(found))
    assert (pace.done, pace.samples) == (epochs * batches, epochs * 4 * batches)
    assert len(found) <= planned
    assert pace.planned == pace.samples


@given(some.integers(1, 30), some.integers(1, 4), some.sampled_from([0.5, 1, 1.5, 2]), some.integers(1, 7))
def test_a_batch_that_stays_is_due_when_the_trainer_says(batches: int, first: int, epochs: float, every: int) -> None:
    first = min(first, batches)
    pace, found, planned = run(batches, first, epochs, {}, every)
    assert len(found) == planned == pace.position
    assert [due for _, due in found] == [step % every == 0 for step in range(1, planned + 1)]


def test_a_batch_that_grows_is_due_as_often_an_epoch() -> None:
    _, fixed, _ = run(64, 1, 2, {}, every=8)
    _, grown, _ = run(64, 1, 2, {1: 8}, every=8)
    assert sum(due for _, due in fixed) == sum(due for _, due in grown) == 16
    _, largest, _ = run(64, 1, 2, {1: 64}, every=8)
    assert all(due for _, due in largest[-2:])  # an update of 16 and more is due once


def test_a_number_of_steps_is_one_of_rows() -> None:
    pace, found, _ = run(32, 2, 0.5, {2: 4})
    assert (pace.done, len(found)) == (16, 2 + 3)


def test_an_epoch_of_one_update_has_no_room() -> None:
    pace = Pace()
    pace.plan(accumulation=3, batches=5, rows=20, steps=2)
    with pytest.raises(TrainingFault, match="20 pairs is 5 micro-batches, and the first update takes 3 of them"):
        pace.refuse_no_room()
    pace.plan(accumulation=2, batches=5, rows=20, steps=2)
    pace.refuse_no_room()


def test_where_it_was_is_where_it_goes_on() -> None:
    pace, _, _ = run(32, 2, 1, {2: 4})
    other = Pace()
    other.plan(accumulation=2, batches=32, rows=128, steps=16)
    other.load_state_dict(pace.state_dict())
    assert (other.position, other.batch, other.samples) == (pace.position, pace.batch, pace.samples)
    assert other.elapsed() >= pace.seconds
