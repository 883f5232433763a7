"""Which implementation is chosen, what is said about it, and what the kernels are handed when it is they.

There is no GPU here: the kernels are stand-ins in plain torch that keep to the documented layouts and refuse what the
real ones refuse (mamba-ssm 2.3.2, causal-conv1d 1.7). tests/gpu/test_kernels.py has the real ones.
"""

from __future__ import annotations

import importlib.machinery
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from llmrec.errors import UserError
from llmrec.ssm import backend, kernels, ssd
from llmrec.ssm.conv import conv

Said = pytest.CaptureFixture[str]
ON_GPU = kernels.on_gpu


def module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    made = types.ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    made.__path__ = []
    made.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, made)


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing wished for, nothing chosen yet."""
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    for remembered in (backend.backend, kernels._kernel):
        remembered.cache_clear()
    yield
    for remembered in (backend.backend, kernels._kernel):
        remembered.cache_clear()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, gpu: None) -> None:
    """A machine with a GPU and both packages, on which every tensor counts as lying on the GPU."""
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.triton", "selective_scan_cuda"):
        module(monkeypatch, name)
    triton = "mamba_ssm.ops.triton"
    module(monkeypatch, f"{triton}.ssd_combined", mamba_chunk_scan_combined=mamba_chunk_scan_combined)
    module(monkeypatch, f"{triton}.selective_state_update", selective_state_update=selective_state_update)
    module(monkeypatch, "mamba_ssm.ops.selective_scan_interface", selective_scan_fn=selective_scan_fn)
    module(monkeypatch, "causal_conv1d", causal_conv1d_fn=causal_conv1d_fn)
    monkeypatch.setattr(kernels, "on_gpu", lambda x: True)


def mamba_chunk_scan_combined(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk_size: int,
    initial_states: Tensor | None = None, seq_idx: Tensor | None = None, return_final_states: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    (rows, length, heads, width), groups = x.shape, B.shape[2]
    assert return_final_states
    assert groups == 1
    assert dt.shape == (rows, length, heads)
    assert A.shape == (heads,)
    assert B.shape == C.shape == (rows, length, groups, B.shape[3])
    assert B.dtype == C.dtype == x.dtype
    assert seq_idx is None or (seq_idx.dtype == torch.int32 and seq_idx.shape == (rows, length))
    state = x.new_zeros(rows, heads, width, B.shape[3]) if initial_states is None else initial_states
    heard, before = [], torch.zeros(rows, dtype=torch.int32)
    for t in range(length):
        if seq_idx is not None:
            state = state * (seq_idx[:, t] == before)[:, None, None, None]
            before = seq_idx[:, t]
        step = dt[:, t, :, None, None]
        state = state * (step * A[:, None, None]).exp() + step * x[:, t, ..., None] * B[:, t, 0, None, None]
        heard.append(torch.einsum("bhpn,bn->bhp", state, C[:, t, 0]))
    return torch.stack(heard, 1), state.float()


def selective_state_update(
    state: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, dt_bias: Tensor
) -> Tensor:  # fmt: skip
    assert not torch.is_grad_enabled()
    assert dt.shape == x.shape == state.shape[:-1]
    assert A.shape == state.shape[1:]
    assert dt_bias.shape == state.shape[1:-1]
    assert B.shape == C.shape
    assert B.shape == ((len(x), 1, state.shape[-1]) if x.dim() == 3 else (len(x), state.shape[-1]))
    if x.dim() == 3:
        B, C = B[:, :, None], C[:, :, None]
    else:
        B, C = B[:, None], C[:, None]
    dt = dt + dt_bias
    state.copy_(state * (dt[..., None] * A).exp() + (dt * x)[..., None] * B)
    return (state * C).sum(-1)


def selective_scan_fn(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *, return_last_state: bool
) -> tuple[Tensor, Tensor]:  # fmt: skip
    rows, channels, length = u.shape
    assert return_last_state
    assert delta.shape == u.shape
    assert A.dtype == torch.float32
    assert delta.dtype == B.dtype == C.dtype == u.dtype
    assert B.shape == C.shape == (rows, A.shape[1], length)
    state, heard = u.new_zeros(rows, channels, A.shape[1]), []
    for t in range(length):
        spoken = (delta[:, :, t] * u[:, :, t])[..., None] * B[:, None, :, t]
        state = state * (delta[:, :, t, None] * A).exp() + spoken
        heard.append((state * C[:, None, :, t]).sum(-1))
    return torch.stack(heard, 2), state


def causal_conv1d_fn(x: Tensor, weight: Tensor, bias: Tensor, seq_idx: Tensor | None = None) -> Tensor:
    (rows, channels, length), taps = x.shape, weight.shape[1]
    assert x.stride(1) == 1
    assert channels % 8 == x.stride(2) % 8 == x.stride(0) % 8 == 0
    assert 2 <= taps <= 4
    if seq_idx is None:
        seq_idx = torch.zeros(rows, length, dtype=torch.int32)
    assert seq_idx.dtype == torch.int32
    assert seq_idx.is_contiguous()
    y = bias[:, None].expand(rows, -1, length)
    for back in range(taps):
        heard = torch.zeros(rows, length, dtype=torch.bool)
        heard[:, back:] = seq_idx[:, back:] == seq_idx[:, : length - back]
        shifted = torch.nn.functional.pad(x, (back, 0))[:, :, :length]
        y = y + shifted * heard[:, None] * weight[:, taps - 1 - back, None]
    return y


def test_without_a_gpu_it_is_torch_and_there_is_nothing_to_say(capsys: Said) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert backend.backend() == "torch"
    assert capsys.readouterr().err == ""


def test_the_kernels_are_taken_where_they_load_and_noted_once(installed: None, capsys: Said) -> None:
    assert [backend.backend() for _ in range(3)] == ["mamba_ssm"] * 3
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("State spaces: the kernels of mamba-ssm")
    assert said.endswith("which load here; LLMREC_SSM_BACKEND=torch takes plain torch.")


def test_a_gpu_without_the_kernels_takes_torch_and_says_why(
    gpu: None, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    assert backend.backend() == "torch"
    assert "plain torch, because mamba-ssm is not installed." in capsys.readouterr().err


def test_kernels_that_do_not_load_are_left_alone(
    installed: None, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setitem(sys.modules, backend.KERNELS, None)
    assert backend.backend() == "torch"
    assert "mamba-ssm does not load (import of mamba_ssm.ops.triton.ssd_combined halted" in capsys.readouterr().err


def test_torch_may_be_asked_for(installed: None, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    monkeypatch.setenv(backend.VARIABLE, "torch")
    assert backend.backend() == "torch"
    assert "plain torch, because LLMREC_SSM_BACKEND says so." in capsys.readouterr().err


def test_the_kernels_may_be_asked_for(installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "mamba_ssm")
    assert backend.backend() == "mamba_ssm"


def test_asking_for_what_there_is_not_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv(backend.VARIABLE, "mamba_ssm")
    with pytest.raises(UserError, match="LLMREC_SSM_BACKEND is mamba_ssm, but torch sees no CUDA device. Unset it or"):
        backend.backend()
    monkeypatch.setenv(backend.VARIABLE, "triton")
    with pytest.raises(UserError, match="LLMREC_SSM_BACKEND is 'triton', and there are torch and mamba_ssm"):
        backend.backend()


def test_a_wish_that_cannot_be_met_stops_a_recurrence_on_a_cpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "fast")
    with pytest.raises(UserError, match="'fast'"):
        conv(None, torch.zeros(1, 5, 8), torch.zeros(8, 4), torch.zeros(8))


def test_tensors_on_a_cpu_never_reach_the_kernels(installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "on_gpu", ON_GPU)
    assert backend.backend() == "mamba_ssm"
    with torch.no_grad():
        assert not any(kernels.fits(name, torch.zeros(2, 3, 8)) for name in kernels.FOUND)


def test_numbers_that_the_kernels_do_not_know_go_by_torch(installed: None) -> None:
    assert kernels.fits("ssd", torch.zeros(2, 3, 8))
    assert not kernels.fits("ssd", torch.zeros(2, 3, 8, dtype=torch.double))
    assert not kernels.fits("conv", torch.zeros(2, 3, 7))
    assert not kernels.fits("conv", torch.zeros(0, 3, 8))
    assert not kernels.fits("step", torch.zeros(2, 8))  # a step has no gradient
    with torch.no_grad():
        assert kernels.fits("step", torch.zeros(2, 8))


def test_a_build_without_cuda_has_no_scan(installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", None)
    assert kernels.fits("ssd", torch.zeros(2, 3, 8))
    assert not kernels.fits("scan", torch.zeros(2, 3, 8))


def inputs(length: int = 20) -> tuple[Tensor, ...]:
    """x, dt, a, b, c of a state space, with a state and the starts of packed histories."""
    draw = torch.Generator().manual_seed(0)
    x, b, c = (torch.randn(2, length, *shape, generator=draw) for shape in ((3, 4), (5,), (5,)))
    dt, starts = torch.rand(2, length, 3, generator=draw), torch.rand(2, length, generator=draw) < 0.2
    return x, dt, -torch.tensor([0.1, 1.0, 3.0]), b, c, torch.randn(2, 3, 4, 5, generator=draw), starts


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_the_dual_by_the_kernel_is_the_dual(carried: bool, packed: bool, installed: None) -> None:
    heard = []
    for wish in ("mamba_ssm", "torch"):
        *given, state, starts = inputs()
        leaves = [t.requires_grad_() for t in (*given, state)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(backend.VARIABLE, wish)
            backend.backend.cache_clear()
            y, end = ssd.extend(state if carried else None, *given, starts=starts if packed else None)
        used = leaves if carried else leaves[:-1]
        heard.append((y, end, *torch.autograd.grad([y.sin().sum(), end.sin().sum()], used)))
        assert ("Chunked" in y.grad_fn.name()) == (wish == "torch")
    for one, other in zip(*heard, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_kernels_keep_the_steps_precision(installed: None) -> None:
    x, dt, a, b, c, _, starts = inputs()
    y, end = ssd.extend(None, x.bfloat16(), dt, a, b.bfloat16(), c.bfloat16(), starts=starts)
    assert y.dtype == end.dtype == torch.float32
    y, end = kernels.scan(x.flatten(2).bfloat16(), dt.repeat(1, 1, 4), -torch.ones(12, 5), b.bfloat16(), c.bfloat16())
    assert y.dtype == end.dtype == torch.float32
    with torch.no_grad():
        y, _ = ssd.step(end.new_zeros(2, 3, 4, 5), x[:, 0].bfloat16(), dt[:, 0], a, b[:, 0], c[:, 0])
    assert y.dtype == torch.float32


def test_a_step_by_the_kernel_is_a_step_and_leaves_the_given_state(installed: None) -> None:
    x, dt, a, b, c, state, _ = inputs()
    now, before = (x[:, 0], dt[:, 0], a, b[:, 0], c[:, 0]), state.clone()
    wanted = ssd.step(state, *now)  # with gradients, so in torch
    with torch.no_grad():
        for one, other in zip(ssd.step(state, *now), wanted, strict=True):
            torch.testing.assert_close(one, other)
    assert torch.equal(state, before)


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_the_convolution_by_the_kernel_is_the_convolution(carried: bool, packed: bool, installed: None) -> None:
    draw, heard = torch.Generator().manual_seed(0), []
    sizes = ((2, 20, 24), (8, 4), (8,), (2, 3, 8))
    wide, weight, bias, state = (torch.randn(size, generator=draw, requires_grad=True) for size in sizes)
    starts, lengths = torch.rand(2, 20, generator=draw) < 0.2, torch.tensor([20, 6])
    for wish in ("mamba_ssm", "torch"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(backend.VARIABLE, wish)
            backend.backend.cache_clear()
            x = wide[..., 8:16]  # a part of a layer's projection, as it comes
            y, kept = conv(state if carried else None, x, weight, bias, lengths, starts if packed else None)
        heard.append((y, kept, *torch.autograd.grad([y.sin().sum(), kept.sin().sum()], [wide, weight, bias])))
        assert ("Taps" in y.grad_fn.name()) == (wish == "torch")
    for one, other in zip(*heard, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_scan_by_the_kernel_is_the_recurrence(installed: None) -> None:
    draw = torch.Generator().manual_seed(0)
    x, dt, b, c = (torch.rand(2, 9, size, generator=draw) for size in (6, 6, 4, 4))
    a, state, heard = -torch.rand(6, 4, generator=draw), torch.zeros(2, 6, 4), []
    for t in range(9):
        state = state * (dt[:, t, :, None] * a).exp() + (dt[:, t] * x[:, t])[..., None] * b[:, t, None]
        heard.append((state * c[:, t, None]).sum(-1))
    y, end = kernels.scan(x.requires_grad_(), dt, a, b, c)
    torch.testing.assert_close(y, torch.stack(heard, 1))
    torch.testing.assert_close(end, state)
    assert y.requires_grad
    assert not end.requires_grad  # the kernel would leave its gradient out without a word
    with torch.no_grad():
        now = (x[:, 0], dt[:, 0], a, b[:, 0], c[:, 0])
        y, after = kernels.scan_step(state, *now)
    torch.testing.assert_close(
        after, state * (dt[:, 0, :, None] * a).exp() + (now[1] * now[0])[..., None] * b[:, 0, None]
    )
    torch.testing.assert_close(y, (after * c[:, 0, None]).sum(-1))
