"""Pairs: what a user went on to choose, set against what they might have been offered instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from llmrec.columns import ITEMS, POSITION, QUERY, RANK, SCORE, SOURCE, TARGET, USER
from llmrec.data.histories import in_lists
from llmrec.errors import DataFault
from llmrec.progress import track
from llmrec.prompts.details import details_of
from llmrec.prompts.encoding import BATCH, Encoder, Prompt
from llmrec.rng import rng_for
from llmrec.streams import Streams

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

VERIFIED = 16  # every how many-th pair is tokenized whole, beside the check of every answer behind a short prompt
SAMPLED = 256  # the same of prompts from pieces, whose every line has been looked at
TOGETHER = 1 << 14  # pairs put together at once: what they take stays in a processor's cache, or near it
PAIRS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    QUERY: pl.Int64,
    USER: pl.Int32,
    "template": pl.String,
    "prompt": pl.String,
    "chosen": pl.String,
    "rejected": pl.List(pl.String),
    "chosen_item": pl.Int32,
    "rejected_items": pl.List(pl.Int32),
    "rejected_from": pl.List(pl.String),
    "rejected_rank": pl.List(pl.Int32),
    "rejected_score": pl.List(pl.Float32),
    "kept": pl.Int32,
    "titles": pl.List(pl.Int32),
    "prompt_tokens": pl.Int32,
    "longest": pl.Int32,
    "round": pl.Int32,
}


def build_pairs(
    queries: pl.DataFrame,
    larder: Larder,
    encoder: Encoder,
    negs: pl.DataFrame,
    *,
    round: int = 0,  # noqa: A002  the column's name
    seed: int = 0,
) -> pl.DataFrame:
    """One pair a query: its context as a prompt, its target as the chosen answer, its negatives as the rejected ones.

    A template that lists candidates lists chosen and rejected in an order drawn from (seed, query). `kept` says how
    many items of the context the prompt shows, `prompt_tokens` and `longest` what the prompt alone and with its longest
    answer take in tokens, as the trainer counts them; `titles` where the history's titles stand in the prompt, start
    and end of each in characters. Rows come in the queries' order.

    Read columns: query, user, position, target; query, items, source, rank, score. Raises DataFault when a query has no
    negatives, or has its target among them, and PromptFault when a prompt cannot fit its budget.
    """
    rows = queries.join(negs, on=QUERY, how="left", maintain_order="left")
    _check(rows)
    make = _one_by_one if encoder.bulk is None else _together
    made = [make(rows.slice(start, TOGETHER), larder, encoder, seed) for start in range(0, rows.height, TOGETHER)]
    if not made:
        return pl.DataFrame(schema=PAIRS_SCHEMA)
    return pl.concat(made).with_columns(round=pl.lit(round)).cast(pl.Schema(PAIRS_SCHEMA)).select(*PAIRS_SCHEMA)


def mixed_pairs(
    queries: pl.DataFrame,
    larder: Larder,
    encoders: Sequence[Encoder],
    negs: pl.DataFrame,
    *,
    round: int = 0,  # noqa: A002  the column's name
    seed: int = 0,
) -> pl.DataFrame:
    """`build_pairs` with several templates: which one a query gets is drawn from (seed, query) alone."""
    if len(encoders) == 1:
        return build_pairs(queries, larder, encoders[0], negs, round=round, seed=seed)
    which = Streams.of(seed, "template", keys=queries[QUERY].to_numpy()).integers(len(encoders))
    some = [queries.filter(pl.Series(which == n)) for n in range(len(encoders))]
    made = [
        build_pairs(part, larder, one, negs, round=round, seed=seed) for part, one in zip(some, encoders, strict=True)
    ]
    return queries.select(QUERY).join(pl.concat(made), on=QUERY, how="left", maintain_order="left")


def exploded(pairs: pl.DataFrame) -> pl.DataFrame:
    """One row a rejected answer, as TRL reads preferences: prompt, chosen, rejected.

    Keeps query, user, template, chosen_item, round, kept, titles and token counts, and has rejected_item,
    rejected_from, rejected_rank, rejected_score of the one.
    """
    many = [name for name in PAIRS_SCHEMA if name.startswith("rejected")]
    return pairs.explode(many).rename({"rejected_items": "rejected_item"})


def _together(rows: pl.DataFrame, larder: Larder, encoder: Encoder, seed: int) -> pl.DataFrame:
    """Pairs of one slice as columns, their prompts from pieces; a sample is made the careful way and compared."""
    assert encoder.bulk is not None
    items, starts = larder.flat
    first = starts[rows[USER].to_numpy()]
    prompts = encoder.bulk.prompts(items, first, first + rows[POSITION].to_numpy())
    sample = rows.gather_every(SAMPLED)
    chosen, lengths = rows[TARGET].to_numpy(), rows[ITEMS].list.len().to_numpy()
    encoder.bulk.check(prompts, larder.contexts(sample), sample[TARGET].to_list(), range(0, rows.height, SAMPLED))
    rejected = rows[ITEMS].explode(empty_as_null=False).to_numpy()
    ends = np.cumsum(lengths.astype(np.int64))
    longest = np.maximum(
        encoder.bulk.answers(chosen), np.maximum.reduceat(encoder.bulk.answers(rejected), ends - lengths)
    )
    answers = encoder.bulk.texts
    return rows.select(
        QUERY,
        USER,
        pl.lit(encoder.template.signature).alias("template"),
        prompts.text.alias("prompt"),
        answers.gather(chosen).alias("chosen"),
        in_lists(answers.gather(rejected), np.append(0, ends)).alias("rejected"),
        pl.col(TARGET).alias("chosen_item"),
        *_provenance(),
        pl.Series("kept", prompts.kept),
        prompts.titles.alias("titles"),
        pl.Series("prompt_tokens", prompts.tokens),
        pl.Series("longest", prompts.tokens + longest),
    )


def _one_by_one(rows: pl.DataFrame, larder: Larder, encoder: Encoder, seed: int) -> pl.DataFrame:
    """The same, each prompt rendered and tokenized."""
    contexts = larder.contexts(rows)
    details = details_of(rows, larder, encoder.template)
    made: list[dict[str, object]] = []
    for start in track(range(0, rows.height, BATCH), "pairs"):
        some = rows.slice(start, BATCH).rows(named=True)
        offers = None
        if encoder.template.lists_candidates:
            offers = [_slots([row[TARGET], *row[ITEMS]], row[QUERY], seed) for row in some]
        told = details[start : start + BATCH] if details else None
        prompts = encoder.prompts(contexts[start : start + BATCH], offers, told)
        encoder.verify(
            prompts[::VERIFIED], [row[TARGET] for row in some[::VERIFIED]], offers[::VERIFIED] if offers else None
        )
        for place, (row, prompt) in enumerate(zip(some, prompts, strict=True)):
            offer = offers[place] if offers else None
            titles = encoder.title_spans(prompt, contexts[start + place], offer, told[place] if told else None)
            made.append({**_pair(row, prompt, encoder, offer), "titles": titles})
    own = pl.DataFrame(made, schema={name: PAIRS_SCHEMA[name] for name in made[0]})
    return rows.select(QUERY, USER, pl.col(TARGET).alias("chosen_item"), *_provenance()).hstack(own)


def _provenance() -> list[pl.Expr]:
    names = {ITEMS: "rejected_items", SOURCE: "rejected_from", RANK: "rejected_rank", SCORE: "rejected_score"}
    return [pl.col(name).alias(new) for name, new in names.items()]


def _pair(row: dict[str, Any], prompt: Prompt, encoder: Encoder, offer: list[int] | None) -> dict[str, object]:
    chosen, rejected = row[TARGET], row[ITEMS]
    longest = max(map(len, encoder.answers_ids([chosen, *rejected], offer)))
    return {
        "template": encoder.template.signature,
        "prompt": prompt.text,
        "chosen": encoder.answer(chosen, offer),
        "rejected": [encoder.answer(item, offer) for item in rejected],
        "kept": prompt.kept,
        "prompt_tokens": len(prompt.ids),
        "longest": len(prompt.ids) + longest,
    }


def _slots(listed: list[int], query: int, seed: int) -> list[int]:
    """The listed items in an order that (seed, query) alone decides: no letter is likelier to be the target's."""
    return [listed[place] for place in rng_for(seed, "slots", query).permutation(len(listed))]


def _check(rows: pl.DataFrame) -> None:
    bare = rows.filter(pl.col(ITEMS).is_null() | (pl.col(ITEMS).list.len() == 0))
    if bare.height:
        raise DataFault(f"pairs: {bare.height:,} queries have no negatives, first query {bare[QUERY][0]}.")
    wrong = rows.filter(pl.col(ITEMS).list.contains(pl.col(TARGET)))
    if wrong.height:
        raise DataFault(f"pairs: query {wrong[QUERY][0]} has its target, item {wrong[TARGET][0]}, among its negatives.")
