"""How much of a gradient is noise, from the gradients of the groups that one update's batch falls into.

A group is a micro-batch or a worker's share. With g_i the gradient of sample i, G its expectation and Sigma its
covariance, M groups of b samples each have means g_m, and g is the mean of all:

    tr(Sigma) ~ b / (M - 1) * sum_m |g_m - g|^2         |G|^2 ~ |g|^2 - tr(Sigma) / (M b)

Both are unbiased, and no gradient of a single sample is needed. Their ratio is the gradient noise scale (McCandlish et
al. 2018, arXiv 1812.06162): the batch whose noise is as long as its signal. One update's ratio is worth little, and its
|G|^2 may be negative, so both are averaged first, apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Of one measured update, or the average of several. Nothing here depends on how many groups were taken."""

    groups: int
    """M."""
    size: int
    """b, the samples of a group."""
    norm_sq: float
    """|G|^2, unbiased; may be negative once."""
    trace: float
    """tr(Sigma), of one sample."""
    inner: float
    """The variance of <g_i, g>, of one sample."""
    orthogonal: float
    """tr(Sigma) without its part along g."""
    mean_sq: float
    """|g|^2 as it is; longer than |G|^2 by tr(Sigma) / (M b)."""

    @property
    def finite(self) -> bool:
        """Whether every statistic is a number."""
        return all(math.isfinite(getattr(self, name)) for name in AVERAGED)


AVERAGED = tuple(field.name for field in fields(Moments))[2:]


def moments(groups: Tensor, size: int) -> Moments:
    """The statistics of M groups of `size` samples each: `groups` (M, n) holds each one's mean gradient, flat.

    Raises ValueError with fewer than two groups, which have no variance, or a size below 1.

    >>> import torch
    >>> moments(torch.tensor([[3.0, 1.0], [1.0, -1.0]]), size=4)
    Moments(groups=2, size=4, norm_sq=2.0, trace=16.0, inner=32.0, orthogonal=8.0, mean_sq=4.0)
    """
    mean = groups.mean(0)  # (n,)
    apart = groups - mean  # (M, n)
    found = (apart.square().sum(1), apart @ mean, mean.square().sum().reshape(1))
    squares, along, (mean_sq,) = (one.tolist() for one in found)
    return moments_of(squares, along, mean_sq, size)


def moments_of(squares: Sequence[float], along: Sequence[float], mean_sq: float, size: int) -> Moments:
    """As `moments`, where the gradients lie on several machines and only these numbers travel.

    `squares` has |g_m - g|^2 of each group, `along` <g_m - g, g>, and `mean_sq` is |g|^2.
    """
    groups = len(squares)
    if groups < 2 or size < 1:
        raise ValueError(f"{groups} groups of {size} samples: a variance needs two groups at least")
    scale = size / (groups - 1)
    # fsum rounds once, whatever the order: one process and several agree.
    trace = scale * math.fsum(squares)
    inner = scale * math.fsum(one * one for one in along)
    return Moments(
        groups=groups,
        size=size,
        norm_sq=mean_sq - trace / (groups * size),
        trace=trace,
        inner=inner,
        orthogonal=max(0.0, trace - inner / mean_sq) if mean_sq > 0 else trace,
        mean_sq=mean_sq,
    )


class Averages:
    """Each statistic's exponential average: what came k updates ago weighs smoothing^k, and the weights add to 1."""

    def __init__(self, smoothing: float = 0.95) -> None:
        """Raises ValueError unless 0 <= smoothing < 1; 0 keeps the last update alone."""
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is {smoothing}; it must be at least 0 and below 1")
        self.smoothing = smoothing
        self._mean: Moments | None = None
        self._weight = 0.0  # what the averages hold so far, of 1

    def update(self, found: Moments) -> None:
        """Takes in one measured update, whose statistics must be finite."""
        before = self._mean
        self._weight = self.smoothing * self._weight + 1 - self.smoothing
        share = (1 - self.smoothing) / self._weight
        new = {
            name: getattr(found, name)
            if before is None
            else _between(getattr(before, name), getattr(found, name), share)
            for name in AVERAGED
        }
        self._mean = Moments(found.groups, found.size, **new)

    @property
    def mean(self) -> Moments | None:
        """The averages, as the moments of one update, with the last one's `groups` and `size`; None before any."""
        return self._mean

    @property
    def noise_scale(self) -> float | None:
        """tr(Sigma) / |G|^2 in samples; None before any update, and while noise hides that there is a gradient."""
        if self._mean is None or self._mean.norm_sq <= 0:
            return None
        return self._mean.trace / self._mean.norm_sq

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        mean = None if self._mean is None else {f.name: getattr(self._mean, f.name) for f in fields(Moments)}
        return {"weight": self._weight, "mean": mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there, with the smoothing that it was made with."""
        self._weight = float(state["weight"])
        self._mean = None if state["mean"] is None else Moments(**state["mean"])


def _between(before: float, found: float, share: float) -> float:
    return before + share * (found - before)
