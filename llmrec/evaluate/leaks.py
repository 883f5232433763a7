"""Where the answer may have leaked from: the split, the clock, the mining of negatives."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from llmrec.columns import ITEM, POSITION, QUERY, RANK, TARGET, TIME, USER
from llmrec.evaluate.case import BEFORE, Case
from llmrec.evaluate.finding import Level, check, share

SPLIT = "split"
RECALLED = (10, 50, 100)
Said = Iterator[tuple[Level, str, str]]


@check(
    "split-overlap",
    "training",
    "moments",
    why="What was fitted on the answer need not find it: it remembers it.",
    remedy="Take the targets, and all that came after them, out of what models are fitted on.",
)
def split_overlap(case: Case) -> Said:
    training = case.training
    assert training is not None
    for column in (POSITION, TIME):
        if case.ordered_by(column):
            both = [USER, ITEM, column]
            inside = case.queries.rename({TARGET: ITEM}).join(training.select(both), on=both, how="semi").height
            if inside:
                part = share(inside, case.queries.height)
                yield (
                    "disqualifies",
                    SPLIT,
                    f"{inside:,} targets ({part}) are training interactions of their own user",
                )
            return


@check(
    "repeated-queries",
    why="A question that is asked twice counts twice, and its copies look like independent evidence.",
    remedy="Keep one query for each user and target.",
)
def repeated_queries(case: Case) -> Said:
    same = _same(case)
    twice = case.queries.height - case.queries.select(same).n_unique()
    if twice:
        part = share(twice, case.queries.height)
        yield "warns", SPLIT, f"{twice:,} queries ({part}) ask again what another asked, of the same user"
    if case.others is not None and case.others.height:
        shared = case.queries.join(case.others.select(same), on=same, how="semi").height
        if shared:
            part = share(shared, case.queries.height)
            yield (
                "disqualifies",
                SPLIT,
                f"{shared:,} queries ({part}) stand in another fold, too: settings were chosen on them",
            )


@check(
    "future-training",
    "training",
    "split",
    why="Models that know what others did later know what is about to be popular; nobody will tell them tomorrow.",
    remedy="Split at a moment (split.method=time) to compare systems for deployment.",
)
def future_training(case: Case) -> Said:
    training, last = case.training, case.method == "last"
    assert training is not None
    if not case.has("times"):
        if last:
            yield "warns", SPLIT, "leave-last-out: others' later interactions are in the training data"
        elif case.method is not None:
            yield (
                "warns",
                SPLIT,
                f"`{case.method}` was asked for, but the targets have no times: nothing can be checked",
            )
        return
    late = training.filter(pl.col(TIME) > case.queries[TIME].min())
    half = training.filter(pl.col(TIME) > case.queries[TIME].median()).height
    if last and not late.height:
        yield (
            "notes",
            SPLIT,
            "leave-last-out cuts at no moment; here no training interaction is later than the first target that is "
            "asked for",
        )
    elif late.height:
        rule = "leave-last-out: " if last else ""
        yield (
            "disqualifies" if case.method == "time" else "warns",
            SPLIT,
            f"{rule}{late.height:,} training interactions ({share(late.height, training.height)}), of "
            f"{late[USER].n_unique():,} users, are later than the first target that is asked for, "
            f"{share(half, training.height)} later than half of the targets",
        )


@check(
    "equal-times",
    "times",
    why="Which of two interactions at the same time comes next was settled by a tie rule, not by the user.",
    remedy="State the dataset's tie rule, and try the other one before believing a small difference.",
)
def equal_times(case: Case) -> Said:
    if case.clock is None:
        return
    tied = case.clock.filter(pl.col(TIME) == pl.col(BEFORE)).height
    if tied:
        part = share(tied, case.queries.height)
        level: Level = "warns" if tied > 0.05 * case.queries.height else "notes"
        yield level, SPLIT, f"{part} of targets have the time of the interaction before them"


@check(
    "cold-targets",
    "training",
    why="Rankers without text cannot know an item that nobody met in training.",
    remedy="Compare rankers with and without text on the other targets, too (the report's slices do).",
)
def cold_targets(case: Case) -> Said:
    assert case.training is not None
    met = case.training.select(pl.col(ITEM).alias(TARGET)).unique()
    cold = case.queries.join(met, on=TARGET, how="anti").height
    if cold:
        yield "notes", SPLIT, f"{cold:,} targets ({share(cold, case.queries.height)}) never occur in training"


@check(
    "in-fold-mining",
    "mined",
    why="A retriever that was fitted on a position ranks its target too high: negatives mined there are too easy.",
    remedy="Mine with a retriever that was fitted on what came before these positions.",
)
def in_fold_mining(case: Case) -> Said:
    assert case.mined is not None
    sides = [(case.mined.training, case.mined.asked), (case.mined.valid, case.mined.held)]
    if not all(asked.height for _, asked in sides):
        return
    for n in RECALLED:
        found = [
            asked.select(QUERY, pl.col(TARGET).alias(ITEM))
            .join(ranking.filter(pl.col(RANK) <= n), on=[QUERY, ITEM], how="semi")
            .height
            for ranking, asked in sides
        ]
        sizes = [asked.height for _, asked in sides]
        here, there = (count / size for count, size in zip(found, sizes, strict=True))
        pooled = sum(found) / sum(sizes)
        noise = float(np.sqrt(pooled * (1 - pooled) * sum(1 / size for size in sizes)))
        # On MovieLens-100K's quickstart the ratio is 1.5 where the retriever was fitted on these positions, else 1.07.
        if here > 1.25 * there and here - there > 4 * noise:
            yield (
                "warns",
                "pairs",
                f"the ranker that negatives were mined from has {here:.3f} of the training queries' targets among its "
                f"first {n}, and {there:.3f} of validation's",
            )
            return


def _same(case: Case) -> list[str]:
    """The columns that make two queries one question: when it was asked, as exactly as is known, of whom."""
    for column in (POSITION, TIME):
        if not case.queries[column].null_count():
            return [USER, TARGET, column]
    return [USER, TARGET]


CHECKS = (
    split_overlap,
    repeated_queries,
    future_training,
    equal_times,
    cold_targets,
    in_fold_mining,
)
