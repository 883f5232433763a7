"""All the weights that an optimiser moves, seen as one vector: its inner products, its lengths, its one step size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from llmrec.errors import TrainingFault


def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """The inner product of two vectors that are kept in pieces; 0 of none.

    >>> inner([torch.tensor([1.0, 2.0]), torch.tensor([3.0])], [torch.tensor([4.0, 0.5]), torch.tensor([2.0])])
    11.0
    """
    if not left:
        return 0.0
    wide = torch.promote_types(left[0].dtype, torch.float32)  # squares of bfloat16 would add up to nothing
    return torch.stack([(a.to(wide) * b.to(wide)).sum() for a, b in zip(left, right, strict=True)]).sum().item()


def apart(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """The distance of two such vectors.

    >>> apart([torch.tensor([1.0, 2.0])], [torch.tensor([4.0, 6.0])])
    5.0
    """
    between = [a - b for a, b in zip(left, right, strict=True)]
    return float(inner(between, between) ** 0.5)


def learning(groups: Iterable[dict[str, Any]]) -> tuple[list[Tensor], list[Tensor]]:
    """The weights that have a gradient, and their gradients."""
    weights = [weight for group in groups for weight in group["params"] if weight.grad is not None]
    return weights, [weight.grad for weight in weights if weight.grad is not None]


def one_rate(groups: Sequence[dict[str, Any]], step: str) -> float:
    """The learning rate of all groups. Raises TrainingFault where groups have different ones."""
    rates = sorted({float(group["lr"]) for group in groups})
    if len(rates) > 1:
        raise TrainingFault(
            f"adaptive.step: {step} finds one step size for all weights, and groups ask for learning rates of "
            f"{', '.join(f'{rate:g}' for rate in rates)}. Give all the same, or take adamw or schedule_free."
        )
    return rates[0]
