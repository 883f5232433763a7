"""mamba-ssm's and causal-conv1d's CUDA kernels behind the signatures of this room.

    if kernels.fits("ssd", x):
        return kernels.ssd_extend(state, x, dt, a, b, c, starts)

As released in mamba-ssm 2.3.2 and causal-conv1d 1.7. Three things that plain torch promises the kernels do not: the
products of float32 are rounded to TF32 (Triton's default), which keeps three digits; packed histories are kept apart by
their index but share a chunk's sum of decays, so that a loud one costs the next one digits; and a step, and the last
state of the scan, carry no gradient.

Letters of shapes: b rows, l positions, h heads, p channels a head, e inner channels, n numbers of state, d channels of
the convolution, k its taps.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from llmrec.ssm.backend import backend

Kernel = Literal["ssd", "scan", "step", "conv"]
FOUND: dict[Kernel, tuple[str, str]] = {
    "ssd": ("mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined"),
    "scan": ("mamba_ssm.ops.selective_scan_interface", "selective_scan_fn"),
    "step": ("mamba_ssm.ops.triton.selective_state_update", "selective_state_update"),
    "conv": ("causal_conv1d", "causal_conv1d_fn"),
}
CHUNK = 256  # positions a chunk, as in the package's own Mamba-2 module


def fits(name: Kernel, x: Tensor) -> bool:
    """Whether a kernel takes this tensor, which lies (b, l, channels) for `conv`; a step, only without gradients."""
    if backend() == "torch" or not on_gpu(x) or x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    if not x.numel():  # CUDA starts no kernel on nothing
        return False
    if name == "step" and torch.is_grad_enabled():
        return False
    if name == "conv" and x.shape[-1] % 8:
        return False
    return _kernel(name) is not None


def on_gpu(x: Tensor) -> bool:
    return x.device.type == "cuda"


def ssd_extend(
    state: Tensor | None, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, starts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`llmrec.ssm.ssd.extend` for one position or more."""
    x, b, c = (t.to(dt.dtype) for t in (x, b, c))  # as in torch: half precision loses a history's digits
    y, state = _called(
        "ssd", x, dt, a, b[:, :, None], c[:, :, None], CHUNK,
        initial_states=state, seq_idx=_index(starts), return_final_states=True,
    )  # fmt: skip
    return y, state


def ssd_step(state: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """`llmrec.ssm.ssd.step`, without gradients."""
    (_, heads, width), numbers = x.shape, b.shape[-1]
    steps = dt[..., None].expand(-1, -1, width)
    decay = a.float()[:, None, None].expand(heads, width, numbers)
    return _stepped(state, x, steps, decay, b[:, None], c[:, None], dt.new_zeros(1, 1).expand(heads, width))


def scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """`llmrec.ssm.selective_scan.extend` from nothing and without `starts`: y (b, l, e) and the last state (b, e, n).

    The state carries no gradient.
    """
    x, b, c = (t.to(dt.dtype) for t in (x, b, c))
    y, state = _called("scan", x.mT, dt.mT, a.float(), b.mT, c.mT, return_last_state=True)
    return y.mT, state.detach()


def scan_step(state: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """`llmrec.ssm.selective_scan.step`, without gradients."""
    return _stepped(state, x, dt, a.float(), b, c, dt.new_zeros(x.shape[-1]))


def conv(x: Tensor, weight: Tensor, bias: Tensor, history: Tensor | None = None) -> Tensor:
    """Each channel's weighted sum of its last k values, (b, k - 1 + l, d) to (b, l, d); k is 2, 3 or 4.

    x begins with the k - 1 values from before; `history` (b, k - 1 + l) numbers the histories that are packed in a row.
    """
    before = weight.shape[1] - 1
    x = x.contiguous().mT  # channels innermost: the only layout in which the kernel knows of packed histories
    index = None if history is None else history.int().contiguous()
    y: Tensor = _called("conv", x, weight, bias, seq_idx=index)
    return y[:, :, before:].mT


def _stepped(
    state: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    x, b, c = (t.to(dt.dtype) for t in (x, b, c))
    state = state.clone(memory_format=torch.contiguous_format)  # the kernel writes into it
    # A bias of zeros: 2.3.2 takes its strides without asking whether there is one.
    y = _called("step", state, x, dt, a, b, c, dt_bias=bias)
    return y, state


def _index(starts: Tensor | None) -> Tensor | None:
    """(b, l): how many histories have started. What is numbered 0 still hears the given state."""
    return None if starts is None else starts.cumsum(1, dtype=torch.int32)


def _called(name: Kernel, *arguments: Any, **named: Any) -> Any:
    kernel = _kernel(name)
    if kernel is None:
        raise RuntimeError(f"{'.'.join(FOUND[name])} does not load; ask kernels.fits first")
    return kernel(*arguments, **named)


@functools.cache
def _kernel(name: Kernel) -> Callable[..., Any] | None:
    module, function = FOUND[name]
    try:
        if name == "scan":
            importlib.import_module("selective_scan_cuda")  # builds without CUDA have the function, and it only raises
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except Exception:  # a wheel for another torch or CUDA fails in many ways
        return None
    return found
