"""From the noise in a gradient to the batch that training wants, and the controller that doubles up to it.

A test says how large a batch must be for its gradient to be near enough to the true one. With threshold t:

    norm           b >= tr(Sigma) / (t^2 |g|^2)                 Byrd et al. 2012; AdAdaGrad, arXiv 2402.11215
    inner_product  b >= Var <g_i, g> / (t^2 |g|^4)              Bollapragada, Byrd, Nocedal 2018, arXiv 1710.11258
    augmented      that, and b >= tr Var(g_i off g) / (n^2 |g|^2), n = 5.84
    noise_scale    b >= tr(Sigma) / (t^2 |G|^2)                 McCandlish et al. 2018, arXiv 1812.06162
    adabatchgrad   norm of each update by itself                Ostroukhov et al. 2024, arXiv 2402.05264

A smaller threshold asks for more. |g|^2 is longer than |G|^2 by the batch's own noise, so `norm` asks for too little
while the batch is small: in noise alone for 1 / t^2 times the batch that it has, which never grows where t >= 1.
`noise_scale` is the same test without that bias. All but `adabatchgrad` look at averages over updates.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from llmrec.adaptive.statistics import Averages, Moments

OFF = 5.84  # augmented: tan 80 degrees, Bollapragada, Byrd and Nocedal's bound on what is orthogonal to g


def norm(found: Moments, threshold: float) -> float:
    """The batch whose error is at most `threshold` of its gradient's length."""
    return _ratio(found.trace, threshold**2 * found.mean_sq)


def inner_product(found: Moments, threshold: float) -> float:
    """The batch whose gradient points down the true one's slope: <g_B, g> is within `threshold` of |g|^2."""
    return _ratio(found.inner, threshold**2 * found.mean_sq**2)


def augmented(found: Moments, threshold: float) -> float:
    """As `inner_product`, and what is orthogonal to the gradient is at most `OFF` times as long as it."""
    return max(inner_product(found, threshold), _ratio(found.orthogonal, OFF**2 * found.mean_sq))


def noise_scale(found: Moments, threshold: float) -> float:
    """As `norm`, of the true gradient: 1 / threshold^2 noise scales; infinite where no gradient shows in the noise."""
    return _ratio(found.trace, threshold**2 * found.norm_sq)


TESTS: dict[str, Callable[[Moments, float], float]] = {
    "norm": norm,
    "inner_product": inner_product,
    "augmented": augmented,
    "noise_scale": noise_scale,
    "adabatchgrad": norm,
}
"""Name -> the batch that it wants, in samples: whole, or infinite where the statistics cannot say."""

THRESHOLDS = {"norm": 0.5, "inner_product": 0.9, "augmented": 0.9, "noise_scale": 1.0, "adabatchgrad": 0.5}
"""Where none is given: AdAdaGrad's .5 for networks, the 2018 paper's .9, and the noise scale itself."""


class BatchController:
    """The batch in force: it only doubles, once every one of the last `patience` requests is for more.

    That is AdaBatchGrad's damping, which goes to the smallest of the last five requests. What measures gradients calls
    `observe`; how a batch is put together is not known here.
    """

    def __init__(
        self,
        test: str,
        *,
        batch: int,
        most: int,
        threshold: float | None = None,
        patience: int = 5,
        smoothing: float = 0.95,
    ) -> None:
        """`batch` and `most` are samples an update, first and at most; `smoothing` is that of `Averages`.

        Raises ValueError for an unknown test, a bound below the first batch, or numbers that are not positive.
        """
        if test not in TESTS:
            raise ValueError(f"{test} is no batch test; there are {', '.join(TESTS)}")
        if batch < 1 or patience < 1 or (threshold is not None and not threshold > 0):
            raise ValueError(f"batch {batch}, patience {patience} and threshold {threshold} must be positive")
        if most < batch:
            raise ValueError(f"the largest batch, {most}, is below the first, {batch}")
        self.test, self.most = test, most
        self.threshold = THRESHOLDS[test] if threshold is None else threshold
        self.batch = batch
        self.skipped = 0
        """Updates whose statistics were no numbers and decided nothing."""
        self._averages = Averages(smoothing)
        self._requests: deque[float] = deque(maxlen=patience)

    @property
    def noise_scale(self) -> float | None:
        """tr(Sigma) / |G|^2 in samples, averaged; None while nothing can be said."""
        return self._averages.noise_scale

    def observe(self, found: Moments) -> bool:
        """Takes in one measured update; True where the batch has just doubled.

        Statistics that are no numbers are counted in `skipped`; where they cannot say how large a batch would do
        (no gradient shows in the noise), nothing is requested.
        """
        if not found.finite:
            self.skipped += 1
            return False
        self._averages.update(found)
        seen = found if self.test == "adabatchgrad" else self._averages.mean
        assert seen is not None
        wanted = TESTS[self.test](seen, self.threshold)
        if math.isfinite(wanted):
            self._requests.append(min(wanted, self.most))
        agreed = len(self._requests) == self._requests.maxlen and min(self._requests) > self.batch
        if not agreed or not math.isfinite(wanted) or 2 * self.batch > self.most:
            return False
        self.batch *= 2
        return True

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what comes next, as JSON has it."""
        return {
            "batch": self.batch,
            "skipped": self.skipped,
            "requests": list(self._requests),
            "averages": self._averages.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there: the same moments then give the same decisions."""
        self.batch, self.skipped = int(state["batch"]), int(state["skipped"])
        self._requests.clear()
        self._requests.extend(state["requests"])
        self._averages.load_state_dict(state["averages"])


def _ratio(variance: float, square: float) -> float:
    """Samples until the variance of their mean is down to `square`: a whole number, at least 1."""
    if variance <= 0:
        return 1.0
    samples = variance / square if square > 0 else math.inf
    return float(max(1, math.ceil(samples))) if math.isfinite(samples) else math.inf
