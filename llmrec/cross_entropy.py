"""Exact cross-entropy over a catalogue or a vocabulary, without ever holding all its logits; both sides train with it.

Letters of shapes: r rows (positions of all histories), d width, v items or tokens, k rows of another matrix.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = {"cpu": 1 << 20, "cuda": 1 << 26}
"""Logits held at once: on a processor 4 MB of float32, which its caches keep for the next pass; 256 MB on a GPU."""
ROWS = 128  # of a block at least: thinner matrix products waste what the cache saves
STEP = 64  # blocks have a multiple of so many rows, since oneDNN compiles a product anew for every shape it meets
LOG2E = math.log2(math.e)


def cross_entropy(
    vectors: Tensor, items: Tensor, targets: Tensor, *, bias: Tensor | None = None, cells: int | None = None
) -> Tensor:
    """Mean over rows of -log softmax(vectors items^T + bias)[target]: exact over all items, never r x v at once.

    vectors: (r, d); items: (v, d); targets: (r,); bias: (v,) or none. Rows go block by block, and the gradient of a
    block is taken while its probabilities are at hand, so that nothing is kept or computed twice (the idea of Liger's
    fused linear cross-entropy). `cells` is how many logits are held at once, by default as many as suit the device.
    The gradient itself has no gradient.
    """
    if cells is None:
        cells = CELLS["cuda" if vectors.is_cuda else "cpu"]
    loss: Tensor = _CrossEntropy.apply(vectors, items, targets, bias, cells)  # type: ignore[no-untyped-call]
    return loss


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a b^T + bias: (r, k) of a (r, d), b (k, d) and bias (k,), by the fastest product there is. It has no gradient.

    MKL keeps its AVX-512 kernels from AMD's processors: on a Zen 5 core it takes 2.3 times as long as oneDNN, which
    torch has as well and calls where a model is compiled.
    """
    if a.dtype == torch.float32 and a.device.type == "cpu" and a.numel() and b.numel() and _has_onednn():
        return _onednn(a, b, bias)
    return a @ b.T if bias is None else torch.addmm(bias, a, b.T)


def _onednn(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return found


@functools.cache
def _has_onednn() -> bool:
    """Whether oneDNN is worth calling here, and can be: its name in torch is not a public one."""
    if not (torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX512")):
        return False
    try:
        return _onednn(torch.ones(1, 1), torch.ones(1, 1), None).item() == 1
    except (AttributeError, RuntimeError, TypeError):
        return False


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, items: Tensor, targets: Tensor, bias: Tensor | None, cells: int) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        by_vector, by_item = torch.empty_like(vectors), items.new_zeros(items.shape[::-1])  # (r, d), (d, v)
        by_bias = torch.zeros_like(bias) if bias is not None else None
        total = vectors.new_zeros(())
        block = max(ROWS, cells // max(1, len(items)) // STEP * STEP)
        raised = bias * LOG2E if bias is not None else None
        for start in range(0, len(vectors), block):
            target = targets[start : start + block, None]
            real = len(target)
            some = F.pad(vectors[start : start + block], (0, 0, 0, -real % STEP))  # rows of 0 add 0 to by_item
            # Powers of 2, not of e: torch has exp2 in a fifth of exp's time, and the vectors take up the factor.
            logits = product(some * LOG2E, items, raised)  # (block, v)
            highest, picked = logits.amax(1, keepdim=True), logits[:real].gather(1, target)
            chances = logits.sub_(highest).exp2_()  # not divided by `mass`: narrower matrices are, below
            mass = chances.sum(1, keepdim=True)  # at least 1
            total += (mass[:real].log2() + highest[:real] - picked).sum() / LOG2E
            if wanted:
                chances[:real].scatter_add_(1, target, -mass[:real])
                torch.div(product(chances, items.T)[:real], mass[:real], out=by_vector[start : start + real])
                by_item += product((some / mass).T, chances.T)
                if by_bias is not None:
                    by_bias.addmv_(chances[:real].T, mass[:real, 0].reciprocal())
        ctx.save_for_backward(by_vector, by_item, by_bias)
        ctx.rows = max(1, len(vectors))
        mean: Tensor = total / ctx.rows
        return mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_vector, by_item, by_bias = ctx.saved_tensors
        share = gradients[0] / ctx.rows
        return (
            by_vector * share,
            by_item.T.contiguous() * share,
            None,
            by_bias * share if by_bias is not None else None,
            None,
        )
