"""The three forms of the recurrence against the recurrence itself, written out position by position."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmrec.ssm import ssd

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def inputs(rows: int, length: int, heads: int = 3, width: int = 4, numbers: int = 5, seed: int = 0) -> Inputs:
    """x, dt, a, b, c: step sizes from 0 to 1, decay rates from slow to a language model's fastest."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, length, heads, width, generator=draw)
    dt = torch.rand(rows, length, heads, generator=draw)
    a = -torch.logspace(-2, 1.2, heads)
    b, c = torch.randn(2, rows, length, numbers, generator=draw)
    return x, dt, a, b, c


def by_hand(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The definition, in double precision: one position after another."""
    x, dt, a, b, c = (t.double() for t in (x, dt, a, b, c))
    state = x.new_zeros(x.shape[0], x.shape[2], x.shape[3], b.shape[-1])
    heard = []
    for t in range(x.shape[1]):
        for row in range(x.shape[0]):
            for head in range(x.shape[2]):
                decay = torch.exp(dt[row, t, head] * a[head])
                spoken = dt[row, t, head] * torch.outer(x[row, t, head], b[row, t])
                state[row, head] = decay * state[row, head] + spoken
        heard.append(torch.einsum("bhpn,bn->bhp", state, c[:, t]))
    return torch.stack(heard, 1).float(), state.float()


def test_one_item_is_heard_as_it_was_said() -> None:
    one = torch.ones(1, 1, 1, 1)
    y = ssd.parallel(3 * one, torch.full((1, 1, 1), 0.5), -torch.ones(1), one[0] * 2, one[0] * 10)
    assert y.item() == pytest.approx(3 * 0.5 * 2 * 10)


def test_what_was_said_long_ago_fades_by_the_sum_of_the_steps() -> None:
    x = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    ones = torch.ones(1, 3, 1)
    y = ssd.parallel(x, ones * torch.tensor([1.0, 0.5, 0.25])[:, None], torch.tensor([-2.0]), ones, ones)
    assert y.flatten() == pytest.approx(torch.exp(-2 * torch.tensor([0.0, 0.5, 0.75])))


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 3), length=st.integers(1, 40), chunk=st.integers(1, 50), seed=st.integers(0, 9))
def test_any_chunking_gives_the_numbers_of_the_definition(rows: int, length: int, chunk: int, seed: int) -> None:
    given_ = inputs(rows, length, seed=seed)
    wanted, ends = by_hand(*given_)
    y, state = ssd.extend(None, *given_, chunk=chunk)
    torch.testing.assert_close(y, wanted, **CLOSE)
    torch.testing.assert_close(state, ends, **CLOSE)
    torch.testing.assert_close(ssd.parallel(*given_, chunk=chunk), wanted, **CLOSE)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 70), max_size=4), seed=st.integers(0, 9))
def test_a_history_in_pieces_is_the_history(cuts: list[int], seed: int) -> None:
    x, dt, a, b, c = inputs(2, 70, seed=seed)
    whole = ssd.parallel(x, dt, a, b, c)
    state, heard = None, []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 70], strict=True):
        piece = slice(start, stop)
        y, state = ssd.extend(state, x[:, piece], dt[:, piece], a, b[:, piece], c[:, piece])
        heard.append(y)
    torch.testing.assert_close(torch.cat(heard, 1), whole, **CLOSE)


def test_step_by_step_is_the_history() -> None:
    x, dt, a, b, c = inputs(3, 70)
    state, heard = torch.zeros(3, 3, 4, 5), []
    for t in range(70):
        y, state = ssd.step(state, x[:, t], dt[:, t], a, b[:, t], c[:, t])
        heard.append(y)
    whole, ends = ssd.extend(None, x, dt, a, b, c)
    torch.testing.assert_close(torch.stack(heard, 1), whole, **CLOSE)
    torch.testing.assert_close(state, ends, **CLOSE)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_padding_on_the_right_changes_nothing(lengths: list[int], seed: int) -> None:
    x, dt, a, b, c = inputs(len(lengths), 45, seed=seed)
    real = torch.arange(45) < torch.tensor(lengths)[:, None]
    y, ends = ssd.extend(None, x.masked_fill(~real[..., None, None], 1e6), dt * real[..., None], a, b, c)
    for row, length in enumerate(lengths):
        alone, state = ssd.extend(
            None, *(t[row : row + 1, :length] for t in (x, dt)), a, *(t[row : row + 1, :length] for t in (b, c))
        )
        torch.testing.assert_close(y[row : row + 1, :length], alone, **CLOSE)
        torch.testing.assert_close(ends[row : row + 1], state, **CLOSE)


def test_rows_do_not_hear_each_other() -> None:
    x, dt, a, b, c = inputs(4, 50)
    alone = [ssd.parallel(x[r : r + 1], dt[r : r + 1], a, b[r : r + 1], c[r : r + 1]) for r in range(4)]
    torch.testing.assert_close(torch.cat(alone), ssd.parallel(x, dt, a, b, c), **CLOSE)


def test_gradients_are_those_of_the_definition() -> None:
    given_ = tuple(t.double().requires_grad_() for t in inputs(1, 7, heads=2, width=2, numbers=2))
    assert torch.autograd.gradcheck(lambda *t: ssd.parallel(*t, chunk=3), given_)


def test_steep_decay_over_a_long_history_stays_finite_and_so_do_gradients() -> None:
    """Unmasked, exp of the future's decay overflows, and its gradient is inf times 0."""
    x, dt, a, b, c = (t.requires_grad_() for t in inputs(1, 300))
    y = ssd.parallel(x, dt * 50, a, b, c, chunk=300)
    y.sum().backward()
    assert y.isfinite().all()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in (x, dt, a, b, c))


def test_nothing_leaves_the_state_as_it_was() -> None:
    x, dt, a, b, c = inputs(2, 6)
    _, state = ssd.extend(None, x, dt, a, b, c)
    y, same = ssd.extend(state, x[:, :0], dt[:, :0], a, b[:, :0], c[:, :0])
    assert y.shape == (2, 0, 3, 4)
    assert same is state


@pytest.mark.oracle
@pytest.mark.parametrize("length", [1, 31, 64, 150])
def test_the_same_numbers_as_transformers(length: int) -> None:
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan, mamba2_selective_state_update

    x, dt, a, b, c = inputs(2, length, heads=4, width=8, numbers=16)
    scan = getattr(mamba2_chunk_scan, "__wrapped__", mamba2_chunk_scan)
    theirs, ends = scan(x, dt, a, b[:, :, None], c[:, :, None], chunk_size=64, return_final_states=True)
    ours, state = ssd.extend(None, x, dt, a, b, c)
    torch.testing.assert_close(ours, theirs, **CLOSE)
    torch.testing.assert_close(state, ends, **CLOSE)
    update = getattr(mamba2_selective_state_update, "__wrapped__", mamba2_selective_state_update)
    spread = a[:, None, None].expand(4, 8, 16), dt[:, 0, :, None].expand(-1, -1, 8)
    theirs = update(ends.clone(), x[:, 0], spread[1], spread[0], b[:, :1], c[:, :1])
    torch.testing.assert_close(ssd.step(state, x[:, 0], dt[:, 0], a, b[:, 0], c[:, 0])[0], theirs, **CLOSE)
