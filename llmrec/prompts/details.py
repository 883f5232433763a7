"""What templates may ask of an item beside its text: the rating that a user gave it, and how long ago it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from llmrec.columns import POSITION, RATINGS, TIMES, USER
from llmrec.errors import DataFault
from llmrec.prompts.items import ago, rated
from llmrec.prompts.template import Template

if TYPE_CHECKING:
    from llmrec.data.larder import Larder


COLUMNS = {"rating": RATINGS, "ago": TIMES}
SAID = {"rating": "ratings", "ago": "times"}


def refuse_unknown(larder: Larder, template: Template) -> None:
    """Raises DataFault where the template asks of items what the data do not say."""
    histories = larder.histories
    for name in template.details:
        column = COLUMNS[name]
        if column not in histories.columns or histories[column].null_count():
            raise DataFault(
                f"{template.where}: asks for item.{name}, and the data have no {SAID[name]}. Map a column to "
                f"{SAID[name].removesuffix('s')} (data.columns), or take another prompt.template."
            )


def details_of(queries: pl.DataFrame, larder: Larder, template: Template) -> list[list[dict[str, str]]] | None:
    """What the template asks of each item of each query's context, in words; None where it asks for titles alone.

    Read columns: user, position, time. Raises DataFault where the data do not say.
    """
    asked = template.details
    if not asked:
        return None
    refuse_unknown(larder, template)
    known = {}
    if "rating" in asked:
        flat, (_, starts) = larder.histories[RATINGS].explode(empty_as_null=False).to_list(), larder.flat
        first = starts[queries[USER].to_numpy()]
        spans = zip(first.tolist(), (first + queries[POSITION].to_numpy()).tolist(), strict=True)
        known["rating"] = [[rated(one) for one in flat[a:b]] for a, b in spans]
    if "ago" in asked:
        known["ago"] = [[ago(one) for one in (at[-1] - at[:-1]).tolist()] for at in larder.moments(queries)]
    return [
        [dict(zip(known, words, strict=True)) for words in zip(*some, strict=True)]
        for some in zip(*known.values(), strict=True)
    ]
