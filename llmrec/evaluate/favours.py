"""Who was favoured: candidate sets that give the target away, rankings that were not made alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from llmrec.columns import ITEM, ITEMS, QUERY, RANK, SCORE, SOURCE, TARGET
from llmrec.evaluate import slots
from llmrec.evaluate.finding import Case, Finding, share
from llmrec.ranking import places
from llmrec.rng import rng_for

HONEST = {"target", "uniform"}


def slot_leaks(case: Case) -> Iterator[Finding]:
    """The target's slot must say nothing of the target, and no slot may hold it more often than another."""
    for name, table in case.injected.items():
        slot = _slots(table)
        target = table[TARGET].to_numpy()
        z = slots.dependence(slot, target, rng=rng_for(case.seed, "audit", name))
        if z > 6:
            yield Finding(
                "disqualifies",
                f"the target's slot follows from the target ({z:.0f} standard deviations above chance): a model can "
                "learn which slot belongs to which item. Shuffle by query, never by target",
                name,
            )
        width = _width(table)
        if width is None:
            continue
        p = slots.unevenness(slot, width)
        if p < 1e-3:
            counts = np.bincount(slot, minlength=width)
            yield Finding(
                "disqualifies" if p < 1e-6 else "warns",
                f"targets stand unevenly among the {width} slots: slot {counts.argmax()} holds "
                f"{share(counts.max(), len(slot))}, where {share(1, width)} are expected (p = {p:.1g})",
                name,
            )


def seen_candidates(case: Case) -> Iterator[Finding]:
    """Candidates are drawn from what the user has not touched; then a target that was touched gives itself away."""
    for name, table in case.offered.items():
        rows = table.explode(ITEMS, SOURCE).rename({ITEMS: ITEM})
        seen = case.is_seen(rows)
        right = (rows[ITEM] == rows[TARGET]).to_numpy()
        others = int((seen & ~right).sum())
        if others:
            yield Finding(
                "warns",
                f"{others:,} candidates ({share(others, int((~right).sum()))}) were already in the user's history: "
                "whoever leaves out what was seen ranks them last for free",
                name,
            )
        known = int((seen & right).sum())
        if known:
            gives_away = name in case.injected and not others
            yield Finding(
                "disqualifies" if gives_away and known > 0.01 * table.height else "warns",
                f"{known:,} targets ({share(known, table.height)}) are already in the user's history"
                + (", and no other candidate is: copying the history finds them" if gives_away else ""),
                name,
            )


def supplied_candidates(case: Case) -> Iterator[Finding]:
    """Negatives that a compared ranker put first push that ranker below chance."""
    for name, table in case.offered.items():
        sources = table.explode(ITEMS, SOURCE)[SOURCE].value_counts().filter(~pl.col(SOURCE).is_in(HONEST))
        if not sources.height:
            continue
        named = ", ".join(
            f"`{source}` ({count:,})" for source, count in sources.sort("count", descending=True).iter_rows()
        )
        if name in case.injected:
            yield Finding(
                "disqualifies",
                f"candidates were supplied by {named}: a ranker pays for negatives that it supplied itself. Draw "
                "uniformly, or leave the target to be found (two-stage)",
                name,
            )
        else:
            found = int(table[ITEMS].list.contains(table[TARGET]).sum())
            yield Finding(
                "notes",
                f"candidates come from {named}; {share(found, table.height)} of the sets hold their target, and no "
                "ranker can find more",
                name,
            )


def slot_habits(case: Case) -> Iterator[Finding]:
    """A ranker that reads the list may like a place in it, whatever stands there."""
    for name, table in case.offered.items():
        width = _width(table)
        if width is None:
            continue
        where = table.select(
            QUERY, pl.col(ITEMS).alias(ITEM), pl.int_ranges(pl.col(ITEMS).list.len()).alias("slot")
        ).explode(ITEM, "slot")
        for ranker, ranking in _each(case, name):
            first = (
                ranking.filter(pl.col(RANK) == 1).select(QUERY, ITEM).join(where, on=[QUERY, ITEM])["slot"].to_numpy()
            )
            if slots.unevenness(first, width) < 1e-5:
                counts = np.bincount(first, minlength=width)
                yield Finding(
                    "warns",
                    f"{ranker} puts slot {counts.argmax()} first for {share(counts.max(), len(first))} of queries, "
                    f"where {share(1, width)} are expected: it looks at the order of the candidates",
                    name,
                )


