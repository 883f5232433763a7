"""What is held back: for each user the training prefix, and the queries that rankers are asked.

`last`: a user's final interaction is the test target, the one before it the validation target. The future of other
users is in training then; use `time` to compare systems that are to run tomorrow. Of two interactions the second is the
test target and none is for validation; a single one is for training.

`time`: the test moment is a quantile of all interactions, the validation moment the same quantile of those before the
test moment. Training is what came before the validation moment; validation targets lie between the two, test targets
after the second. What happens at a moment belongs to what comes after it. A target's context is everything that its
user did before it, held back or not.

A query needs a context: the first interaction of a history is never a target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from llmrec.columns import FOLD, ITEMS, POSITION, QUERY, TARGET, TIME, TIMES, USER
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


def split(histories: pl.DataFrame, section: Split, *, where: str) -> Held:
    """Splits histories (user, items, times), which come sorted by user code.

    Raises DataFault where times are needed and missing, or where nothing is left to train on or to ask.
    """
    lengths = histories[ITEMS].list.len().to_numpy().astype(np.int64)
    times = histories[TIMES].explode().to_numpy() if histories[TIMES].null_count() == 0 else None
    moments = None
    if section.method == "last":
        train = np.where(lengths >= 3, lengths - 2, np.minimum(lengths, 1))
        spans = {"valid": (train, np.maximum(lengths - 1, train)), "test": (np.maximum(lengths - 1, train), lengths)}
        target = "last"
    else:
        if times is None:
            raise DataFault(
                f"{where}: split.method is time, and the interactions have no times. Map the column with "
                "data.columns: {time: ...}, or use split.method=last, where the file's order counts."
            )
        owner = np.repeat(np.arange(len(lengths)), lengths)
        test = _moment(np.sort(times), section.quantile, "test", where)
        valid = _moment(np.sort(times[times < test]), section.quantile, "validation", where)
        train = np.bincount(owner[times < valid], minlength=len(lengths))
        until = np.bincount(owner[times < test], minlength=len(lengths))
        spans = {"valid": (train, until), "test": (until, lengths)}
        moments = {"valid": int(valid), "test": int(test)}
        target = section.target
    queries = _queries(histories, lengths, times, spans, target)
    if not (queries[FOLD] == "test").any():
        raise DataFault(
            f"{where}: no user has anything left to ask for: {_reach(section, lengths)}. Lower split.quantile, or use "
            "split.method=last."
        )
    return Held(train.astype(np.int32), queries, moments)


def _moment(ordered: np.ndarray, quantile: float, fold: str, where: str) -> int:
    """The time at a quantile of sorted times; some of them must lie strictly before it."""
    moment = int(ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]) if len(ordered) else 0
    if not len(ordered) or ordered[0] == moment:
        raise DataFault(
            f"{where}: split.quantile={quantile:g} leaves nothing before the {fold} moment, of {len(ordered):,} "
            f"interactions at {len(np.unique(ordered)):,} distinct times. Raise it, or use split.method=last."
        )
    return moment


def _queries(
    histories: pl.DataFrame,
    lengths: np.ndarray,
    times: np.ndarray | None,
    spans: dict[str, tuple[np.ndarray, np.ndarray]],
    target: str,
) -> pl.DataFrame:
    """A row for each position asked for, numbered by fold, user code and position."""
    starts = np.cumsum(lengths) - lengths
    items = histories[ITEMS].explode().to_numpy()
    parts = []
    for fold in FOLDS:
        low, high = spans[fold]
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


def _reach(section: Split, lengths: np.ndarray) -> str:
    if section.method == "last":
        return f"the longest history has {int(lengths.max(initial=0))} interactions"
    return f"nobody has an interaction after the moment and another one before that (split.target: {section.target})"
