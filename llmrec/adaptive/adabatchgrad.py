"""The step of AdaBatchGrad: AdaGrad with one step size for all weights (Ostroukhov et al., arXiv 2402.05264)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from llmrec.adaptive.whole import inner, learning, one_rate


class AdaBatchGrad(torch.optim.Optimizer):
    """Gradient descent with a step that shrinks as squared gradients add up.

        x_(k+1) = x_k - alpha / (beta + sum_(i<k) |g_i|^2)^(1/2 + epsilon) g_k

    The sum leaves the current gradient out, so that the step does not depend on the noise of what it multiplies.
    `alpha` is its scale, in the unit of the weights; `beta` > 0 bounds the first step. A growing batch makes the
    gradients less noisy and so, by itself, the steps longer. `lr` multiplies the step (1, or what a schedule says).
    Raises TrainingFault where groups have learning rates of their own.
    """

    def __init__(
        self,
        params: Any,
        alpha: float = 1.0,
        beta: float = 1.0,
        epsilon: float = 0.0,
        lr: float = 1.0,
    ) -> None:
        super().__init__(params, {"alpha": alpha, "beta": beta, "epsilon": epsilon, "lr": lr, "squares": 0.0})
        one_rate(self.param_groups, "adabatchgrad")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Moves the weights once."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        rate, (weights, grads) = one_rate(self.param_groups, "adabatchgrad"), learning(self.param_groups)
        first = self.param_groups[0]
        length = rate * first["alpha"] / (first["beta"] + first["squares"]) ** (0.5 + first["epsilon"])
        squares = first["squares"] + inner(grads, grads)
        for group in self.param_groups:  # every group says the same, so that any of them tells
            group["squares"] = squares
        for weight, grad in zip(weights, grads, strict=True):
            weight.sub_(grad, alpha=length)
        return loss
