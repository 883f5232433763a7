"""Pairs as the trainer reads them: tokens of prompts and answers, checked, and batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmrec.errors import TrainingFault
from llmrec.prompts.tokens import after, ids_of, with_bos, with_eos

COLUMNS = ("prompt", "chosen", "rejected")
TAIL = 48  # characters of a prompt that its answers are tokenised behind; `CHECKED` pairs are tokenised whole as well
CHECKED = 256  # spread over the file


@dataclass(frozen=True)
class Batch:
    """b pairs: each prompt's tokens, and the tokens of its answers, the chosen one first.

    `titles` says which of a prompt's tokens are of titles of the history, and `reference` has the log-probability of
    each answer before tuning, for the objectives that ask for them.
    """

    prompts: list[list[int]]
    answers: list[list[list[int]]]
    titles: list[list[bool]] | None = None
    reference: list[list[float]] | None = None

    def __len__(self) -> int:
        return len(self.prompts)


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of `examples` as what the trainer hands on: the batch, and a tensor that says how many rows it has."""
    parts = {name: [row[name] for row in rows] for name in ("titles", "reference") if name in rows[0]}
    batch = Batch([row["prompt_ids"] for row in rows], [row["answers"] for row in rows], **parts)
    return {"pairs": batch, "rows": torch.arange(len(rows))}


