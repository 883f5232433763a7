"""The four forms of the selective scan against the recurrence itself, written out position by position."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from llmrec.ssm import selective_scan, tiles
from llmrec.ssm.conv import conv
from tests.ssm.recurrences import CLOSE
from tests.ssm.recurrences import scan_by_hand as by_hand
from tests.ssm.recurrences import scan_inputs as inputs


def test_one_item_is_heard_as_it_was_said() -> None:
    one = torch.ones(1, 1, 1)
    y = selective_scan.parallel(3 * one, 0.5 * one, -one[0], one * 2, one * 10)
    assert y.item() == pytest.approx(3 * 0.5 * 2 * 10)


def test_each_number_of_the_state_fades_at_its_own_rate() -> None:
    x, dt = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1), torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1)
    a, ones = torch.tensor([[-2.0, -0.1]]), torch.ones(1, 3, 2)
    since = torch.tensor([0.0, 0.5, 0.75])
    y = selective_scan.parallel(x, dt, a, ones, ones)
    assert y.flatten() == pytest.approx(torch.exp(-2 * since) + torch.exp(-0.1 * since))


@pytest.mark.parametrize("step", [1, 100, 10_000])
def test_a_long_history_keeps_its_digits(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tiles.STEP, "cpu", step)
    x, dt, a, b, c = inputs(1, 2000, channels=4)
    given_ = x, dt / 10, a / 10, b, c
    wanted, ends = by_hand(*given_)
    y, state = selective_scan.extend(None, *given_)
    torch.testing.assert_close(y, wanted, **CLOSE)
    torch.testing.assert_close(state, ends, **CLOSE)


@settings(max_examples=60, deadline=None)
@given(
    chance=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    rows=st.integers(1, 3),
    length=st.integers(1, 40),
    chunk=st.integers(1, 50),
    step=st.sampled_from([1, 60, 150, 10_000]),
    carried=st.booleans(),
    seed=st.integers(0, 9),
)
def test_packed_histories_begin_anew_in_any_chunking(
    chance: float, rows: int, length: int, chunk: int, step: int, carried: bool, seed: int
) -> None:
    given_, draw = inputs(rows, length, seed=seed), torch.Generator().manual_seed(seed)
    starts = torch.rand(rows, length, generator=draw) < chance
    state = torch.randn(rows, 6, 5, generator=draw) if carried else None
    wanted, ends = by_hand(*given_, starts, state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiles.STEP, "cpu", step)
        y, end = selective_scan.extend(state, *given_, starts=starts, chunk=chunk)
    torch.testing.assert_close(y, wanted, **CLOSE)
    torch.testing.assert_close(end, ends, **CLOSE)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_users_in_one_row_are_each_user_alone(lengths: list[int], seed: int) -> None:
    x, dt, a, b, c = inputs(1, sum(lengths), seed=seed)
    ends = torch.tensor(lengths).cumsum(0)
    starts = torch.zeros(1, sum(lengths), dtype=torch.bool)
    starts[0, ends - torch.tensor(lengths)] = True
    packed, end = selective_scan.extend(torch.full((1, 6, 5), 9.0), x, dt, a, b, c, starts=starts)
    for stop, length in zip(ends.tolist(), lengths, strict=True):
        user = slice(stop - length, stop)
        alone, state = selective_scan.extend(None, x[:, user], dt[:, user], a, b[:, user], c[:, user])
        torch.testing.assert_close(packed[:, user], alone, **CLOSE)
    torch.testing.assert_close(end, state, **CLOSE)


@pytest.mark.parametrize("border", [5, 32, 37, 64])
@pytest.mark.parametrize("step", [1, 10_000])
def test_not_a_digit_leaks_from_one_user_to_the_next(border: int, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the first user's inputs and gradients are, the second's outputs, state and gradients are the same."""
    monkeypatch.setitem(tiles.STEP, "cpu", step)
    (x, dt, a, b, c), starts = inputs(2, 70), torch.zeros(2, 70, dtype=torch.bool)
    starts[:, border] = True
    by_y, heard = torch.randn(2, 70, 6, generator=torch.Generator().manual_seed(1)), []
    for volume in (1.0, 1e6):
        scale = torch.where(torch.arange(70) < border, volume, 1.0)[None, :, None]
        given_ = [(t * scale).requires_grad_() for t in (x, dt, b, c)]
        state = torch.full((2, 6, 5), volume, requires_grad=True)
        said, steps, spoken, asked = given_
        y, end = selective_scan.extend(state, said, steps, a, spoken, asked, starts=starts)
        grads = torch.autograd.grad([y, end], [*given_, state], [by_y * scale, torch.ones_like(end)])
        heard.append([y[:, border:], end, *(g[:, border:] for g in grads[:-1])])
        y = selective_scan.parallel(said, steps, a, spoken, asked, starts=starts)
        for by_first in torch.autograd.grad(y[:, border:].sum(), given_):
            assert not by_first[:, :border].any()
    for one, other in zip(*heard, strict=True):
        assert torch.equal(one, other)


def test_the_last_output_has_the_gradient_of_the_last_output() -> None:
    given_ = [t.requires_grad_() for t in inputs(2, 30)]
    *most, c = given_
    wanted = torch.autograd.grad(selective_scan.parallel(*most, c)[:, -1].square().sum(), given_)
    found = torch.autograd.grad(selective_scan.last(*most, c[:, -1]).square().sum(), given_)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 5), step=st.integers(1, 400), seed=st.integers(0, 9))
