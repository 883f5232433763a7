"""What every way of fitting does with a batch: its loss, which weights decay, how long a gradient may be."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from llmrec.retriever.losses import Loss, beyond
from llmrec.retriever.model import Retriever
from llmrec.retriever.windows import Batch

NORM = 1.0  # gradients longer than this are shortened to it


def lost(model: Retriever, loss_fn: Loss, one: Batch) -> tuple[Tensor, int]:
    """The mean loss of a batch's positions, and how many it has."""
    asked = one.targets >= 0
    vectors = model(one.codes.to(model.device), one.layout.to(model.device))[asked.to(model.device)]
    targets, items = one.targets[asked].to(model.device), model.compared()
    loss = loss_fn(vectors, items, targets, bias=model.item_bias)
    if one.later:
        later = [further[asked].to(model.device) for further in one.later]
        loss = loss + beyond(vectors, items, targets, later, bias=model.item_bias)
    return loss, len(vectors)


def decaying(model: Retriever, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups that decay matrices only: no norm, no bias, and nothing that says how fast a state forgets."""
    decayed: list[Tensor] = []
    spared: list[Tensor] = []
    for name, weight in model.named_parameters():
        (spared if weight.dim() <= 1 or name.endswith("A_log") else decayed).append(weight)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
