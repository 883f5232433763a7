"""Distance over weighted gradients: a step from how far the weights have come (Khaled et al., arXiv 2305.16284)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from llmrec.adaptive.whole import apart, inner, learning, one_rate


class DoWG(torch.optim.Optimizer):
    """Gradient descent whose step follows from the distance travelled; nothing is tuned.

    With g_t the gradient at x_t, algorithm 1 of the paper is

        rbar_t = max(|x_t - x_0|, rbar_(t-1)),   rbar_(-1) = r0
        v_t    = v_(t-1) + rbar_t^2 |g_t|^2,     v_(-1) = 0
        x_(t+1) = x_t - rbar_t^2 / sqrt(v_t) g_t

    `r0` is a guess of the distance to a solution, in the unit of the weights, and should be too small rather than too
    large. `lr` multiplies the step: 1 in theory, less where a schedule says so. The guarantee is for convex functions
    and for an average of the iterates; the weights here are the last iterate, as in the paper's experiments with
    networks. Raises TrainingFault where groups have learning rates of their own.
    """

    def __init__(self, params: Any, r0: float = 1e-4, lr: float = 1.0) -> None:
        super().__init__(params, {"lr": lr, "distance": r0, "squares": 0.0})
        one_rate(self.param_groups, "dowg")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Moves the weights once."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        rate, (at, grads) = one_rate(self.param_groups, "dowg"), learning(self.param_groups)
        for weight in at:
            if "start" not in self.state[weight]:
                self.state[weight]["start"] = weight.clone()
        first = self.param_groups[0]
        distance = max(first["distance"], apart(at, [self.state[weight]["start"] for weight in at]))
        squares = first["squares"] + distance**2 * inner(grads, grads)
        for group in self.param_groups:  # every group says the same, so that any of them tells
            group["distance"], group["squares"] = distance, squares
        if squares > 0:
            for weight, grad in zip(at, grads, strict=True):
                weight.sub_(grad, alpha=rate * distance**2 / squares**0.5)
        return loss