def test_rows_may_be_done_in_any_company(rows: int, step: int, seed: int) -> None:
    """However many numbers a step takes, outputs, states and gradients are those of rows that are alone."""
    by_y = torch.randn(rows, 9, 6, generator=torch.Generator().manual_seed(seed))

    def all_of(rows: slice) -> tuple[Tensor, ...]:
        x, dt, a, b, c = inputs(len(by_y), 9, seed=seed)
        given_ = [t[rows].requires_grad_() for t in (x, dt, b, c)]
        y, end = selective_scan.extend(None, given_[0], given_[1], a, given_[2], given_[3], chunk=3)
        return y, end, *torch.autograd.grad([y, end], given_, [by_y[rows], torch.ones_like(end)])

    alone = [all_of(slice(row, row + 1)) for row in range(rows)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiles.STEP, "cpu", step)
        together = all_of(slice(None))
    for one, others in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(one, torch.cat(others), **CLOSE)


@pytest.mark.parametrize("chunk", [2, 3, 7])
@pytest.mark.parametrize("step", [1, 8, 10_000])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("carried", [False, True])
def test_gradients_are_those_of_the_definition(
    chunk: int, step: int, packed: bool, carried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, dt, a, b, c = (t.double().requires_grad_() for t in inputs(2, 7, channels=2, numbers=2))
    starts = torch.tensor([[0, 0, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 1, 0]], dtype=torch.bool) if packed else None
    state = torch.rand(2, 2, 2, dtype=torch.double, requires_grad=True) if carried else None
    monkeypatch.setitem(tiles.STEP, "cpu", step)

    def both(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, *state: Tensor) -> tuple[Tensor, Tensor]:
        return selective_scan.extend(state[0] if state else None, x, dt, a, b, c, starts=starts, chunk=chunk)

    given_ = (x, dt, a, b, c, *(() if state is None else (state,)))
    assert torch.autograd.gradcheck(both, given_)
    assert torch.autograd.gradcheck(lambda *t: both(*t)[0], given_)
    assert torch.autograd.gradcheck(lambda *t: both(*t)[1], given_)


def test_inputs_and_gradients_may_lie_in_memory_as_they_like() -> None:
    x, dt, a, b, c = inputs(2, 20)
    by_y, state = x.flip(1), torch.ones(2, 6, 5)

    def turned(t: Tensor) -> Tensor:
        return t.transpose(1, 2).contiguous().transpose(1, 2)

    def all_of(state: Tensor, a: Tensor, by_y: Tensor, *given_: Tensor) -> tuple[Tensor, ...]:
        x, dt, b, c = (t.requires_grad_() for t in given_)
        y, end = selective_scan.extend(state, x, dt, a, b, c)
        return y, end, *torch.autograd.grad(y, (x, dt, b, c), by_y)

    wanted = all_of(state, a, by_y, x, dt, b, c)
    found = all_of(
        torch.ones(1, 1, 1).expand(2, 6, 5), a.T.contiguous().T, turned(by_y), *(turned(t) for t in (x, dt, b, c))
    )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def test_no_history_has_no_last_output() -> None:
    x, dt, a, b, c = inputs(2, 1)
    assert torch.equal(selective_scan.last(x[:, :0], dt[:, :0], a, b[:, :0], c[:, 0]), torch.zeros(2, 6))


def test_steep_decay_over_a_long_history_stays_finite_and_so_do_gradients() -> None:
    given_ = [t.requires_grad_() for t in inputs(1, 300)]
    x, dt, a, b, c = given_
    y = selective_scan.parallel(x, dt * 50, a, b, c)
    y.sum().backward()
    assert y.isfinite().all()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in given_)


def test_a_history_takes_steps_by_the_square_root_of_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def counted(walk: Callable[..., Tensor], positions: Callable[..., int]) -> Callable[..., Tensor]:
        return lambda *given_: [steps.append(positions(*given_)), walk(*given_)][1]  # type: ignore[func-returns-value]

    monkeypatch.setattr(tiles, "_walk", counted(tiles._walk, lambda decay, states, state: len(decay)))
    monkeypatch.setattr(tiles, "_left", counted(tiles._left, lambda tile, decay, added: len(decay)))
    monkeypatch.setattr(tiles, "_carried", counted(tiles._carried, lambda first, left, passed: left.shape[1]))
    given_ = [t.requires_grad_() for t in inputs(1, 2500)]
    selective_scan.parallel(*given_).sum().backward()
    assert 2500 < sum(steps) ** 2 < 10**2 * 2500


@pytest.mark.oracle
@pytest.mark.parametrize("length", [1, 31, 64, 150])
def test_the_same_numbers_and_gradients_as_transformers(length: int) -> None:
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    torch.manual_seed(0)
    theirs = MambaMixer(MambaConfig(hidden_size=16, state_size=8, num_hidden_layers=1, use_bias=False), layer_idx=0)
    x = torch.randn(3, length, 16, requires_grad=True)

    def ours(x: Tensor) -> Tensor:
        x, z = theirs.in_proj(x).chunk(2, -1)
        x = nn.functional.silu(conv(None, x, theirs.conv1d.weight[:, 0], theirs.conv1d.bias)[0])
        dt, b, c = theirs.x_proj(x).split([theirs.time_step_rank, 8, 8], -1)
        y = selective_scan.parallel(x, nn.functional.softplus(theirs.dt_proj(dt)), -theirs.A_log.exp(), b, c)
        said: Tensor = theirs.out_proj((y + theirs.D * x) * nn.functional.silu(z))
        return said

    wanted, found = theirs(x), ours(x)
    torch.testing.assert_close(found, wanted, **CLOSE)
    learnt = [x, *theirs.parameters()]
    by_y = torch.randn(3, length, 16)
    by_theirs, by_ours = (torch.autograd.grad(y, learnt, by_y) for y in (wanted, found))
    for one, other in zip(by_ours, by_theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
