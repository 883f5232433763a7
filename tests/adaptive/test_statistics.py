"""Gradients drawn from Gaussians, whose signal and noise are known."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from llmrec.adaptive.statistics import AVERAGED, Averages, Moments, moments, moments_of

WIDTH = 400


def drawn(scale: float, groups: int, size: int, draw: torch.Generator, width: int = WIDTH) -> Tensor:
    """Mean gradients of groups of a world with |G| = 1 and tr(Sigma) = scale, so that this is its noise scale."""
    signal = torch.full((width,), width**-0.5)
    return signal + torch.randn(groups, width, generator=draw) * (scale / width / size) ** 0.5


def alike(one: Moments, other: Moments) -> bool:
    return all(getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-4, abs=1e-6) for name in AVERAGED)


@pytest.mark.parametrize(("groups", "size"), [(2, 8), (8, 4), (2, 64)])
@pytest.mark.parametrize("scale", [5.0, 50.0])
def test_the_noise_scale_is_found_within_a_tenth_in_200_updates(scale: float, groups: int, size: int) -> None:
    draw = torch.Generator().manual_seed(1)
    averages = Averages(0.98)
    for _ in range(200):
        averages.update(moments(drawn(scale, groups, size, draw), size))
    assert averages.noise_scale == pytest.approx(scale, rel=0.1)


@pytest.mark.parametrize("groups", [2, 5])
def test_signal_and_noise_are_unbiased_however_small_the_batch(groups: int) -> None:
    draw, scale = torch.Generator().manual_seed(2), 30.0
    found = [moments(drawn(scale, groups, 1, draw, width=60), 1) for _ in range(6000)]

    def mean(name: str) -> tuple[float, float]:
        values = torch.tensor([getattr(one, name) for one in found], dtype=torch.float64)
        return float(values.mean()), 4 * float(values.std()) / len(values) ** 0.5

    signal, signal_error = mean("norm_sq")
    noise, noise_error = mean("trace")
    plain, plain_error = mean("mean_sq")
    assert signal == pytest.approx(1, abs=signal_error)
    assert noise == pytest.approx(scale, abs=noise_error)
    assert plain == pytest.approx(1 + scale / groups, abs=plain_error)  # what the plain norm is too long by
    assert min(one.norm_sq for one in found) < 0  # single updates may say anything


def test_noise_is_split_into_what_lies_along_the_gradient_and_what_does_not() -> None:
    """Four samples, one a group, about a mean of (2, 0): they differ by 3 along it and by 1 across."""
    groups = torch.tensor([[5.0, 0.0], [-1.0, 0.0], [2.0, 1.0], [2.0, -1.0]])
    found = moments(groups, 1)
    assert found.mean_sq == 4
    assert found.trace == pytest.approx((9 + 9 + 1 + 1) / 3)
    assert found.inner == pytest.approx((36 + 36) / 3)
    assert found.orthogonal == pytest.approx((1 + 1) / 3)
    assert found.norm_sq == pytest.approx(4 - found.trace / 4)


def test_groups_that_agree_have_no_noise() -> None:
    found = moments(torch.ones(3, 5), 2)
    assert (found.trace, found.inner, found.orthogonal, found.norm_sq, found.mean_sq) == (0, 0, 0, 5, 5)


def test_no_gradient_at_all_divides_by_nothing() -> None:
    assert moments(torch.zeros(2, 5), 2).finite


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_is_told_apart(bad: float) -> None:
    groups = torch.ones(2, 3)
    groups[1, 2] = bad
    assert not moments(groups, 2).finite


@pytest.mark.parametrize(("groups", "size"), [(1, 4), (2, 0)])
def test_a_variance_needs_two_groups(groups: int, size: int) -> None:
    with pytest.raises(ValueError, match="two groups at least"):
        moments(torch.ones(groups, 3), size)


@given(st.integers(2, 6), st.integers(1, 9), st.floats(0.1, 10), st.integers(0, 99))
def test_a_longer_gradient_changes_the_unit_and_turning_it_changes_nothing(
    groups: int, size: int, times: float, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    gradients = drawn(5.0, groups, size, draw, width=8)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=draw)).Q
    one, other = moments(gradients, size), moments(times * gradients @ turn, size)
    scaled = replace(one, **{name: getattr(one, name) * times ** (4 if name == "inner" else 2) for name in AVERAGED})
    assert alike(other, scaled)


@given(st.permutations(range(6)), st.integers(0, 99))
def test_several_machines_find_what_one_finds(order: list[int], seed: int) -> None:
    """Each machine sends what its groups are apart from the mean; the order in which they answer decides nothing."""
    gradients = drawn(5.0, 6, 3, torch.Generator().manual_seed(seed))
    mean = gradients.mean(0)
    apart = gradients - mean
    squares, along, mean_sq = (apart**2).sum(1).tolist(), (apart @ mean).tolist(), float(mean @ mean)
    sent = moments_of([squares[i] for i in order], [along[i] for i in order], mean_sq, 3)
    assert alike(sent, moments(gradients, 3))
    assert sent == moments_of(squares, along, mean_sq, 3)


def test_an_average_is_of_what_was_seen_and_recent_updates_weigh_most() -> None:
    averages = Averages(0.5)
    assert averages.mean is None
    assert averages.noise_scale is None
    for signal, noise in [(2.0, 8.0), (5.0, 2.0)]:
        averages.update(Moments(2, 1, signal, noise, 0.0, 0.0, signal))
    mean = averages.mean
    assert mean is not None
    assert mean.norm_sq == pytest.approx((1 * 2 + 2 * 5) / 3)
    assert averages.noise_scale == pytest.approx((1 * 8 + 2 * 2) / (1 * 2 + 2 * 5))


def test_where_noise_hides_the_gradient_there_is_no_noise_scale() -> None:
    averages = Averages()
    averages.update(Moments(2, 1, norm_sq=-1.0, trace=5.0, inner=0.0, orthogonal=5.0, mean_sq=1.5))
    assert averages.noise_scale is None


def test_averages_go_on_from_where_they_were_written_down() -> None:
    draw = torch.Generator().manual_seed(3)
    some = [moments(drawn(9.0, 2, 4, draw), 4) for _ in range(6)]
    whole, first, second = Averages(), Averages(), Averages()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.mean is None
    for one in some:
        whole.update(one)
    for one in some[:3]:
        first.update(one)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for one in some[3:]:
        second.update(one)
    assert second.mean == whole.mean


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_an_average_that_never_forgets_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="below 1"):
        Averages(smoothing)
