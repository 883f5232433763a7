"""Rates over samples seen, whatever the batch does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmrec.adaptive.schedule import FINAL, BySamples, Kind
from llmrec.adaptive.steps import growth, make_step
from llmrec.errors import TrainingFault


def optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates or [1.0]])


def rates(schedule: BySamples) -> list[float]:
    return [group["lr"] for group in schedule.optimizer.param_groups]


def test_a_growing_batch_ends_at_the_same_rate_as_a_fixed_one() -> None:
    fixed = BySamples(optimizer(), samples=1024, kind="cosine")
    for seen in range(0, 1025, 16):
        fixed.step(seen)
    growing, seen, batch = BySamples(optimizer(), samples=1024, kind="cosine"), 0, 16
    while seen < 1024:
        seen, batch = min(seen + batch, 1024), batch * 2
        growing.step(seen)
    assert rates(growing) == rates(fixed) == [pytest.approx(FINAL)]


def test_the_cosine_is_the_retrievers() -> None:
    from llmrec.retriever.fit import _share

    schedule = BySamples(optimizer(), samples=1000, kind="cosine")
    assert [schedule.share(seen) for seen in range(0, 1001, 7)] == pytest.approx(
        [_share(seen / 1000) for seen in range(0, 1001, 7)]
    )


def test_groups_keep_their_proportions() -> None:
    schedule = BySamples(optimizer(1.0, 16.0), samples=100, kind="linear")
    schedule.step(60)
    low, high = rates(schedule)
    assert high == pytest.approx(16 * low)
    assert low < 1


def test_a_growth_counts_once_however_many_steps_follow() -> None:
    schedule = BySamples(optimizer(0.1), samples=100, warmup=0.0, kind="constant")
    schedule.grow(growth("adamw", 2))
    for seen in range(0, 100, 10):
        schedule.step(seen)
    assert rates(schedule) == [pytest.approx(0.1 * math.sqrt(2))]
    schedule.grow(growth("adamw", 2))
    assert rates(schedule) == [pytest.approx(0.2)]


@pytest.mark.parametrize("optimizer_first", [True, False])
def test_resuming_goes_on_with_the_growth_and_does_not_repeat_it(optimizer_first: bool) -> None:
    whole = BySamples(optimizer(0.1, 0.3), samples=100, kind="cosine")
    whole.step(30)
    whole.grow(growth("adamw", 4))
    whole.step(50)
    again = BySamples(optimizer(0.1, 0.3), samples=100, kind="cosine")
    if optimizer_first:
        again.optimizer.load_state_dict(whole.optimizer.state_dict())
    again.load_state_dict(whole.state_dict())
    if not optimizer_first:
        again.optimizer.load_state_dict(whole.optimizer.state_dict())
    assert rates(again) == rates(whole)
    whole.step(70)
    again.step(70)
    assert rates(again) == rates(whole)


def test_one_made_of_a_restored_optimiser_takes_its_rates_from_the_state() -> None:
    whole = BySamples(optimizer(0.1), samples=100, kind="cosine")
    whole.step(90)
    late = optimizer(0.1)
    late.load_state_dict(whole.optimizer.state_dict())
    again = BySamples(late, samples=100, kind="cosine")
    again.load_state_dict(whole.state_dict())
    again.step(20)
    whole.step(20)
    assert rates(again) == rates(whole)


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_averaged_weights_refuse_a_decay(kind: Kind) -> None:
    usgm = make_step("usgm", [torch.zeros(1, requires_grad=True)])
    with pytest.raises(TrainingFault, match=f"adaptive.schedule: {kind} decays the step.*Take constant"):
        BySamples(usgm, samples=10, kind=kind)


def test_what_is_usual_is_constant_for_averages_and_a_cosine_else() -> None:
    weight = [torch.zeros(1, requires_grad=True)]
    assert BySamples(make_step("usgm", weight), samples=10).kind == "constant"
    assert BySamples(make_step("dowg", weight), samples=10).kind == "cosine"


@given(
    st.integers(0, 3000),
    st.floats(0, 0.9),
    st.sampled_from(["constant", "cosine", "linear"]),
)
def test_a_share_lies_above_nothing_and_never_above_the_whole(seen: int, warmup: float, kind: Kind) -> None:
    share = BySamples(optimizer(), samples=2000, warmup=warmup, kind=kind).share(seen)
    assert 0 < share <= 1 + 1e-12


@pytest.mark.parametrize(("samples", "warmup"), [(0, 0.05), (10, 1.0), (10, -0.1)])
def test_a_schedule_of_nothing_is_a_mistake_of_ours(samples: int, warmup: float) -> None:
    with pytest.raises(ValueError, match="samples, of which"):
        BySamples(optimizer(), samples=samples, warmup=warmup, kind="constant")
