"""How long the next step is, whichever optimiser takes it."""

from __future__ import annotations

import torch


def step_size(optimizer: torch.optim.Optimizer) -> float:
    """What the next step multiplies its direction by: of Adam and its like the learning rate (with prodigy's d), of
    the others what they multiply the gradient by. 0 while a method has seen no gradient to go by.

    >>> weight = torch.zeros(1, requires_grad=True)
    >>> step_size(torch.optim.AdamW([weight], lr=0.01))
    0.01
    """
    first = optimizer.param_groups[0]
    size = float(first["lr"])
    if "d0" in first:  # prodigy
        return size * float(first["d"])
    if "distance" in first:  # dowg
        return size * first["distance"] ** 2 / first["squares"] ** 0.5 if first["squares"] > 0 else 0.0
    if "H" in first:  # usgm
        return size / first["H"] if first["H"] > 0 else 0.0
    if "alpha" in first:  # adabatchgrad
        return float(size * first["alpha"] / (first["beta"] + first["squares"]) ** (0.5 + first["epsilon"]))
    return size
