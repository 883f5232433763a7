"""The four forms of the recurrence against the recurrence itself, written out position by position."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmrec.ssm import dual, ssd
from tests.ssm.recurrences import CLOSE
from tests.ssm.recurrences import ssd_by_hand as by_hand
from tests.ssm.recurrences import ssd_inputs as inputs


def test_one_item_is_heard_as_it_was_said() -> None:
    one = torch.ones(1, 1, 1, 1)
    y = ssd.parallel(3 * one, torch.full((1, 1, 1), 0.5), -torch.ones(1), one[0] * 2, one[0] * 10)
    assert y.item() == pytest.approx(3 * 0.5 * 2 * 10)


def test_what_was_said_long_ago_fades_by_the_sum_of_the_steps() -> None:
    x = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    ones = torch.ones(1, 3, 1)
    y = ssd.parallel(x, ones * torch.tensor([1.0, 0.5, 0.25])[:, None], torch.tensor([-2.0]), ones, ones)
    assert y.flatten() == pytest.approx(torch.exp(-2 * torch.tensor([0.0, 0.5, 0.75])))


@settings(max_examples=60, deadline=None)
@given(
    chance=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    rows=st.integers(1, 3),
    length=st.integers(1, 40),
    chunk=st.integers(1, 50),
    carried=st.booleans(),
    seed=st.integers(0, 9),
)
def test_packed_histories_begin_anew_in_any_chunking(
    chance: float, rows: int, length: int, chunk: int, carried: bool, seed: int
) -> None:
    given_, draw = inputs(rows, length, seed=seed), torch.Generator().manual_seed(seed)
    starts = torch.rand(rows, length, generator=draw) < chance
    state = torch.randn(rows, 3, 4, 5, generator=draw) if carried else None
    wanted, ends = by_hand(*given_, starts, state)
    y, end = ssd.extend(state, *given_, starts=starts, chunk=chunk)
    torch.testing.assert_close(y, wanted, **CLOSE)
    torch.testing.assert_close(end, ends, **CLOSE)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_users_in_one_row_are_each_user_alone(lengths: list[int], seed: int) -> None:
    x, dt, a, b, c = leaves = [t.double().requires_grad_() for t in inputs(1, sum(lengths), seed=seed)]
    ends, loss = torch.tensor(lengths).cumsum(0), x.new_zeros(())
    starts = torch.zeros(1, sum(lengths), dtype=torch.bool)
    starts[0, ends - torch.tensor(lengths)] = True
    packed, end = ssd.extend(x.new_full((1, 3, 4, 5), 9), x, dt, a, b, c, starts=starts)
    for stop, length in zip(ends.tolist(), lengths, strict=True):
        user = slice(stop - length, stop)
        alone, state = ssd.extend(None, x[:, user], dt[:, user], a, b[:, user], c[:, user])
        torch.testing.assert_close(packed[:, user], alone)
        loss = loss + alone.square().sum()
    torch.testing.assert_close(end, state)
    wanted = torch.autograd.grad(loss + state.sum(), leaves)
    for one, other in zip(torch.autograd.grad(packed.square().sum() + end.sum(), leaves), wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("border", [5, 32, 37, 64])
def test_not_a_digit_leaks_from_one_user_to_the_next(border: int) -> None:
    """Whatever the first user's inputs and gradients are, the second's outputs, state and gradients are the same."""
    quiet, starts = inputs(2, 70), torch.zeros(2, 70, dtype=torch.bool)
    starts[:, border] = True
    by_y, heard = torch.randn(2, 70, 3, 4, generator=torch.Generator().manual_seed(1)), []
    for volume in (1.0, 1e6):
        scale = torch.where(torch.arange(70) < border, volume, 1.0)[None, :, None]
        x, dt, a, b, c = quiet
        given_ = [(t * scale).requires_grad_() for t in (x.flatten(2), dt, b, c)]
        said, steps, b, c = given_
        state = torch.full((2, 3, 4, 5), volume, requires_grad=True)
        y, end = ssd.extend(state, said.unflatten(2, (3, 4)), steps, a, b, c, starts=starts)
        grads = torch.autograd.grad([y, end], [*given_, state], [by_y * scale[..., None], torch.ones_like(end)])
        heard.append([y[:, border:], end, *(g[:, border:] for g in grads[:-1])])
        y = ssd.parallel(said.unflatten(2, (3, 4)), steps, a, b, c, starts=starts)
        for by_first in torch.autograd.grad(y[:, border:].sum(), given_):
            assert not by_first[:, :border].any()
    for one, other in zip(*heard, strict=True):
        assert torch.equal(one, other)


def test_the_last_output_of_a_long_steep_history_is_finite() -> None:
    x, dt, a, b, c = (t.requires_grad_() for t in inputs(1, 300))
    y = ssd.last(x, dt * 50, a, b, c[:, -1])
    y.sum().backward()
    torch.testing.assert_close(y, ssd.parallel(x, dt * 50, a, b, c)[:, -1], **CLOSE)
    assert all(t.grad is not None and t.grad.isfinite().all() for t in (x, dt, a, b, c))


def test_rows_do_not_hear_each_other() -> None:
    x, dt, a, b, c = inputs(4, 50)
    alone = [ssd.parallel(x[r : r + 1], dt[r : r + 1], a, b[r : r + 1], c[r : r + 1]) for r in range(4)]
    torch.testing.assert_close(torch.cat(alone), ssd.parallel(x, dt, a, b, c), **CLOSE)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 5), block=st.integers(1, 3), seed=st.integers(0, 9))
def test_rows_may_be_done_in_any_company(rows: int, block: int, seed: int) -> None:
    x, dt, a, b, c = inputs(rows, 9, seed=seed)
    whole, ends = ssd.extend(None, x, dt, a, b, c, chunk=4)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BLOCK", "SHARED"):
            patch.setattr(dual, name, block * x[0].numel())
        y, end = ssd.extend(None, x, dt, a, b, c, chunk=4)
    torch.testing.assert_close(y, whole, **CLOSE)
    torch.testing.assert_close(end, ends, **CLOSE)


@pytest.mark.parametrize("chunk", [2, 3, 7])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("carried", [False, True])
def test_gradients_are_those_of_the_definition(
    chunk: int, packed: bool, carried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, dt, a, b, c = (t.double().requires_grad_() for t in inputs(2, 7, heads=2, width=2, numbers=2))
    starts = torch.tensor([[0, 0, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 1, 0]], dtype=torch.bool) if packed else None
    state = torch.rand(2, 2, 2, 2, dtype=torch.double, requires_grad=True) if carried else None
    for name in ("BLOCK", "SHARED"):
        monkeypatch.setattr(dual, name, 1)  # a row at a time

    def both(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, *state: Tensor) -> tuple[Tensor, Tensor]:
        return ssd.extend(state[0] if state else None, x, dt, a, b, c, starts=starts, chunk=chunk)

    given_ = (x, dt, a, b, c, *(() if state is None else (state,)))
    assert torch.autograd.gradcheck(both, given_)
    assert torch.autograd.gradcheck(lambda *t: both(*t)[0], given_)
    assert torch.autograd.gradcheck(lambda *t: both(*t)[1], given_)


@pytest.mark.parametrize("length", [20, 40])
def test_inputs_and_gradients_may_lie_in_memory_as_they_like(length: int) -> None:
    x, dt, a, b, c = inputs(2, length)
    by_y, state = x.flip(1), torch.ones(2, 3, 4, 5)

    def turned(t: Tensor) -> Tensor:
        return t.transpose(1, 2).contiguous().transpose(1, 2)

    def all_of(state: Tensor, by_y: Tensor, *given_: Tensor) -> tuple[Tensor, ...]:
        x, dt, b, c = (t.requires_grad_() for t in given_)
        y, end = ssd.extend(state, x, dt, a, b, c)
        return y, end, *torch.autograd.grad(y, (x, dt, b, c), by_y)

    wanted = all_of(state, by_y, x, dt, b, c)
    found = all_of(torch.ones(1, 1, 1, 1).expand(2, 3, 4, 5), turned(by_y), *(turned(t) for t in (x, dt, b, c)))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def test_steep_decay_over_a_long_history_stays_finite_and_so_do_gradients() -> None:
    """Unmasked, exp of the future's decay overflows, and its gradient is inf times 0."""
    x, dt, a, b, c = (t.requires_grad_() for t in inputs(1, 300))
    y = ssd.parallel(x, dt * 50, a, b, c, chunk=300)
    y.sum().backward()
    assert y.isfinite().all()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in (x, dt, a, b, c))


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
