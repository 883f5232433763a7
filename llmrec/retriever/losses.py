"""What fitting minimises: means over rows of how much better a row's target could score against other items.

`cross_entropy` looks at every item, the others at `negatives` drawn ones (`bpr` at one), which large catalogues need.
Draws are torch's own, and none depends on a target: a row whose target was drawn does without that draw.

Letters of shapes: r rows, d width, v items, k negatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec.cross_entropy import LOG2E, STEP, cross_entropy, product
from llmrec.recipe.sections import Retriever as Section

POWER = 0.75  # of an item's count, in the proposal of `sampled_softmax`


class Loss(Protocol):
    """A number to make small, of vectors (r, d), items (v, d), targets (r,) and, if any, the items' own scores (v,)."""

    def __call__(self, vectors: Tensor, items: Tensor, targets: Tensor, /, *, bias: Tensor | None = None) -> Tensor: ...


def loss_of(section: Section, counts: Tensor) -> Loss:
    """The loss that a recipe asks for; `counts` (v,) says how often each item is a target in training.

    A sampled softmax of as many negatives as there are items is the exact one, which then costs no more.
    """
    match section.loss:
        case "sampled_softmax" if section.negatives < len(counts):
            return partial(sampled_softmax, shares=proposal(counts), negatives=section.negatives)
        case "cross_entropy" | "sampled_softmax":
            return cross_entropy
        case "gbce":
            return partial(gbce, negatives=section.negatives, t=section.gbce_t)
        case "bpr":
            return bpr


def proposal(counts: Tensor) -> Tensor:
    """The chance (v,) of each item to be drawn: (1 + count)^0.75, as in word2vec (Mikolov et al. 2013), in shares of 1.

    The nearer to how a model spreads its chances, the less the estimate scatters: 256 negatives drawn so give the sum
    of a model fitted on ML-1M to within 26 % (standard deviation), and drawn uniformly to within 41 %. The power and
    the 1 bound the weights of rare items and let each item be drawn: nothing would push down one that never is.
    """
    weights = (1 + counts.double()) ** POWER
    return weights / weights.sum()


def sampled_softmax(
    vectors: Tensor, items: Tensor, targets: Tensor, *, bias: Tensor | None = None, shares: Tensor, negatives: int
) -> Tensor:
    """Cross-entropy whose sum over the other items is estimated from drawn ones, the same for all rows.

    A negative of share q stands for 1 / (k q) items, so log(k q) is taken off its score (Bengio and Senecal 2008; Yi et
    al. 2019). The target's score stays as it is, as it is in the sum with certainty and not by draw (Khrylchenko et al.
    2025, arXiv 2507.09331), and draws of the target itself are left out: so the sum's expectation is the exact sum, and
    with ever more negatives the loss tends to the exact loss, which it is below on average.
    """
    drawn = spread(shares, negatives)  # (k,)
    shift = -(negatives * shares[drawn]).log().to(vectors.dtype)
    if bias is not None:
        shift = shift + bias.index_select(0, drawn)
    rest = _against(vectors, items, targets, drawn, shift, _log_sum)
    return _mean(F.softplus(rest - _scores(vectors, items, targets, bias)))


def beyond(
    vectors: Tensor, items: Tensor, targets: Tensor, later: Sequence[Tensor], *, bias: Tensor | None = None
) -> Tensor:
    """What is added to the cross-entropy of `targets` (r,) to have that of the next several items.

    `later` are the items after each row's target, (r,) each, -1 where there is none. The d-th next item is the target
    with weight 1 / d, in shares of what there is: that only changes which score is taken off the log of the sum over
    all items, which is dear and shared. Where orders are half chance (films that were rated in one sitting), the one
    item that came next says less than those that came soon.
    """
    first = _scores(vectors, items, targets, bias)
    total, weights = first, torch.ones_like(first)
    for d, further in enumerate(later, start=2):
        weight = (further >= 0) / d
        total = total + weight * _scores(vectors, items, further.clamp(min=0), bias)
        weights = weights + weight
    return _mean(first - total / weights)


def gbce(
    vectors: Tensor, items: Tensor, targets: Tensor, *, bias: Tensor | None = None, negatives: int, t: float
) -> Tensor:
    """gSASRec's generalised binary cross-entropy (Petrov and Macdonald 2023, arXiv 2308.07192).

    -(log sigmoid(s+)^beta + sum over negatives of log(1 - sigmoid(s-))) / (k + 1). The negatives are different items
    drawn uniformly, the same for all rows where the paper draws for each row: one matrix product. The authors raise the
    chance to the power beta in double precision; its log is beta times a log that needs no care. Where the catalogue
    has fewer than k items, all are negatives.

    Scores count from log(beta / k), where the loss is least while nothing is known. The order of items is the same, but
    counted from 0 all of their vectors have to learn first to point away from every history, and as those vectors are
    also what histories are made of, little else is learned (docs/log.md).
    """
    drawn = distinct(len(items), negatives, vectors.device)  # (k,)
    power = beta(negatives, len(items), t)
    least = math.log(power / len(drawn))
    shift = vectors.new_full((len(drawn),), least)
    if bias is not None:
        shift = shift + bias.index_select(0, drawn)
    rest = _against(vectors, items, targets, drawn, shift, _softplus_sum)
    own = F.softplus(-least - _scores(vectors, items, targets, bias))
    return _mean(power * own + rest) / (len(drawn) + 1)


