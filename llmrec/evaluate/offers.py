"""Candidate sets that give the target away, or that one of the rankers chose."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from llmrec.columns import ITEM, ITEMS, SOURCE, TARGET, USER
from llmrec.evaluate import slots
from llmrec.evaluate.case import UNKNOWN, Case
from llmrec.evaluate.finding import Level, check, share
from llmrec.rng import rng_for

HONEST = {"target", "uniform", "random", UNKNOWN}
Said = Iterator[tuple[Level, str, str]]


@check(
    "slot-follows-target",
    "candidates",
    why="A model that reads the list can learn which slot belongs to which item, and needs no history.",
    remedy="Shuffle each set with its query's number as the seed, never with the target.",
)
def slot_follows_target(case: Case) -> Said:
    for name, table in case.injected.items():
        slot = case.slots[name]
        z = slots.dependence(slot, table[TARGET].to_numpy(), rng=rng_for(case.seed, "audit", name))
        if z <= 6:
            continue
        what = f"the target's slot follows from the target ({z:.0f} standard deviations above chance)"
        if name in case.widths:
            width, users = case.widths[name], case.queries[USER].to_numpy()
            items = table[ITEMS].explode().to_numpy().reshape(-1, width)
            rng = rng_for(case.seed, "audit", name, "memorised")
            known, popular = slots.memorised(items, slot, users, rng=rng)
            what += (
                f": a rule that knows only slots and popularity gets HR@1 {known:.3f} without any history; popularity "
                f"alone gets {popular:.3f}, chance {1 / width:.3f}"
            )
        yield "disqualifies", name, what


@check(
    "uneven-slots",
    "candidates",
    why="Whoever guesses the fullest slot is better than chance, and models that read lists learn to guess.",
    remedy="Shuffle each set with its query's number as the seed.",
)
def uneven_slots(case: Case) -> Said:
    for name, slot in case.slots.items():
        width = case.widths.get(name)
        p = slots.unevenness(slot, width) if width else 1.0
        if width and p < 1e-3:
            counts = np.bincount(slot, minlength=width)
            yield (
                "disqualifies" if p < 1e-6 else "warns",
                name,
                f"targets stand unevenly among the {width} slots: slot {counts.argmax()} holds "
                f"{share(counts.max(), len(slot))}, where {share(1, width)} are expected (p = {p:.1g})",
            )


@check(
    "seen-candidates",
    "candidates",
    "met",
    why="Whoever leaves out what was seen ranks these last for free.",
    remedy="Draw candidates from what the user has not met.",
)
def seen_candidates(case: Case) -> Said:
    for name in case.offered:
        met, others = case.met_candidates[name]
        if met:
            yield "warns", name, f"{met:,} candidates ({share(met, others)}) were already in the user's history"


@check(
    "target-in-history",
    "met",
    why="A target that was met before can be found by copying the history, which is not what is asked.",
    remedy="Leave out repeats (data.duplicates), or offer other met items beside the target and say so.",
)
def target_in_history(case: Case) -> Said:
    known = int(case.is_seen(case.queries.rename({TARGET: ITEM})).sum())
    if not known:
        return
    of = f"{known:,} targets ({share(known, case.queries.height)}) are already in the user's history"
    sure = [name for name in case.injected if not case.met_candidates[name][0]]
    for name in sure:
        level: Level = "disqualifies" if known > 0.01 * case.queries.height else "warns"
        yield level, name, f"{of}, and no other candidate is: copying the history finds them"
    if not sure:
        yield "warns", "split", of


@check(
    "supplied-candidates",
    "sources",
    why="A ranker pays for negatives that it supplied itself: they are its own favourites, and it falls below chance.",
    remedy="Draw negatives uniformly, or put no target in and count what was not retrieved as missed (two-stage).",
)
def supplied_candidates(case: Case) -> Said:
    for name, table in case.injected.items():
        suppliers = _suppliers(table)
        if suppliers:
            yield "disqualifies", name, f"candidates were supplied by {suppliers}"


@check(
    "two-stage-ceiling",
    "candidates",
    why="No ranker can find a target that was not retrieved.",
    remedy="Read each metric beside this ceiling, and never beside numbers on sets that hold every target.",
)
def two_stage_ceiling(case: Case) -> Said:
    for name, table in case.offered.items():
        if name not in case.injected:
            held = share(int(table[ITEMS].list.contains(table[TARGET]).sum()), table.height)
            whose = f"candidates come from {_suppliers(table) or 'a ranker that is not named'}"
            yield "notes", name, f"{whose}; {held} of the sets hold their target"


def _suppliers(table: pl.DataFrame) -> str:
    """Who put candidates in, with how many, but for the target and uniform draws."""
    counts = table[SOURCE].list.explode().value_counts().filter(~pl.col(SOURCE).is_in(HONEST))
    return ", ".join(f"`{source}` ({count:,})" for source, count in counts.sort("count", descending=True).iter_rows())


CHECKS = (
    slot_follows_target,
    uneven_slots,
    seen_candidates,
    target_in_history,
    supplied_candidates,
    two_stage_ceiling,
)
