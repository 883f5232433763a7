"""The real kernels against plain torch on a CPU in double precision: `pytest -m gpu`, with mamba-ssm installed.

The kernels round products of float32 to TF32, so numbers agree to three digits. What is packed, carried or forgotten is
off by whole numbers where it is wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from llmrec.ssm import backend, kernels, ssd
from llmrec.ssm.conv import conv

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(backend.absent() is not None, reason=str(backend.absent())),
]
CLOSE = {"rtol": 2e-2, "atol": 2e-2}
ROWS, LENGTH, HEADS, WIDTH, NUMBERS = 3, 300, 4, 32, 16  # more than one of the kernel's chunks


def inputs() -> tuple[list[Tensor], Tensor, Tensor]:
    """x, dt, a, b, c; a state; the starts of packed histories, one of them a row's first position."""
    draw = torch.Generator().manual_seed(0)
    x, b, c = (torch.randn(ROWS, LENGTH, *size, generator=draw) for size in ((HEADS, WIDTH), (NUMBERS,), (NUMBERS,)))
    dt, starts = torch.rand(ROWS, LENGTH, HEADS, generator=draw), torch.rand(ROWS, LENGTH, generator=draw) < 0.02
    starts[0, 0] = True
    a, state = -torch.tensor([0.01, 0.1, 1.0, 4.0]), torch.randn(ROWS, HEADS, WIDTH, NUMBERS, generator=draw)
    return [x, dt, a, b / 4, c / 4], state, starts


def compared(function: Callable[..., tuple[Tensor, ...]], tensors: list[Tensor], kernel: kernels.Kernel) -> None:
    """Outputs and gradients on the GPU against the same in double precision on a CPU."""
    assert kernels._kernel(kernel) is not None
    found = []
    for device, dtype in (("cuda", torch.float32), ("cpu", torch.double)):
        moved = [t.detach().to(device, dtype).requires_grad_() for t in tensors]
        outputs = function(*moved)
        gradients = torch.autograd.grad([(y * y).mean() for y in outputs], moved)
        found.append([t.double().cpu() for t in (*outputs, *gradients)])
    for one, other in zip(*found, strict=True):
        scale = other.abs().amax().clamp(min=1e-12)
        torch.testing.assert_close(one / scale, other / scale, **CLOSE)


@pytest.fixture(autouse=True)
def wished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.VARIABLE, "mamba_ssm")
    backend.backend.cache_clear()


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_the_dual(carried: bool, packed: bool) -> None:
    given, state, starts = inputs()

    def run(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        before = tensors[5] if carried else None
        return ssd.extend(before, *tensors[:5], starts=starts.to(tensors[0].device) if packed else None)

    compared(run, [*given, state] if carried else given, "ssd")


def test_a_step() -> None:
    if kernels._kernel("step") is None:
        pytest.skip("selective_state_update does not load")
    (x, dt, a, b, c), state, _ = inputs()
    now = (state, x[:, 0], dt[:, 0], a, b[:, 0], c[:, 0])
    with torch.no_grad():
        found = ssd.step(*(t.cuda() for t in now))
    for one, other in zip(found, ssd.step(*now), strict=True):
        torch.testing.assert_close(one.cpu(), other, **CLOSE)


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_the_convolution(carried: bool, packed: bool) -> None:
    if kernels._kernel("conv") is None:
        pytest.skip("causal-conv1d does not load")
    draw, starts = torch.Generator().manual_seed(0), inputs()[2]
    tensors = [torch.randn(size, generator=draw) for size in ((ROWS, LENGTH, 24), (8, 4), (8,), (ROWS, 3, 8))]

    def run(wide: Tensor, weight: Tensor, bias: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        device = wide.device
        lengths = torch.tensor([LENGTH, 7, 100], device=device)
        return conv(state, wide[..., 8:16], weight, bias, lengths, starts.to(device) if packed else None)

    compared(run, tensors if carried else tensors[:3], "conv")


def test_the_scan() -> None:
    if kernels._kernel("scan") is None:
        pytest.skip("built without selective_scan_cuda")
    draw = torch.Generator().manual_seed(0)
    x, dt, b, c = (torch.rand(ROWS, LENGTH, size, generator=draw) for size in (24, 24, NUMBERS, NUMBERS))
    a = -4 * torch.rand(24, NUMBERS, generator=draw)

    def run(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor]:
        if x.is_cuda:
            return (kernels.scan(x, dt, a, b, c)[0],)
        state, heard = x.new_zeros(ROWS, 24, NUMBERS), []
        for t in range(LENGTH):
            state = state * (dt[:, t, :, None] * a).exp() + (dt[:, t] * x[:, t])[..., None] * b[:, t, None]
            heard.append((state * c[:, t, None]).sum(-1))
        return (torch.stack(heard, 1),)

    compared(run, [x, dt, a, b, c], "scan")
