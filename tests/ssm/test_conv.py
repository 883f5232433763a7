"""The short convolution: a weighted sum of the last few values, whole or in pieces."""

from __future__ import annotations

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