def parted(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What `collate` made, as two batches of half the rows each."""
    pairs, half = batch["pairs"], (len(batch["pairs"]) + 1) // 2
    cuts = slice(None, half), slice(half, None)
    fields = {name: rows for name, rows in vars(pairs).items() if rows is not None}
    return [
        {"pairs": Batch(**{name: rows[cut] for name, rows in fields.items()}), "rows": batch["rows"][cut]}
        for cut in cuts
    ]


def examples(
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    eos: bool,
    budget: int,
    titles: bool = False,
    rejected: int | None = None,
    at_most: int | None = None,
) -> Dataset:
    """A file of pairs as `prompt_ids` and `answers` (chosen first), the first `at_most` of it.

    Of a pair's rejected answers the first `rejected` are read, or all.
    With `titles` also which of a prompt's tokens are of its history's titles, which the pairs' own column says. Prompts
    begin with BOS where the tokenizer has one, answers end in EOS if `eos`: what ranking reads. Raises
    TrainingFault where a column is missing, a row has nothing rejected, rejects what it chose or has an empty answer,
    and where a prompt takes more than `budget` tokens; PromptFault where an answer would change its prompt's tokens.
    """
    try:
        pairs = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as fault:
        raise TrainingFault(f"{path}: no pairs that can be read ({str(fault).splitlines()[0]}).") from None
    lacking = [name for name in COLUMNS if name not in pairs.columns]
    if lacking:
        raise TrainingFault(
            f"{path}: no column {', '.join(lacking)}; found {', '.join(pairs.columns)}. Pairs have prompt, chosen and "
            "a list of rejected answers: `llmrec pairs` makes them."
        )
    kinds = {name: pairs.schema[name] for name in COLUMNS}
    texts = [pl.String, pl.List(pl.String)]
    if kinds["prompt"] != pl.String or kinds["chosen"] != pl.String or kinds["rejected"] not in texts:
        found = ", ".join(f"{name} is {kind}" for name, kind in kinds.items())
        raise TrainingFault(f"{path}: {found}; prompt and chosen are texts, and rejected a list of texts.")
    if pairs.schema["rejected"] == pl.String:  # a row a rejected answer, as TRL has it
        pairs = pairs.with_columns(pl.concat_list("rejected"))
    pairs = pairs.head(at_most or pairs.height)
    if pairs.is_empty():
        raise TrainingFault(f"{path}: no pairs to learn from.")
    _check(pairs, path)

    prompts = [with_bos(tokenizer, ids) for ids in ids_of(tokenizer, pairs["prompt"].to_list())]
    empty = [row for row, ids in enumerate(prompts) if not ids]
    if empty:
        raise TrainingFault(f"{path}: row {empty[0]}'s prompt has no token, and this tokenizer begins with none.")
    long = [row for row, ids in enumerate(prompts) if len(ids) > budget]
    if long:
        raise TrainingFault(
            f"{path}: row {long[0]}'s prompt takes {len(prompts[long[0]])} tokens, and prompt.budget is {budget} "
            f"({len(long):,} such rows). Make the pairs again with this tokenizer and budget: llmrec pairs."
        )
    if rejected is not None:
        pairs = pairs.with_columns(pl.col("rejected").list.head(rejected))
    said = pairs.select(pl.concat_list(pl.concat_list("chosen"), "rejected").alias("said"))["said"].to_list()
    answers = _answers(tokenizer, pairs["prompt"].to_list(), said)
    ended = [[with_eos(tokenizer, ids) if eos else ids for ids in row] for row in answers]
    lengths = [len(ids) + sum(map(len, row)) for ids, row in zip(prompts, ended, strict=True)]
    made: dict[str, Any] = {"prompt_ids": prompts, "answers": ended, "length": lengths}
    if titles:
        made["titles"] = _titles(tokenizer, pairs, prompts, path)
    return Dataset.from_dict(made)


def _titles(tokenizer: Any, pairs: pl.DataFrame, prompts: list[list[int]], path: Path) -> list[list[bool]]:
    """Which tokens of each prompt lie in a title of its history, at least in part."""
    spans = pairs["titles"] if "titles" in pairs.columns else None
    told = spans is not None and spans.dtype.is_nested() and spans.null_count() == 0 and spans.list.len().sum()
    if not told or (spans.list.len() % 2 == 1).any():  # type: ignore[union-attr]
        raise TrainingFault(
            f"{path}: does not say where titles stand in its prompts (column titles), which objective.nll_on: history "
            "needs: these pairs were made by an older llmrec, or their template changes titles. Take branch or all."
        )
    read = tokenizer(pairs["prompt"].to_list(), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    found = []
    for offsets, spans, ids in zip(read["offset_mapping"], pairs["titles"].to_list(), prompts, strict=True):
        own, ends = [False] * (len(ids) - len(offsets)), iter(zip(spans[::2], spans[1::2], strict=True))
        begin, end = next(ends, (0, 0))
        for start, stop in offsets:
            while end <= start and (begin, end) != (0, 0):
                begin, end = next(ends, (0, 0))
            own.append(start < end and stop > begin)
        found.append(own)
    return found


def _answers(tokenizer: Any, prompts: list[str], said: list[list[str]]) -> list[list[list[int]]]:
    """Tokens of each prompt's answers. Prompts of one template end alike, so an answer is tokenised once an ending."""
    tails: dict[str, dict[str, list[int]]] = {}
    for prompt, row in zip(prompts, said, strict=True):
        tails.setdefault(prompt[-TAIL:], {}).update((answer, list[int]()) for answer in row)
    for tail, known in tails.items():
        known.update(zip(known, after(tokenizer, tail, list(known)), strict=True))
    found = [[tails[prompt[-TAIL:]][answer] for answer in row] for prompt, row in zip(prompts, said, strict=True)]
    for prompt, row, ids in list(zip(prompts, said, found, strict=True))[:: max(1, len(prompts) // CHECKED)]:
        if after(tokenizer, prompt, row) != ids:
            raise TrainingFault(
                f"pairs: an answer takes other tokens behind the whole prompt than behind its end, {prompt[-TAIL:]!r}. "
                "This tokenizer cannot be used with this template."
            )
    return found


def _check(pairs: pl.DataFrame, path: Path) -> None:
    rejected, chosen = pl.col("rejected"), pl.col("chosen")
    faults = {
        "has no rejected answer": rejected.is_null() | (rejected.list.len() == 0),
        "rejects the answer that it chose": rejected.list.contains(chosen),
        "has an empty answer": (chosen.fill_null("").str.strip_chars() == "")
        | rejected.list.eval(pl.element().fill_null("").str.strip_chars() == "").list.any(),
        "has no prompt": pl.col("prompt").is_null(),
    }
    for fault, where in faults.items():
        rows = pairs.with_row_index("row").filter(where)
        if rows.height:
            raise TrainingFault(
                f"{path}: row {rows['row'][0]} {fault} ({rows.height:,} such rows; chosen: "
                f"{rows['chosen'][0]!r}). Leave such pairs out, or make them again: llmrec pairs."
            )
