"""Optimisers by short name, for both sides: what each one's scale is, and what a growing batch does to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import torch

from llmrec.adaptive.adabatchgrad import AdaBatchGrad
from llmrec.adaptive.dowg import DoWG
from llmrec.adaptive.usgm import USGM
from llmrec.adaptive.whole import one_rate
from llmrec.errors import TrainingFault

Optimizer = torch.optim.Optimizer
Groups = list[dict[str, Any]]
Betas = tuple[float, float]


def _adamw(groups: Groups, scale: float, betas: Betas) -> Optimizer:
    return torch.optim.AdamW(groups, lr=scale, betas=betas, fused=True)


def _sgd(groups: Groups, scale: float, betas: Betas) -> Optimizer:
    return torch.optim.SGD(groups, lr=scale, momentum=betas[0])


def _schedule_free(groups: Groups, scale: float, betas: Betas) -> Optimizer:
    found: Optimizer = _package("schedulefree", "schedule_free").AdamWScheduleFree(groups, lr=scale, betas=betas)
    return found


def _prodigy(groups: Groups, scale: float, betas: Betas) -> Optimizer:
    one_rate([{"lr": 1.0, **group} for group in groups], "prodigy")
    # Without the safeguard a learning rate that warms up counts twice: in the step, and in the estimate of d.
    found: Optimizer = _package("prodigyopt", "prodigy").Prodigy(groups, d0=scale, betas=betas, safeguard_warmup=True)
    return found


STEPS: dict[str, Callable[[Groups, float, Betas], Optimizer]] = {
    "adamw": _adamw,
    "sgd": _sgd,
    "schedule_free": _schedule_free,
    "prodigy": _prodigy,
    "dowg": lambda groups, scale, _: DoWG(groups, r0=scale),
    "usgm": lambda groups, scale, _: USGM(groups, D=scale),
    "adabatchgrad": lambda groups, scale, _: AdaBatchGrad(groups, alpha=scale),
}
"""What makes each, of parameter groups, its one scale, and betas where it has them."""

SCALES = {
    "adamw": 1e-3,  # learning rate
    "sgd": 1e-1,  # learning rate
    "schedule_free": 2.5e-3,  # learning rate; its package's default
    "prodigy": 1e-4,  # d0; with the 1e-6 of its package a short run ends before d has moved
    "dowg": 1e-4,  # r0, as published
    "usgm": 10.0,  # D and alpha have no published default; these are to a decade what small networks move
    "adabatchgrad": 10.0,
}
"""The scale of each where none is given."""

DECAYED = {"adamw", "schedule_free", "prodigy"}
GROWTH: dict[str, Callable[[float], float]] = {"adamw": math.sqrt, "schedule_free": math.sqrt, "sgd": lambda by: by}
PACKAGES = {"schedulefree": ">=1.4", "prodigyopt": ">=1.1"}


def make_step(
    name: str,
    parameters: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
    *,
    scale: float | None = None,
    weight_decay: float = 0.0,
    betas: Betas = (0.9, 0.999),
) -> Optimizer:
    """The optimiser `name` of STEPS over `parameters`, tensors or groups of them, ready to train.

    `scale` is the one number that each has: the learning rate of adamw, sgd and schedule_free, d0 of prodigy, r0 of
    dowg, D of usgm, alpha of adabatchgrad; without it, that of SCALES. A group may say its own `weight_decay`, and its
    own `lr` where the method allows that. Weight decay is decoupled, in the unit of Adam's step, and so for the steps
    in DECAYED alone: the others minimise the function as it is. `betas` are of the gradient's mean and square.

    All resume exactly from `state_dict()`, which holds numbers in its groups as well as tensors in its state. Raises
    TrainingFault on an unknown name, a scale that is not positive, groups with learning rates of their own where there
    is one step size for all (prodigy, dowg, usgm, adabatchgrad), and a package that is not installed.
    """
    if name not in STEPS:
        raise TrainingFault(f"adaptive.step: {name!r} is no step; there are {', '.join(STEPS)}.")
    scale = SCALES[name] if scale is None else scale
    if not (scale > 0 and math.isfinite(scale)):
        raise TrainingFault(f"adaptive.scale: {scale:g} for {name}; a scale is a positive number ({SCALES[name]:g}).")
    given: list[Any] = list(parameters)
    groups: Groups = given if given and isinstance(given[0], dict) else [{"params": given}]
    spared = {} if name in DECAYED else {"weight_decay": 0.0}
    optimizer = STEPS[name]([{"weight_decay": weight_decay, **group, **spared} for group in groups], scale, betas)
    if averages(optimizer):
        optimizer.train()  # type: ignore[attr-defined]
    return optimizer


def averages(optimizer: Optimizer) -> bool:
    """Whether the weights to measure and save are averages, put in place by `.eval()` and taken out by `.train()`."""
    return callable(getattr(optimizer, "eval", None))


def growth(name: str, factor: float, *, room: float = math.inf) -> float:
    """What to multiply the learning rate of step `name` by when the batch grows by `factor`.

    The square root for Adam and its like, whose step is of the gradient over its own size (Malladi et al., arXiv
    2205.10287); the factor itself for sgd, as long as the batch is below the noise scale: `room` is the noise scale
    over the batch so far (McCandlish et al., arXiv 1812.06162). Steps that find their own length are left alone.

    >>> growth("adamw", 4), growth("sgd", 4), growth("sgd", 4, room=3), growth("prodigy", 4)
    (2.0, 4, 3, 1.0)
    """
    return GROWTH[name](min(factor, max(room, 1)) if name == "sgd" else factor) if name in GROWTH else 1.0


def _package(module: str, step: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise TrainingFault(
            f"adaptive.step: {step} needs the package {module}, which is not here: "
            f"pip install '{module}{PACKAGES[module]}'."
        ) from None
