"""What holds of either recurrence: the same numbers in any form, in pieces, in any company and with any padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.ssm.recurrences import BOTH, CLOSE, Recurrence

either = pytest.mark.parametrize("of", BOTH.values(), ids=BOTH.keys())


def over(mask: Tensor, t: Tensor) -> Tensor:
    """A mask (b, l) as one of t (b, l, ...)."""
    return mask.view(*mask.shape, *[1] * (t.dim() - 2))


@either
@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 3), length=st.integers(1, 40), chunk=st.integers(1, 50), seed=st.integers(0, 9))
def test_any_chunking_gives_the_numbers_of_the_definition(
    of: Recurrence, rows: int, length: int, chunk: int, seed: int
) -> None:
    given_ = of.inputs(rows, length, seed=seed)
    wanted, ends = of.by_hand(*given_)
    y, state = of.forms.extend(None, *given_, chunk=chunk)
    torch.testing.assert_close(y, wanted, **CLOSE)
    torch.testing.assert_close(state, ends, **CLOSE)
    torch.testing.assert_close(of.forms.parallel(*given_, chunk=chunk), wanted, **CLOSE)


@either
@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_the_last_output_alone_is_the_last_output(of: Recurrence, lengths: list[int], seed: int) -> None:
    x, dt, a, b, c = of.inputs(len(lengths), 45, seed=seed)
    ends, rows = torch.tensor(lengths) - 1, torch.arange(len(lengths))
    real = torch.arange(45) <= ends[:, None]
    steps = dt * over(real, dt)
    wanted = of.forms.parallel(x, steps, a, b, c)[rows, ends]
    loud = x.masked_fill(~over(real, x), 1e6), steps, a, b.masked_fill(~over(real, b), 1e6)
    torch.testing.assert_close(of.forms.last(*loud, c[rows, ends]), wanted, **CLOSE)


@either
@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 70), max_size=4), seed=st.integers(0, 9))
def test_a_history_in_pieces_is_the_history(of: Recurrence, cuts: list[int], seed: int) -> None:
    x, dt, a, b, c = of.inputs(2, 70, seed=seed)
    whole = of.forms.parallel(x, dt, a, b, c)
    state, heard = None, []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 70], strict=True):
        piece = slice(start, stop)
        y, state = of.forms.extend(state, x[:, piece], dt[:, piece], a, b[:, piece], c[:, piece])
        heard.append(y)
    torch.testing.assert_close(torch.cat(heard, 1), whole, **CLOSE)


@either
def test_step_by_step_is_the_history(of: Recurrence) -> None:
    x, dt, a, b, c = of.inputs(3, 70)
    state, heard = torch.zeros(3, *of.state), []
    for t in range(70):
        y, state = of.forms.step(state, x[:, t], dt[:, t], a, b[:, t], c[:, t])
        heard.append(y)
    whole, ends = of.forms.extend(None, x, dt, a, b, c)
    torch.testing.assert_close(torch.stack(heard, 1), whole, **CLOSE)
    torch.testing.assert_close(state, ends, **CLOSE)


@either
@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_padding_on_the_right_changes_nothing(of: Recurrence, lengths: list[int], seed: int) -> None:
    x, dt, a, b, c = of.inputs(len(lengths), 45, seed=seed)
    real = torch.arange(45) < torch.tensor(lengths)[:, None]
    y, ends = of.forms.extend(None, x.masked_fill(~over(real, x), 1e6), dt * over(real, dt), a, b, c)
    for row, length in enumerate(lengths):
        alone, state = of.forms.extend(
            None, *(t[row : row + 1, :length] for t in (x, dt)), a, *(t[row : row + 1, :length] for t in (b, c))
        )
        torch.testing.assert_close(y[row : row + 1, :length], alone, **CLOSE)
        torch.testing.assert_close(ends[row : row + 1], state, **CLOSE)


@either
def test_no_rows_have_no_outputs(of: Recurrence) -> None:
    x, dt, a, b, c = of.inputs(2, 40)
    y, state = of.forms.extend(None, x[:0], dt[:0], a, b[:0], c[:0])
    assert y.shape == (0, *x.shape[1:])
    assert state.shape == (0, *of.state)


@either
def test_nothing_leaves_the_state_as_it_was(of: Recurrence) -> None:
    x, dt, a, b, c = of.inputs(2, 6)
    _, state = of.forms.extend(None, x, dt, a, b, c)
    before = state.clone()
    y, same = of.forms.extend(state, x[:, :0], dt[:, :0], a, b[:, :0], c[:, :0])
    assert y.shape == (2, 0, *x.shape[2:])
    assert same is state
    of.forms.extend(state, x, dt, a, b, c)
    assert torch.equal(state, before)


@either
def test_mixed_precision_leaves_the_recurrence_exact(of: Recurrence) -> None:
    x, dt, a, b, c = of.inputs(2, 40)
    half = (t.bfloat16() for t in (x, b, c))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x, b, c = (t.requires_grad_() for t in half)
        y = of.forms.parallel(x, dt, a, b, c)
    y.sum().backward()
    torch.testing.assert_close(y, of.forms.parallel(*(t.float() for t in (x, dt, a, b, c))))
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
