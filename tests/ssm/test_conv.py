"""The short convolution: a weighted sum of the last few values, whole or in pieces."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.ssm.conv import conv

WEIGHT = torch.tensor([[1.0, 10.0, 100.0, 1000.0]])
NONE = torch.zeros(1)


def values(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32).view(1, -1, 1)


def test_the_newest_value_weighs_last() -> None:
    y, _ = conv(None, values(1, 2, 3, 4, 5), WEIGHT, NONE)
    assert y.flatten().tolist() == [1000, 2100, 3210, 4321, 5432]


def test_what_is_kept_is_the_last_three_values() -> None:
    _, state = conv(None, values(1, 2, 3, 4, 5), WEIGHT, NONE)
    assert state.flatten().tolist() == [3, 4, 5]


def test_a_short_history_keeps_the_silence_before_it() -> None:
    _, state = conv(None, values(7), WEIGHT, NONE)
    assert state.flatten().tolist() == [0, 0, 7]


def test_padding_is_not_kept() -> None:
    rows = torch.cat([values(1, 2, 9, 9, 9), values(1, 2, 3, 4, 9)])
    _, state = conv(None, rows, WEIGHT, NONE, torch.tensor([2, 4]))
    assert state[..., 0].tolist() == [[0, 1, 2], [2, 3, 4]]


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 20), max_size=6))
def test_in_pieces_as_whole(cuts: list[int]) -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=draw) for shape in ((2, 20, 3), (3, 4), (3,)))
    whole, end = conv(None, x, weight, bias)
    state, heard = None, []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 20], strict=True):
        y, state = conv(state, x[:, start:stop], weight, bias)
        heard.append(y)
    torch.testing.assert_close(torch.cat(heard, 1), whole)
    torch.testing.assert_close(state, end)


def test_nothing_is_heard_across_a_start() -> None:
    starts = torch.tensor([[False, False, True, False, False]])
    y, _ = conv(values(9, 9, 9).view(1, 3, 1), values(1, 2, 3, 4, 5), WEIGHT, NONE, starts=starts)
    assert y.flatten().tolist() == [1999, 2199, 3000, 4300, 5430]


def test_what_is_kept_is_of_the_last_history_only() -> None:
    starts = torch.tensor([[True, False, True, False, False], [True, False, False, False, True]])
    rows = torch.cat([values(1, 2, 3, 4, 9), values(1, 2, 3, 4, 5)])
    _, state = conv(None, rows, WEIGHT, NONE, torch.tensor([4, 5]), starts)
    assert state[..., 0].tolist() == [[0, 3, 4], [0, 0, 5]]


def test_a_row_without_anything_real_keeps_what_it_had() -> None:
    starts = torch.tensor([[True, False]])
    _, state = conv(values(7, 8, 9), values(1, 2), WEIGHT, NONE, torch.tensor([0]), starts)
    assert state.flatten().tolist() == [7, 8, 9]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    channels=st.sampled_from([1, 3, 16]),
    taps=st.integers(1, 4),
    padding=st.integers(0, 3),
)
def test_packed_users_are_each_user_alone(lengths: list[int], channels: int, taps: int, padding: int) -> None:
    draw, ends = torch.Generator().manual_seed(0), torch.tensor(lengths).cumsum(0).tolist()
    sizes = (1, ends[-1] + padding, channels), (channels, taps), (channels,), (1, taps - 1, channels)
    *leaves, given_ = (torch.randn(size, generator=draw, dtype=torch.double).requires_grad_() for size in sizes)
    (x, weight, bias), loss = leaves, torch.zeros((), dtype=torch.double)
    starts = torch.zeros(1, x.shape[1], dtype=torch.bool)
    starts[0, [0, *ends[:-1]]] = True
    packed, kept = conv(given_, x, weight, bias, torch.tensor(ends[-1:]), starts)
    for end, length in zip(ends, lengths, strict=True):
        alone, state = conv(None, x[:, end - length : end], weight, bias)
        torch.testing.assert_close(packed[:, end - length : end], alone)
        loss = loss + alone.square().sum()
    torch.testing.assert_close(kept, state)
    wanted = torch.autograd.grad(loss + state.sum(), leaves)
    found = torch.autograd.grad(packed[:, : ends[-1]].square().sum() + kept.sum(), leaves)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("packed", [False, True])
def test_gradients_are_those_of_the_sum(packed: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = (2, 3, 2), (2, 5, 2), (2, 4), (2,)
    state, x, weight, bias = (
        torch.randn(shape, generator=draw, dtype=torch.double, requires_grad=True) for shape in shapes
    )
    starts = torch.tensor([[0, 0, 1, 0, 1], [1, 0, 0, 1, 0]], dtype=torch.bool) if packed else None
    assert torch.autograd.gradcheck(lambda *t: conv(*t, starts=starts), (state, x, weight, bias))


def test_not_a_digit_leaks_across_a_start() -> None:
    draw, heard = torch.Generator().manual_seed(0), []
    x, weight, bias, by_y = (torch.randn(shape, generator=draw) for shape in ((2, 20, 8), (8, 4), (8,), (2, 20, 8)))
    starts = torch.zeros(2, 20, dtype=torch.bool)
    starts[:, 7] = True
    for volume in (1.0, 1e6):
        scale = torch.where(torch.arange(20) < 7, volume, 1.0)[:, None]
        loud = (x * scale).requires_grad_()
        y, state = conv(None, loud, weight, bias, starts=starts)
        (by_x,) = torch.autograd.grad(y, loud, by_y * scale)
        heard.append((y[:, 7:], state, by_x[:, 7:]))
    for one, other in zip(*heard, strict=True):
        assert torch.equal(one, other)


def test_mixed_precision_leaves_it_as_it_is() -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=draw) for shape in ((2, 20, 3), (3, 4), (3,)))
    x = x.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = conv(None, x, weight, bias)
    y.sum().backward()
    torch.testing.assert_close(y, conv(None, x.float(), weight, bias)[0])


def test_no_rows_have_no_sums() -> None:
    x = torch.zeros(0, 5, 3, requires_grad=True)
    y, state = conv(None, x, torch.zeros(3, 4, requires_grad=True), torch.zeros(3))
    y.sum().backward()
    assert y.shape == (0, 5, 3)
    assert state.shape == (0, 3, 3)
