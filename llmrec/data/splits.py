"""What is held back: for each user the training prefix, and the queries that rankers are asked.

`last`: a user's final interaction is the test target, the one before it the validation target. The future of other
users is in training then; use `time` to compare systems that are to run tomorrow. Of two interactions the second is the
test target and none is for validation; a single one is for training.

`time`: the test moment is a quantile of all interactions, the validation moment the same quantile of those before the
test moment. Training is what came before the validation moment; validation targets lie between the two, test targets
after the second. What happens at a moment belongs to what comes after it. A target's context is everything that its
user did before it, held back or not.

A query needs a context: the first interaction of a history is never a target. Where a log has several behaviours, only
interactions of a target behaviour are asked for, and `last` holds back from the validation target on; the others stand
in contexts and in training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from llmrec.columns import BEHAVIOURS, FOLD, ITEMS, POSITION, QUERY, TARGET, TIME, TIMES, USER
from llmrec.errors import DataFault
from llmrec.ranking import QUERIES_SCHEMA
from llmrec.recipe.sections import Split

FOLDS = ("valid", "test")


@dataclass(frozen=True)
class Held:
    """A split: `train` (i32, one a history), the queries, and the two moments (None for `last`)."""

    train: np.ndarray
    queries: pl.DataFrame
    moments: dict[str, int] | None


def split(histories: pl.DataFrame, section: Split, *, where: str, targets: int | None = None) -> Held:
    """Splits histories (user, items, times), which come sorted by user code.

    Of the `behaviours` in histories, the first `targets` are asked for; None: whatever there is. Raises DataFault where
    times are needed and missing, or where nothing is left to train on or to ask.
    """
    lengths = histories[ITEMS].list.len().to_numpy().astype(np.int64)
    times = histories[TIMES].explode().to_numpy() if histories[TIMES].null_count() == 0 else None
    asked = histories[BEHAVIOURS].explode().to_numpy() < targets if targets is not None else None
    moments = None
    if section.method == "last":
        final, before = _last_two(lengths, asked)
        train = np.where(before >= 1, before, np.where(final >= 1, final, lengths))
        spans = {"valid": (before, before + (before >= 1)), "test": (final, final + (final >= 1))}
        target = "last"
    else:
        if times is None:
            raise no_times(where)
        test = _moment(times, section.quantile, "test", where)
        valid = _moment(times[times < test], section.quantile, "validation", where)
        starts = np.cumsum(lengths) - lengths
        train, until = (np.add.reduceat(times < moment, starts, dtype=np.int64) for moment in (valid, test))
        spans = {"valid": (train, until), "test": (until, lengths)}
        moments = {"valid": int(valid), "test": int(test)}
        target = section.target
    queries = _queries(histories, lengths, times, spans, target, asked)
    if not (queries[FOLD] == "test").any():
        raise nobody(where, section, lengths, targets=asked is not None)
    return Held(train.astype(np.int32), queries, moments)


def _last_two(lengths: np.ndarray, asked: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Each history's last position that may be asked for, and the one before it; -1 where there is none."""
    if asked is None:
        return lengths - 1, np.maximum(lengths - 2, -1)
    owner, position = spread(np.zeros_like(lengths), lengths)
    owner, position = only(owner, position, asked)
    turn = places_from_the_end(owner)
    found = np.full((2, len(lengths)), -1, dtype=np.int64)
    for place in (0, 1):
        found[place, owner[turn == place]] = position[turn == place]
    return found[0], found[1]


def _moment(times: np.ndarray, quantile: float, fold: str, where: str) -> int:
    """The time at a quantile of times, in any order; some of them must lie strictly before it."""
    place = min(int(quantile * len(times)), len(times) - 1)
    moment = int(np.partition(times, place)[place]) if len(times) else 0
    if not len(times) or times.min() == moment:
        raise nothing_before(where, quantile, fold, len(times), len(np.unique(times)))
    return moment