def beta(negatives: int, n_items: int, t: float) -> float:
    """The exponent of the positive's chance: alpha (t (1 - 1 / alpha) + 1 / alpha), alpha the share of items drawn.

    With t = 0 it is 1, the plain binary cross-entropy, which makes a model overconfident; with t = 1 it is alpha, and
    chances come out as if no negative had been left out.
    """
    alpha = min(1.0, negatives / max(1, n_items - 1))
    return 1 - t * (1 - alpha)


def bpr(vectors: Tensor, items: Tensor, targets: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """-log sigmoid(s+ - s-) against one uniformly drawn item a row (Rendle et al. 2009).

    A row whose target was drawn counts log 2 and has no gradient.
    """
    drawn = torch.randint(len(items), targets.shape, device=targets.device)
    return _mean(F.softplus(_scores(vectors, items, drawn, bias) - _scores(vectors, items, targets, bias)))


def spread(shares: Tensor, count: int) -> Tensor:
    """`count` items in order, one drawn from each of `count` equal parts of the proposal.

    Each is expected `count` times its share, as if all were drawn from the whole, and fewer are drawn twice.
    """
    at = torch.arange(count, device=shares.device) + torch.rand(count, dtype=shares.dtype, device=shares.device)
    return torch.searchsorted(shares.cumsum(0), at / count, right=True).clamp_(max=len(shares) - 1)


def distinct(n_items: int, count: int, device: torch.device) -> Tensor:
    """`count` different items in order, each as likely as any other; all of them where there are no more."""
    return torch.randperm(n_items, device=device)[:count].sort().values


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, len(values))


def _scores(vectors: Tensor, items: Tensor, asked: Tensor, bias: Tensor | None) -> Tensor:
    """Each row's score of one item: (r,)."""
    scores = (vectors * items.index_select(0, asked)).sum(1)
    return scores if bias is None else scores + bias.index_select(0, asked)


Summary = Callable[[Tensor], tuple[Tensor, Tensor]]  # scores (r, k), no longer needed -> values (r,), slopes (r, k)


def _log_sum(scores: Tensor) -> tuple[Tensor, Tensor]:
    highest = scores.amax(1, keepdim=True)
    chances = scores.sub_(highest).mul_(LOG2E).exp2_()  # far quicker than exp, here
    mass = chances.sum(1, keepdim=True)
    return (highest + mass.log())[:, 0], chances.div_(mass)


def _softplus_sum(scores: Tensor) -> tuple[Tensor, Tensor]:
    return F.softplus(scores).sum(1), scores.sigmoid_()


def _against(vectors: Tensor, items: Tensor, targets: Tensor, drawn: Tensor, shift: Tensor, summary: Summary) -> Tensor:
    """A summary (r,) of each row's shifted scores of the drawn items, its target left out. `drawn` is in order."""
    first = torch.searchsorted(drawn, targets)
    runs = torch.searchsorted(drawn, targets, right=True) - first  # how often each row's target was drawn
    rows = torch.repeat_interleave(runs)
    columns = first[rows] + torch.arange(len(rows), device=rows.device) - (runs.cumsum(0) - runs)[rows]
    found: Tensor = _Against.apply(  # type: ignore[no-untyped-call]
        vectors, items.index_select(0, drawn), shift, (rows, columns), summary
    )
    return found


class _Against(torch.autograd.Function):
    """Scores become slopes where they lie: nothing else of r x k is made."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, table: Tensor, shift: Tensor, hits: tuple[Tensor, Tensor], summary: Summary
    ) -> Tensor:
        some = F.pad(vectors, (0, 0, 0, -len(vectors) % STEP))
        scores = product(some, table, shift)
        scores[hits] = torch.finfo(scores.dtype).min
        values, slopes = summary(scores)
        ctx.save_for_backward(some, table, slopes)
        return values[: len(vectors)]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        some, table, slopes = ctx.saved_tensors
        real = len(gradients[0])
        weights = F.pad(gradients[0], (0, len(some) - real))[:, None]
        by_vector = (product(slopes, table.T) * weights)[:real]
        by_item = product((some * weights).T, slopes.T).T
        by_shift = torch.mv(slopes.T, weights[:, 0]) if ctx.needs_input_grad[2] else None
        return by_vector, by_item, by_shift, None, None
