"""Where the answer may have leaked from: the split, the clock, the catalogue."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from llmrec.columns import COUNT, ITEM, POSITION, QUERY, TARGET, TIME, TIMES, TRAIN, USER
from llmrec.evaluate.finding import Case, Finding, share

SPLIT = "split"


def trained_on(case: Case) -> Iterator[Finding]:
    """No model may be fitted on the interaction that it is asked for."""
    inside = _asked(case).filter(pl.col(POSITION) < pl.col(TRAIN)).height
    if inside:
        part = share(inside, case.queries.height)
        yield Finding("disqualifies", f"{inside:,} targets ({part}) are training interactions of their own user", SPLIT)


def time_travel(case: Case) -> Iterator[Finding]:
    """`time` promises that models know nothing from after the moment; `last` promises no such thing."""
    if case.method == "last":
        yield Finding(
            "warns",
            "leave-last-out: other users' later interactions are in the training data; use `time` to compare systems "
            "for deployment",
            SPLIT,
        )
        return
    first = case.queries[TIME].min()
    if first is None:
        yield Finding(
            "warns", f"`{case.method}` was asked for, but the targets have no times: nothing can be checked", SPLIT
        )
        return
    latest = pl.col(TIMES).list.head(pl.col(TRAIN)).list.max()
    late = case.larder.histories.filter(latest > first).height
    if late:
        yield Finding(
            "disqualifies",
            f"{late:,} users' training interactions reach past the first target that is asked for",
            SPLIT,
        )


def equal_times(case: Case) -> Iterator[Finding]:
    """A target at the same time as the interaction before it is the next one by the tie rule only."""
    asked = _asked(case)
    if TIMES not in asked.columns or asked[TIMES].null_count() == asked.height:
        return
    times = asked.filter(pl.col(POSITION) > 0, pl.col(TIMES).is_not_null())
    now, before = pl.col(TIMES).list.get(pl.col(POSITION)), pl.col(TIMES).list.get(pl.col(POSITION) - 1)
    tied = times.filter(now == before).height
    if tied:
        yield Finding(
            "warns" if tied > 0.05 * case.queries.height else "notes",
            f"{share(tied, case.queries.height)} of targets have the time of the interaction before them: which of "
            "the two comes next was settled by the dataset's tie rule",
            SPLIT,
        )


def cold_targets(case: Case) -> Iterator[Finding]:
    """A target that nobody met in training can only be found by its text."""
    counts = case.larder.catalogue.select(pl.col(ITEM).alias(TARGET), COUNT)
    cold = case.queries.join(counts, on=TARGET, how="left").filter(pl.col(COUNT).fill_null(0) == 0).height
    if cold:
        part = share(cold, case.queries.height)
        yield Finding(
            "notes", f"{cold:,} targets ({part}) never occur in training: rankers without text cannot know them", SPLIT
        )


def twin_titles(case: Case) -> Iterator[Finding]:
    """Items that read the same are one item to a language model: whichever of them is right, it ties."""
    texts = pl.DataFrame(
        {ITEM: np.arange(case.larder.n_items), "text": [t.casefold().strip() for t in case.larder.texts]}
    )
    twins = texts.filter(pl.col("text").is_duplicated())
    if not twins.height:
        return
    asked = int(case.queries[TARGET].cast(pl.Int64).is_in(twins[ITEM].implode()).sum())
    yield Finding(
        "warns" if asked > 0.01 * case.queries.height else "notes",
        f"{twins.height:,} of {case.larder.n_items:,} items ({share(twins.height, case.larder.n_items)}) read like "
        f"another; {asked:,} targets ({share(asked, case.queries.height)}) are among them and tie with it in a "
        "language model. Tell them apart in `data.text`, by year or brand",
        "catalogue",
    )


def few_users(case: Case) -> Iterator[Finding]:
    """Small test sets swallow small differences."""
    users = case.queries[USER].n_unique()
    if users < 300:
        widest = 1.96 * 0.5 / np.sqrt(max(users, 1))
        yield Finding("notes", f"{users:,} users only: a hit rate near one half is known to ±{widest:.2f}", SPLIT)


def _asked(case: Case) -> pl.DataFrame:
    """The queries with the histories that they come from."""
    histories = case.larder.histories
    kept = [c for c in (USER, TIMES, TRAIN) if c in histories.columns]
    return case.queries.select(QUERY, USER, POSITION, TARGET).join(histories.select(kept), on=USER, how="left")


CHECKS = (trained_on, time_travel, equal_times, cold_targets, twin_titles, few_users)
