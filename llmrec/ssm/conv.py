"""The short causal convolution in front of a state space, with what it remembers.

Letters of shapes: b rows, l positions, d channels, k taps.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec.ssm import kernels
from llmrec.ssm.blocks import blocks

BLOCK = 150_000  # numbers of x that the weights' gradient takes at once on a CPU; a tap is made of as many


def conv(
    state: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    lengths: Tensor | None = None,
    starts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Each channel's weighted sum of its last k values, (b, l, d), and the k - 1 values to go on from, (b, k - 1, d).

    x: (b, l, d); weight: (d, k), the newest value last; state: (b, k - 1, d), None before anything came. `lengths` (b,)
    says how many positions of each row are real where rows are padded on the right; left out, all are. `starts` (b, l)
    is True where another history begins: what came before counts as 0 from there on, the given state too, and what is
    kept to go on from is of the last history only. The gradient itself has no gradient.
    """
    taps, length = weight.shape[1], x.shape[1]
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(weight.dtype)
        x = F.pad(x, (0, 0, taps - 1, 0)) if state is None else torch.cat([state, x], 1)  # (b, k - 1 + l, d)
        # Which history each value belongs to: 0 what was given, then as many as have started.
        history = None if starts is None else F.pad(starts.cumsum(1), (taps - 1, 0))
        y = _weighted(x, weight, bias, history) if length else x[:, :0]
    if lengths is None and history is None:
        return y, x[:, length:]
    ends = x.new_full((len(x),), length, dtype=torch.long) if lengths is None else lengths
    kept = ends[:, None] + torch.arange(taps - 1, device=x.device)  # where each row's last k - 1 real values stand
    after = x.gather(1, kept[..., None].expand(-1, -1, x.shape[2]))
    if history is not None and taps > 1:
        belongs = history.gather(1, kept)
        after = after.masked_fill((belongs != belongs[:, -1:])[..., None], 0)
    return y, after


def _weighted(x: Tensor, weight: Tensor, bias: Tensor, history: Tensor | None) -> Tensor:
    """The sums alone: (b, k - 1 + l, d) to (b, l, d); `history` (b, k - 1 + l) keeps what is packed apart."""
    taps, length = weight.shape[1], x.shape[1] - weight.shape[1] + 1
    if length == 1 and history is None:
        return (torch.einsum("bkd,dk->bd", x, weight) + bias)[:, None]
    if 2 <= taps <= 4 and kernels.fits("conv", x):
        return kernels.conv(x, weight, bias, history)
    heard = None
    if history is not None:
        heard = history.unfold(1, taps, 1) == history[:, taps - 1 :, None]  # (b, l, k)
    if x.device.type == "cpu":
        y: Tensor = _Taps.apply(x, weight, bias, heard)  # type: ignore[no-untyped-call]
        return y
    if heard is None:
        return F.conv1d(x.mT, weight[:, None], bias, groups=x.shape[2]).mT
    windows = x.unfold(1, taps, 1)  # (b, l, d, k)
    return (windows.masked_fill(~heard[:, :, None], 0) * weight).sum(-1) + bias


class _Taps(torch.autograd.Function):
    """The same on a CPU: channels stay innermost, and the weights' gradient is summed where it is in the cache.

    torch's own gradient takes three times as long and leaves its channels outermost, which slows what follows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, heard: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, heard)
        if heard is None:
            return _depthwise(x, weight, bias)
        (rows, length, taps), weights = heard.shape, weight.T.contiguous()
        y = bias.repeat(rows, length, 1)
        for row in blocks(y, BLOCK):
            for tap in range(taps):
                part = x[row, tap : tap + length] * heard[row, :, tap, None]
                y[row].addcmul_(part, weights[tap])
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, heard = ctx.saved_tensors
        taps, length, weights = weight.shape[1], by_y.shape[1], weight.T.contiguous()
        by_x = torch.zeros_like(x) if heard is not None else _depthwise(by_y, weight.flip(1), None, around=taps - 1)
        some = blocks(by_y, BLOCK)
        by_weight = x.new_zeros(some[0].stop if some else 0, taps, length, x.shape[2])
        for row in some:
            for tap in range(taps):
                window, part = slice(tap, tap + length), by_y[row]
                if heard is not None:
                    part = part * heard[row, :, tap, None]
                    by_x[row, window].addcmul_(part, weights[tap])
                by_weight[: len(part), tap].addcmul_(part, x[row, window])
        return by_x, by_weight.sum((0, 2)).T, by_y.sum((0, 1)), None


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, around: int = 0) -> Tensor:
    """Each channel's own convolution, (b, l, d) to (b, l, d), as an image of one line whose channels are innermost."""
    image = x.mT[:, :, None]  # (b, d, 1, l)
    y = F.conv2d(image, weight[:, None, None], bias, padding=(0, around), groups=x.shape[2])
    return y[:, :, 0].mT
