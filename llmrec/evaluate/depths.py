"""Whether rankings were made alike: what they leave out, how deep they go, what they list that does not exist."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from llmrec.columns import ITEM
from llmrec.evaluate.case import Case
from llmrec.evaluate.finding import Level, check, share

FEW = 20  # below so many queries, lists that happen to hold every target say nothing of how they were made
Said = Iterator[tuple[Level, str, str]]


@check(
    "short-lists",
    "rankings",
    why="What a ranker does not list counts as missed.",
    remedy="Let every ranker list as many items as the deepest k that is measured.",
)
def short_lists(case: Case) -> Said:
    met = np.bincount(case.seen >> 32, minlength=case.queries.height)
    left = case.items.height - met if case.items is not None else np.full(case.queries.height, case.depth)
    enough = np.minimum(case.depth, left)
    for name in _whole(case):
        for ranker, lists, _ in case.each(name):
            short = int((lists.length < enough).sum())
            if short:
                yield "warns", name, f"{ranker} lists fewer than {case.depth} items for {short:,} queries"


@check(
    "seen-listed",
    "rankings",
    "met",
    why="Who leaves out what the user has met has fewer items to go wrong with: the lists are not made alike.",
    remedy="Let every ranker leave out what the user has met, or none.",
)
def seen_listed(case: Case) -> Said:
    for name in _whole(case):
        listed = [(ranker, int(case.is_seen(ranking).sum()), ranking.height) for ranker, _, ranking in case.each(name)]
        if all(known for _, known, _ in listed):
            continue
        for ranker, known, rows in listed:
            if known:
                yield (
                    "warns",
                    name,
                    f"{ranker} lists items that the user has already met ({share(known, rows)} of its rows), others "
                    "leave them out",
                )


@check(
    "different-lists",
    "rankings",
    why="Rankers that were given different candidates were asked different questions.",
    remedy="Rank the same candidates, and give them with --candidates; full catalogues may differ.",
)
def different_lists(case: Case) -> Said:
    if case.items is not None or case.queries.height < FEW:
        return
    for name in _whole(case):
        found = list(case.each(name))
        closed = all((lists.above >= 0).all() and len(set(lists.length)) == 1 for _, lists, _ in found)
        for ranker, lists, _ in found[1:] if closed else []:
            differ = int((lists.items != found[0][1].items).sum())
            if differ:
                yield (
                    "warns",
                    name,
                    f"{found[0][0]} and {ranker} list every target, as candidates do, and different items for "
                    f"{differ:,} of {case.queries.height:,} queries",
                )


@check(
    "unknown-items",
    "rankings",
    "catalogue",
    why="A title that was made up, or an id of another catalogue, takes a place and can never be right.",
    remedy="Write items' own ids; where a model made titles up, leave the rows in: the miss is its own.",
)
def unknown_items(case: Case) -> Said:
    assert case.items is not None
    known = case.items[ITEM].implode()
    for name in case.rankings:
        for ranker, _, ranking in case.each(name):
            strange = ranking.filter(~pl.col(ITEM).is_in(known)).height
            if strange:
                part = share(strange, ranking.height)
                yield (
                    "warns" if strange > 0.01 * ranking.height else "notes",
                    name,
                    f"{strange:,} rows of {ranker} ({part}) list items that are not in the catalogue",
                )


@check(
    "missing-rankers",
    "rankings",
    why="Whoever is missing may have been left out because of its numbers, or the run was cut off.",
    remedy="Finish the run (`llmrec rank RECIPE`), or take what is not ranked out of the recipe.",
)
def missing_rankers(case: Case) -> Said:
    have: dict[str, int] = {}
    for rankers in case.rankings.values():
        for ranker, seeds in rankers.items():
            have[ranker] = min(len(seeds), have.get(ranker, len(seeds)))
    missing = [ranker for ranker in case.expected if ranker not in have]
    if missing:
        named = ", ".join(f"`{ranker}`" for ranker in missing)
        yield (
            "warns",
            "rankings",
            f"{len(missing)} of the recipe's {len(case.expected)} rankers ranked nothing: {named}",
        )
    for ranker, wanted in case.expected.items():
        if 0 < have.get(ranker, 0) < wanted:
            yield "warns", "rankings", f"`{ranker}` is there with {have[ranker]} of {wanted} seeds"


def _whole(case: Case) -> list[str]:
    """Tables without candidate sets, unless all rankers list the same items: then those are the candidates."""
    names = []
    for name in case.rankings:
        looks = [lists.items for _, lists, _ in case.each(name)]
        shared = len(looks) > 1 and case.items is None and all((look == looks[0]).all() for look in looks)
        if case.candidates.get(name) is None and not shared:
            names.append(name)
    return names


CHECKS = (short_lists, seen_listed, different_lists, unknown_items, missing_rankers)
