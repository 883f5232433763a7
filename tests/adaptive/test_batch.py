"""What each test wants by its formula, and a batch that only doubles, late and within its bound."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmrec.adaptive.batch import TESTS, THRESHOLDS, BatchController
from llmrec.adaptive.statistics import Moments, moments, moments_of
from tests.adaptive.test_statistics import drawn

SEEN = Moments(groups=4, size=2, norm_sq=2.0, trace=60.0, inner=90.0, orthogonal=1000.0, mean_sq=3.0)
NONSENSE = replace(SEEN, trace=math.nan)


def asking(batch: float) -> Moments:
    """Of which `noise_scale` wants this batch, with its own threshold."""
    return replace(SEEN, norm_sq=1.0, trace=batch)


def controller(test: str = "noise_scale", *, batch: int = 4, most: int = 64, patience: int = 3) -> BatchController:
    return BatchController(test, batch=batch, most=most, patience=patience, smoothing=0.0)


@pytest.mark.parametrize(
    ("test", "threshold", "wanted"),
    [
        ("norm", 0.5, 60 / (0.25 * 3)),
        ("adabatchgrad", 0.5, 60 / (0.25 * 3)),
        ("inner_product", 0.9, math.ceil(90 / (0.81 * 9))),
        ("augmented", 0.9, math.ceil(90 / (0.81 * 9))),
        ("augmented", 9.0, math.ceil(1000 / (5.84**2 * 3))),
        ("noise_scale", 0.5, 60 / (0.25 * 2)),
        ("noise_scale", 1.0, 30),
    ],
)
def test_what_each_test_wants(test: str, threshold: float, wanted: float) -> None:
    assert TESTS[test](SEEN, threshold) == wanted


@pytest.mark.parametrize("test", TESTS)
def test_no_noise_wants_a_single_sample_and_noise_alone_cannot_say(test: str) -> None:
    assert TESTS[test](replace(SEEN, trace=0.0, inner=0.0, orthogonal=0.0), 0.5) == 1
    assert TESTS[test](replace(SEEN, norm_sq=-1.0, mean_sq=0.0), 0.5) == math.inf


@pytest.mark.parametrize("test", TESTS)
@given(noise=st.floats(0, 1e6), more=st.floats(1, 10), threshold=st.floats(0.01, 10))
def test_more_noise_never_wants_less_and_neither_does_a_stricter_threshold(
    test: str, noise: float, more: float, threshold: float
) -> None:
    def wanted(noise: float, threshold: float) -> float:
        return TESTS[test](replace(SEEN, trace=noise, inner=noise, orthogonal=noise), threshold)

    assert 1 <= wanted(noise, threshold) <= wanted(noise * more, threshold)
    assert wanted(noise, threshold) <= wanted(noise, threshold / more)


def test_the_norm_test_of_the_true_gradient_is_the_noise_scale_over_the_squared_threshold() -> None:
    draw, scale, size = torch.Generator().manual_seed(4), 12.0, 8
    one = BatchController("noise_scale", batch=16, most=16, threshold=0.5, smoothing=0.99)
    for _ in range(400):
        one.observe(moments(drawn(scale, 2, size, draw), size))
    assert one.noise_scale == pytest.approx(scale, rel=0.1)
    assert one.state_dict()["requests"] == [16.0] * 5  # wants scale / 0.25, and may not


def test_it_grows_once_every_one_of_the_last_requests_is_for_more() -> None:
    one = controller(batch=4, patience=3)
    grown = [one.observe(asking(wanted)) for wanted in (9, 9, 3, 9, 9, 9)]
    assert grown == [False, False, False, False, False, True]
    assert one.batch == 8


def test_it_goes_to_the_smallest_of_the_last_requests_and_rounds_up_to_a_doubling() -> None:
    one = controller(batch=4, patience=2)
    batches = []
    for wanted in (60, 20, 60, 20, 60, 20):
        one.observe(asking(wanted))
        batches.append(one.batch)
    assert batches == [4, 8, 16, 32, 32, 32]


def test_it_never_shrinks() -> None:
    one = controller(batch=4, patience=1)
    one.observe(asking(8))
    for _ in range(20):
        assert not one.observe(asking(1))
    assert one.batch == 8


@pytest.mark.parametrize(("most", "ends"), [(4, 4), (7, 4), (8, 8), (30, 16)])
def test_its_bound_is_never_passed(most: int, ends: int) -> None:
    one = controller(batch=4, most=most, patience=1)
    for _ in range(9):
        one.observe(asking(1e9))
    assert one.batch == ends


@given(
    st.lists(st.one_of(st.floats(0, 500), st.just(math.nan), st.just(math.inf)), max_size=60),
    st.integers(1, 6),
    st.integers(4, 99),
)
def test_whatever_it_sees_it_doubles_at_most_once_at_a_time(seen: list[float], patience: int, most: int) -> None:
    one = controller(batch=4, most=most, patience=patience)
    for wanted in seen:
        before = one.batch
        grown = one.observe(asking(wanted))
        assert one.batch == (2 * before if grown else before) <= most
    assert one.skipped == sum(not math.isfinite(wanted) for wanted in seen)


def test_what_is_no_number_is_counted_and_decides_nothing() -> None:
    with_holes, without = controller(), controller()
    decided = [with_holes.observe(one) for one in (asking(9), NONSENSE, asking(9), NONSENSE, asking(9))]
    assert [decided[at] for at in (0, 2, 4)] == [without.observe(asking(9)) for _ in range(3)] == [False, False, True]
    assert with_holes.skipped == 2
    assert with_holes.noise_scale == without.noise_scale == 9


def test_where_no_gradient_shows_nothing_is_requested() -> None:
    one = controller(patience=1)
    assert not one.observe(replace(asking(50), norm_sq=-1.0))
    assert (one.batch, one.skipped, one.noise_scale) == (4, 0, None)


def test_adabatchgrad_looks_at_each_update_by_itself() -> None:
    """A quiet update between loud ones: an average is still loud, a single test is not."""
    loud, quiet = replace(SEEN, trace=300.0), replace(SEEN, trace=0.0)
    smoothed, single = (
        BatchController(test, batch=4, most=64, threshold=1.0, patience=4, smoothing=0.9)
        for test in ("norm", "adabatchgrad")
    )
    for found in (loud, loud, quiet, loud):
        smoothed.observe(found)
        single.observe(found)
    assert (smoothed.batch, single.batch) == (8, 4)


@pytest.mark.parametrize("test", TESTS)
def test_stopped_and_gone_on_it_decides_the_same(test: str) -> None:
    draw = torch.Generator().manual_seed(5)
    some = [moments(drawn(80.0, 2, 4, draw, width=40), 4) for _ in range(60)]
    some[20] = NONSENSE
    whole = BatchController(test, batch=4, most=256, threshold=0.6)
    decided = [whole.observe(one) for one in some]
    gone_on = BatchController(test, batch=4, most=256, threshold=0.6)
    again = []
    for one in some:
        again.append(gone_on.observe(one))
        state = json.loads(json.dumps(gone_on.state_dict()))
        gone_on = BatchController(test, batch=4, most=256, threshold=0.6)
        gone_on.load_state_dict(state)
    assert again == decided
    assert (gone_on.batch, gone_on.noise_scale, gone_on.skipped) == (whole.batch, whole.noise_scale, 1)
    if test not in ("inner_product", "augmented"):  # noise in 40 directions is hardly along the gradient
        assert any(decided)


@pytest.mark.parametrize("test", ["norm", "noise_scale", "adabatchgrad"])
def test_two_machines_and_one_decide_the_same_of_the_same_groups(test: str) -> None:
    """Each of two knows the mean of all and half of the groups; what both send is all that they decide by."""
    draw = torch.Generator().manual_seed(6)
    one, two = (BatchController(test, batch=8, most=256, threshold=0.6) for _ in range(2))
    grown = []
    for _ in range(60):
        groups = drawn(80.0, 4, 2, draw)
        mean = groups.mean(0)
        sent = [((half - mean).square().sum(1), (half - mean) @ mean) for half in (groups[2:], groups[:2])]
        squares, along = (torch.cat(part).tolist() for part in zip(*sent, strict=True))
        grown.append(one.observe(moments(groups, 2)))
        assert two.observe(moments_of(squares, along, float(mean @ mean), 2)) == grown[-1]
    assert one.batch == two.batch > 8


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"test": "guess"}, "guess is no batch test; there are norm, inner_product"),
        ({"most": 15}, "the largest batch, 15, is below the first, 16"),
        ({"batch": 0}, "must be positive"),
        ({"patience": 0}, "must be positive"),
        ({"threshold": 0.0}, "must be positive"),
        ({"threshold": math.nan}, "must be positive"),
        ({"smoothing": 1.0}, "below 1"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], told: str) -> None:
    asked: dict[str, object] = {"test": "norm", "batch": 16, "most": 64} | settings
    test = str(asked.pop("test"))
    with pytest.raises(ValueError, match=told):
        BatchController(test, **asked)  # type: ignore[arg-type]


def test_every_test_has_a_threshold_of_its_own() -> None:
    assert THRESHOLDS.keys() == TESTS.keys()