def _queries(
    histories: pl.DataFrame,
    lengths: np.ndarray,
    times: np.ndarray | None,
    spans: dict[str, tuple[np.ndarray, np.ndarray]],
    target: str,
    asked: np.ndarray | None,
) -> pl.DataFrame:
    """A row for each position asked for, numbered by fold, user code and position."""
    starts = np.cumsum(lengths) - lengths
    items = histories[ITEMS].explode().to_numpy()
    parts = []
    for fold in FOLDS:
        low, high = spans[fold]
        if asked is not None:
            low = np.maximum(low, 1)
            owner, position = spread(low, high)
            owner, position = only(owner, position, asked[starts[owner] + position])
            if target != "all":
                first = target == "first"
                turn = places_from_the_end(owner[::-1] if first else owner)
                one = (turn[::-1] if first else turn) == 0
                owner, position = owner[one], position[one]
        else:
            if target == "first":
                high = np.minimum(high, low + 1)
            elif target == "last":
                low = np.maximum(low, high - 1)
            low = np.maximum(low, 1)
            owner, position = spread(low, high)
        at = starts[owner] + position
        parts.append(
            pl.DataFrame(
                {
                    USER: histories[USER].to_numpy()[owner],
                    POSITION: position,
                    TIME: times[at] if times is not None else pl.Series([None] * len(at), dtype=pl.Int64),
                    TARGET: items[at],
                }
            ).with_columns(pl.lit(fold).alias(FOLD))
        )
    return (
        pl.concat(parts, how="vertical_relaxed")
        .with_row_index(QUERY)
        .cast(pl.Schema(QUERIES_SCHEMA))
        .select(*QUERIES_SCHEMA)
    )


def spread(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, position) for every position in low[row] .. high[row] - 1, in order; an empty range gives none."""
    counts = np.maximum(high - low, 0)
    owner = np.repeat(np.arange(len(low)), counts)
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return owner, low[owner] + within


def only(owner: np.ndarray, position: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a mask."""
    return owner[mask], position[mask]


def places_from_the_end(owner: np.ndarray) -> np.ndarray:
    """How many rows of the same owner come after each; an owner's rows stand together.

    >>> places_from_the_end(np.array([4, 4, 4, 7])).tolist()
    [2, 1, 0, 0]
    """
    last = np.flatnonzero(np.append(owner[1:] != owner[:-1], True)) if len(owner) else np.empty(0, dtype=np.int64)
    runs = np.diff(last, prepend=-1)
    return np.repeat(last, runs) - np.arange(len(owner))


def no_times(where: str) -> DataFault:
    """What to say where a split by time has no times."""
    return DataFault(
        f"{where}: split.method is time, and the interactions have no times. Map the column with "
        "data.columns: {time: ...}, or use split.method=last, where the file's order counts."
    )


def nothing_before(where: str, quantile: float, fold: str, count: int, distinct: int) -> DataFault:
    """What to say where a moment has no past."""
    return DataFault(
        f"{where}: split.quantile={quantile:g} leaves nothing before the {fold} moment, of {count:,} interactions at "
        f"{distinct:,} distinct times. Raise it, or use split.method=last."
    )


def nobody(where: str, section: Split, lengths: np.ndarray, *, targets: bool) -> DataFault:
    """What to say where no test query is left; `targets`: only some behaviours are asked for."""
    kind = "a target behaviour" if targets else "an interaction"
    if section.method == "time":
        why = f"nobody has {kind} after the moment and an interaction before that"
        remedy = "Lower split.quantile, or use split.method=last."
    elif targets:
        why = f"nobody has {kind} after another interaction"
        remedy = "Are the words in data.behaviours.target those of the log?"
    else:
        why = f"the longest history has {int(lengths.max(initial=0))} of the two interactions that it takes"
        remedy = "Is it the right column for user?"
    return DataFault(f"{where}: no user has anything left to ask for: {why}. {remedy}")
