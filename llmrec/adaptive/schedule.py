"""Learning rates that follow the samples seen, so that a growing batch and its fewer steps do not freeze them."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch

from llmrec.adaptive.steps import averages
from llmrec.errors import TrainingFault

Kind = Literal["constant", "cosine", "linear"]
FINAL = 0.05  # of the learning rate, where cosine and linear end


class BySamples:
    """Sets the learning rate of each group of an optimiser: what it was given, warmed up, decayed, grown.

    `samples` are all that will be seen, `warmup` the share of them in which the rate rises along a line; afterwards it
    is `constant`, or goes down along half a `cosine` or a line (`linear`) to FINAL of itself. None is `constant` where
    the weights that count are averages (schedule_free, usgm: averaging does what decay does), else `cosine`; those
    refuse a decay with TrainingFault. For steps that find their own length the rate is a factor of it, 1 at its height.

    >>> weight = torch.zeros(1, requires_grad=True)
    >>> optimizer = torch.optim.SGD([weight], lr=0.2)
    >>> schedule = BySamples(optimizer, samples=1000, warmup=0.1, kind="linear")
    >>> for seen in (0, 100, 550, 1000):
    ...     schedule.step(seen)
    ...     print(round(optimizer.param_groups[0]["lr"], 3))
    0.018
    0.2
    0.105
    0.01
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, samples: int, warmup: float = 0.05, kind: Kind | None = None
    ) -> None:
        mean = averages(optimizer)
        if mean and kind not in (None, "constant"):
            raise TrainingFault(
                f"adaptive.schedule: {kind} decays the step, and this optimiser averages its weights instead. "
                "Take constant, or leave it out."
            )
        if samples < 1 or not 0 <= warmup < 1:
            raise ValueError(f"{samples} samples, of which {warmup} warm up: at least 1, and a share below 1")
        self.optimizer, self.samples, self.warmup = optimizer, samples, warmup
        self.kind: Kind = kind or ("constant" if mean else "cosine")
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.grown, self.seen = 1.0, 0
        self.step(0)

    def share(self, seen: int) -> float:
        """Of the rate when so many samples have been seen; a rise starts at a tenth of its length, not at nothing."""
        done = min(seen / self.samples, 1.0)
        if done < self.warmup:
            return (done + self.warmup / 10) / (self.warmup * 1.1)
        left = (1 - done) / (1 - self.warmup)
        if self.kind == "constant":
            return 1.0
        height = left if self.kind == "linear" else (1 - math.cos(math.pi * left)) / 2
        return FINAL + (1 - FINAL) * height

    def step(self, seen: int) -> None:
        """Sets the rates for the next update, `seen` samples having been learnt from so far."""
        self.seen = seen
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.grown * self.share(seen)

    def grow(self, factor: float) -> None:
        """Multiplies all rates from here on: once for each growth of the batch, by what `steps.growth` says of it."""
        self.grown *= factor
        self.step(self.seen)

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, as plain numbers: the growth so far is among them and is not applied again on resuming."""
        return {"rates": list(self.rates), "grown": self.grown, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`; the optimiser may be restored before or after."""
        self.rates, self.grown = [float(rate) for rate in state["rates"]], float(state["grown"])
        self.step(int(state["seen"]))
