"""How rankers answer: constants, ties, copies, and an eye on the order of the candidates."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec import metrics
from llmrec.columns import ITEM, ITEMS, QUERY, RANK, TARGET
from llmrec.evaluate import slots
from llmrec.evaluate.case import Case
from llmrec.evaluate.finding import Level, check, share
from llmrec.evaluate.lists import Lists, rows_of
from llmrec.evaluate.sentences import title

MOST = 5_000  # queries whose slots are compared with their ranks: a habit shows in far fewer
Said = Iterator[tuple[Level, str, str]]


@check(
    "constant-scores",
    "rankings",
    why="Equal scores are an answer of `I do not know`: the ranker stands at chance there.",
    remedy="See why it cannot tell these items apart: text cut off, a dead adapter, one score for all.",
)
def constant_scores(case: Case) -> Said:
    for name in case.rankings:
        for ranker, lists, _ in case.each(name):
            flat = int(lists.flat.sum())
            if flat:
                yield (
                    "warns" if flat >= 0.5 * len(lists.flat) else "notes",
                    name,
                    f"{ranker} gives every item the same score for {share(flat, len(lists.flat))} of queries",
                )


@check(
    "ties",
    "rankings",
    why="Here ties count as their mean over every order; a tool that keeps the file's order gets another number.",
    remedy="Publish the tie rule with the metric, and give scores in full precision.",
)
def ties(case: Case) -> Said:
    for name, rankers in case.lists.items():
        means, bounds, rates = {}, {}, {}
        for ranker, seeds in rankers.items():
            rates[ranker] = float(np.mean([(lists.tied > 1).mean() for lists in seeds]))
            means[ranker] = float(np.mean([_value(case, x.above, x.tied) for x in seeds]))
            best = float(np.mean([_value(case, x.above, np.ones_like(x.tied)) for x in seeds]))
            lowest = (np.where(x.above < 0, -1, x.above + x.tied - 1) for x in seeds)
            worst = float(np.mean([_value(case, low, np.ones_like(low)) for low in lowest]))
            bounds[ranker] = (worst, best)
        for ranker, (worst, best) in bounds.items():
            if rates[ranker] <= 0.01 and best - worst <= 0.005:
                continue
            rival = max((mean for other, mean in means.items() if other != ranker), default=-1.0)
            settles = len({value > rival for value in (worst, means[ranker], best)}) > 1
            yield (
                "warns" if settles else "notes",
                name,
                f"`{ranker}` ties the target with other items for {share(rates[ranker], 1)} of queries: its "
                f"{title(case.primary)} of {means[ranker]:.3f} could be made anything from {worst:.3f} to {best:.3f}"
                + (", enough to settle whether it comes first" if settles else ""),
            )


@check(
    "copied-scores",
    "rankings",
    why="Two rankers that agree on every score are one: an adapter that was never loaded looks like this.",
    remedy="See that the second loads what it is named after, or leave it out.",
)
def copied_scores(case: Case) -> Said:
    for name in case.rankings:
        first: dict[int, str] = {}
        for ranker, lists, _ in case.each(name):
            fingerprint = int(lists.scores.sum()) + len(lists.scores)
            if fingerprint in first:
                yield "warns", name, f"{first[fingerprint]} and {ranker} give exactly the same scores"
            first.setdefault(fingerprint, ranker)


@check(
    "copied-order",
    "rankings",
    why="A ranker that keeps another's order adds nothing to it: rerankers learn to, where they see that order.",
    remedy="Shuffle the candidates that it is shown and see that no earlier score is in its input; else leave it out.",
)
def copied_order(case: Case) -> Said:
    for name in case.rankings:
        for (one, a, _), (other, b, _) in combinations(list(case.each(name)), 2):
            asked = (np.minimum(a.length, b.length) > 2) & ~a.flat & ~b.flat
            same = int((asked & (a.order == b.order)).sum())
            if asked.any() and same >= 0.9 * asked.sum() and (a.scores != b.scores).any():
                yield (
                    "warns",
                    name,
                    f"{one} and {other} order all items alike for {share(same, int(asked.sum()))} of queries, with "
                    "other scores",
                )


@check(
    "below-chance",
    "rankings",
    "candidates",
    why="Nobody loses to a coin honestly: the scores are upside down, or the negatives are this ranker's favourites.",
    remedy="See that higher scores are better, and that no negative was drawn with this ranker's help.",
)
def below_chance(case: Case) -> Said:
    for name in (name for name in case.rankings if name in case.injected):
        for ranker, lists, _ in case.each(name):
            open_ = (lists.above >= 0) & (lists.length > 1)
            place = (lists.above + (lists.tied - 1) / 2)[open_] / (lists.length - 1)[open_]
            # Uniform places have mean 1/2 and variance 1/12 (a little less on short lists).
            z = (place.mean() - 0.5) * np.sqrt(12 * len(place)) if len(place) else 0.0
            if z > 6:
                yield (
                    "warns",
                    name,
                    f"{ranker} puts the target below {share(place.mean(), 1)} of the others, on average",
                )


@check(
    "slot-habit",
    "rankings",
    "candidates",
    why="What stands there differs from query to query, so the ranker looks at the order of the candidates.",
    remedy="Average its scores over several orders, or score each candidate by itself.",
)
def slot_habit(case: Case) -> Said:
    for name in (name for name in case.rankings if name in case.widths):
        width = case.widths[name]
        if slots.unevenness(case.slots.get(name, np.empty(0, dtype=np.int64)), width) < 1e-3:
            continue  # then a good ranker, too, has favourite slots
        for ranker, lists, _ in case.each(name):
            first = _slot_of_first(case, name, lists)
            if slots.unevenness(first, width) < 1e-5:
                counts = np.bincount(first, minlength=width)
                yield (
                    "warns",
                    name,
                    f"{ranker} puts slot {counts.argmax()} first for {share(counts.max(), len(first))} of queries, "
                    f"where {share(1, width)} are expected",
                )


@check(
    "slot-copying",
    "rankings",
    "candidates",
    why="Candidates are shuffled: a ranker that keeps their order, or turns it round, has said nothing of the items.",
    remedy="See that its scores are read back by item, not by line, and that ties are not broken by place.",
)
def slot_copying(case: Case) -> Said:
    for name in (name for name in case.rankings if name in case.widths):
        width, some = case.widths[name], case.offered[name].head(MOST)
        if width < 3:
            continue
        offered = some.select(QUERY, TARGET, ITEMS, pl.int_ranges(pl.col(ITEMS).list.len()).alias("slot"))
        where = offered.explode(ITEMS, "slot").rename({ITEMS: ITEM}).filter(pl.col(ITEM) != pl.col(TARGET))
        for ranker, _, ranking in case.each(name):
            these = ranking.select(QUERY, ITEM, RANK).filter(pl.col(QUERY).is_in(some[QUERY].implode()))
            both = these.join(where, on=[QUERY, ITEM])
            paired = both.group_by(QUERY).agg(r=pl.corr(pl.col(RANK).rank(), pl.col("slot").rank()))["r"].drop_nans()
            mean = float(np.mean(paired.to_numpy())) if len(paired) else 0.0
            z = abs(mean) * np.sqrt(
                len(paired) * (width - 2)
            )  # Spearman's rho of n - 1 others has variance 1 / (n - 2)
            if z > 6 and abs(mean) > 0.05:
                yield (
                    "warns",
                    name,
                    f"{ranker}'s ranks follow the slots of the candidates: Spearman's rho is {mean:+.2f}, where 0 is "
                    "expected",
                )


def _value(case: Case, above: npt.NDArray[np.int64], tied: npt.NDArray[np.int64]) -> float:
    return float(metrics.measure(case.primary, above, tied).mean()) if len(above) else 0.0


def _slot_of_first(case: Case, name: str, lists: Lists) -> npt.NDArray[np.int64]:
    """In which slot the item of rank 1 stands, for each candidate set."""
    table = case.offered[name]
    items = table[ITEMS].explode().to_numpy().reshape(table.height, -1)
    at = items == lists.first[rows_of(table, case.queries)][:, None]
    return np.asarray(at.argmax(axis=1)[at.any(axis=1)], dtype=np.int64)


CHECKS = (
    constant_scores,
    ties,
    copied_scores,
    copied_order,
    below_chance,
    slot_habit,
    slot_copying,
)
