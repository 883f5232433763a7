"""One prompt or pair as a person can read it, with what it takes in tokens."""

from __future__ import annotations

from typing import Any

import polars as pl

from llmrec.errors import DataFault
from llmrec.prompts.encoding import Codes, Encoder

RULE = "─" * 60


def sample_prompt(
    encoder: Encoder, context: Codes, *, candidates: Codes | None = None, target: int | None = None
) -> str:
    """What the model reads for one context, and the answer that is hoped for, where there is a target.

    A newline at the prompt's end is shown as ⏎, since it would not be seen.
    """
    prompt = encoder.prompt(context, candidates)
    kept = f"{prompt.kept} of {len(context)} items"
    lines = [
        f"prompt, {encoder.template.signature}: {_tokens(len(prompt.ids))} of {encoder.budget}, {kept}",
        RULE,
        _shown(prompt.text),
        RULE,
    ]
    if target is not None:
        answer = encoder.answer(target, candidates)
        lines.append(f"answer: {answer!r}, {_tokens(len(encoder.answer_ids(target, candidates)))}{_ending(encoder)}")
    return "\n".join(lines)


def sample_pair(pairs: pl.DataFrame, encoder: Encoder, row: int = 0) -> str:
    """One row of a table of pairs: its prompt, chosen and rejected answers, each rejected one with where it came from.

    Raises DataFault when the table has no such row. Read columns: those of `build_pairs`.
    """
    if not 0 <= row < pairs.height:
        raise DataFault(f"pairs: there is no pair {row}; the table has {pairs.height}.")
    pair = pairs.row(row, named=True)
    sizes = f"{_tokens(pair['prompt_tokens'])} of {encoder.budget}, {pair['kept']} items"
    lines = [
        f"pair {row} of {pairs.height:,}: user {pair['user']}, query {pair['query']}",
        f"prompt, {pair['template']}: {sizes}",
        RULE,
        _shown(pair["prompt"]),
        RULE,
        f"chosen    {pair['chosen']!r}",
    ]
    for place, text in enumerate(pair["rejected"]):
        lines.append(f"rejected  {text!r}  {_source(pair, place)}")
    lines.append(f"longest: prompt and answer take {_tokens(pair['longest'])}{_ending(encoder)}")
    return "\n".join(lines)


def _shown(text: str) -> str:
    return f"{text[:-1]}⏎" if text.endswith("\n") else text


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"


def _ending(encoder: Encoder) -> str:
    return " with the end token" if encoder.eos else ""


def _source(pair: dict[str, Any], place: int) -> str:
    rank = pair["rejected_rank"][place]
    return f"[{pair['rejected_from'][place]}{'' if rank is None else f', rank {rank}'}]"