def silent_rankers(case: Case) -> Iterator[Finding]:
    """Equal scores are an answer of "I do not know", and count as chance."""
    for name in case.rankings:
        for ranker, ranking in _each(case, name):
            asked = ranking.group_by(QUERY).agg(flat=pl.col(SCORE).min() == pl.col(SCORE).max(), n=pl.len())
            flat = asked.filter("flat", pl.col("n") > 1).height
            if flat:
                yield Finding(
                    "warns" if flat >= 0.5 * asked.height else "notes",
                    f"{ranker} gives every item the same score for {share(flat, asked.height)} of queries: there it "
                    "stands at chance",
                    name,
                )
            tied = places(ranking, case.queries).filter(pl.col("tied") > 1).height - flat
            if tied > 0.01 * case.queries.height:
                yield Finding(
                    "notes",
                    f"{ranker} ties the target with other items for {share(tied, case.queries.height)} of queries; "
                    "they count as their mean over every order",
                    name,
                )


def copies(case: Case) -> Iterator[Finding]:
    """Two rankers that agree on every score: an adapter that was not loaded looks like this."""
    for name in case.rankings:
        first: dict[int, str] = {}
        for ranker, ranking in _each(case, name):
            print_ = int(ranking.select(QUERY, ITEM, SCORE).hash_rows(seed=0).sum() or 0)
            if print_ in first:
                yield Finding(
                    "warns", f"{first[print_]} and {ranker} give exactly the same scores: is one of them a copy?", name
                )
            first.setdefault(print_, ranker)


def unequal_lists(case: Case) -> Iterator[Finding]:
    """In a catalogue table everybody should leave out what was seen, or nobody, and list as deep as is measured."""
    for name in case.rankings:
        if case.candidates.get(name) is not None:
            continue
        met = np.bincount(case.seen // case.larder.n_items, minlength=case.queries.height)
        enough = pl.DataFrame({QUERY: case.queries[QUERY], "enough": np.minimum(case.depth, case.larder.n_items - met)})
        listing = []
        for ranker, ranking in _each(case, name):
            seen = case.is_seen(ranking)
            listing.append((ranker, int(seen.sum()), len(seen)))
            short = ranking.group_by(QUERY).len().join(enough, on=QUERY).filter(pl.col("len") < pl.col("enough")).height
            if short:
                yield Finding(
                    "warns",
                    f"{ranker} lists fewer than {case.depth} items for {short:,} queries: what it does not list "
                    "counts as missed",
                    name,
                )
        if any(not known for _, known, _ in listing):
            for ranker, known, listed in listing:
                if known:
                    yield Finding(
                        "warns",
                        f"{ranker} lists items that the user has already met ({share(known, listed)} of its rows), "
                        "others leave them out: the lists are not made alike",
                        name,
                    )


def _slots(table: pl.DataFrame) -> np.ndarray:
    """The slot of the target in each candidate set, from 0."""
    at = table.select(pl.col(SOURCE).list.eval(pl.element() == "target").list.arg_max())
    return at.to_series().to_numpy().astype(np.int64)


def _width(table: pl.DataFrame) -> int | None:
    """How many candidates a set has, None where sets differ: slots are not comparable then."""
    sizes = table[ITEMS].list.len().unique().to_list()
    return int(sizes[0]) if len(sizes) == 1 else None


def _each(case: Case, table: str) -> Iterator[tuple[str, pl.DataFrame]]:
    for ranker, seeds in case.rankings[table].items():
        for number, ranking in enumerate(seeds):
            yield f"`{ranker}`" if len(seeds) == 1 else f"`{ranker}` (seed {number})", ranking


CHECKS = (
    slot_leaks,
    seen_candidates,
    supplied_candidates,
    slot_habits,
    silent_rankers,
    copies,
    unequal_lists,
)
