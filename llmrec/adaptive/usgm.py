"""The universal stochastic gradient method (Rodomanov, Kavis, Wu, Antonakopoulos, Cevher, arXiv 2402.03210)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmrec.adaptive.whole import apart, inner, learning, one_rate

Spot = tuple[list[Tensor], list[Tensor], list[Tensor]]


class USGM(torch.optim.Optimizer):
    """Projected gradient descent whose step 1/H is found from how gradients change; the answer is the mean iterate.

    B is the ball of radius D round the first weights x_0, and H_0 = 0. Re-derived, it is

        x_(k+1) = argmin over x in B of <g_k, x> + H_k/2 |x - x_k|^2
        r = |x_(k+1) - x_k|,   b = <g_(k+1) - g_k, x_(k+1) - x_k>
        (H_(k+1) - H_k) D^2 = max(b - H_(k+1) r^2 / 2, 0)

    The first line is the projection of x_k - g_k / H_k onto B (of the candidate, before any averaging), or the far side
    of the ball, x_0 - D g_k / |g_k|, while H_k = 0. The last has one solution,

        H_(k+1) = H_k + max(b - H_k r^2 / 2, 0) / (D^2 + r^2 / 2)

    and with it a sum of the optimality conditions of all steps gives a mean error of the mean iterate of at most
    5 H_N D^2 / N for convex functions, whatever their smoothness and noise, with constants worked out for a radius D.

    g_(k+1) is what the next step is taken with, so H is brought up to date at the beginning of that step: one gradient
    a step and no closure. It costs four copies of the weights: x_0, the step before with its gradient, the mean.

    In training mode the weights are the iterate, after `eval()` they are the mean iterate, which is what is to be
    measured and saved; `train()` brings the iterate back, exactly. `lr` multiplies the step (1, or what a schedule
    says). Raises TrainingFault where groups have learning rates of their own.
    """

    def __init__(self, params: Any, D: float = 1.0, lr: float = 1.0) -> None:
        super().__init__(params, {"D": D, "lr": lr, "H": 0.0, "steps": 0, "train_mode": True})
        one_rate(self.param_groups, "usgm")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Moves the iterate once. Raises RuntimeError in evaluation mode, where the weights are not the iterate."""
        first = self.param_groups[0]
        if not first["train_mode"]:
            raise RuntimeError("USGM.step: the weights are the mean iterate since eval(); call train() first.")
        loss = None if closure is None else torch.enable_grad()(closure)()
        rate, (at, grads) = one_rate(self.param_groups, "usgm"), learning(self.param_groups)
        for weight in at:
            state = self.state[weight]
            if "start" not in state:
                state |= {name: weight.clone() for name in ("start", "before", "resting")}
                state["grad"] = torch.zeros_like(weight)
        start, before, was = ([self.state[weight][name] for weight in at] for name in ("start", "before", "grad"))
        curvature = self._curvature((at, before, grads), was)
        for weight, grad in zip(at, grads, strict=True):
            self.state[weight]["before"].copy_(weight)
            self.state[weight]["grad"].copy_(grad)
        length = inner(grads, grads) ** 0.5
        steps = first["steps"] + 1
        if length > 0:
            far = first["D"] / length if curvature == 0 else 1 / curvature
            origin = start if curvature == 0 else at
            candidate = [x.sub(grad, alpha=rate * far) for x, grad in zip(origin, grads, strict=True)]
            out = apart(candidate, start)
            for weight, x, x0 in zip(at, candidate, start, strict=True):
                weight.copy_(x if out <= first["D"] else x0.lerp(x, first["D"] / out))
        for weight in at:
            self.state[weight]["resting"].lerp_(weight, 1 / steps)
        for group in self.param_groups:  # every group says the same, so that any of them tells
            group["H"], group["steps"] = curvature, steps
        return loss

    def _curvature(self, now: Spot, was: list[Tensor]) -> float:
        """H for this step: the solution of the balance between it and the H before it."""
        at, before, grads = now
        known, radius = self.param_groups[0]["H"], self.param_groups[0]["D"]
        if not self.param_groups[0]["steps"]:
            return float(known)
        moved = [x - y for x, y in zip(at, before, strict=True)]
        turned = [g - h for g, h in zip(grads, was, strict=True)]
        square = inner(moved, moved)
        return float(known + max(inner(turned, moved) - known * square / 2, 0.0) / (radius**2 + square / 2))

    def train(self) -> None:
        """Puts the iterate into the weights."""
        self._turn(True)

    def eval(self) -> None:
        """Puts the mean iterate into the weights."""
        self._turn(False)

    @torch.no_grad()
    def _turn(self, training: bool) -> None:
        for group in self.param_groups:
            if group["train_mode"] == training:
                continue
            for weight in group["params"]:
                if "resting" in self.state[weight]:
                    resting = self.state[weight]["resting"]
                    iterate = weight.clone()
                    weight.copy_(resting)
                    resting.copy_(iterate)
            group["train_mode"] = training
