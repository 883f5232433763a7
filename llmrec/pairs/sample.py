"""One prompt or pair as a person can read it, with what it takes in tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from llmrec.prompts.encoding import Codes, Encoder

SHOWN = 10_000  # pairs that samples are looked for among
LONG = 300  # characters of an answer that are shown
RULE = "─" * 60


def sample_prompt(
    encoder: Encoder,
    context: Codes,
    *,
    candidates: Codes | None = None,
    target: int | None = None,
    details: Sequence[Mapping[str, str]] | None = None,
) -> str:
    """What the model reads for one context, and the answer that is hoped for, where there is a target.

    `details` are what the template asks of each item beside its text. A newline at the prompt's end is shown as ⏎,
    since it would not be seen.
    """
    offers = None if candidates is None else [candidates]
    [prompt] = encoder.prompts([context], offers, None if details is None else [details])
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


@dataclass(frozen=True)
class Sample:
    """A pair to be read, and why this one."""

    why: str
    pair: dict[str, Any]


def samples(pairs: pl.DataFrame) -> list[Sample]:
    """A pair for each kind that there is: an easy one, with untouched items drawn alike for all, and one a source; and
    of templates that none of these was written with, one each.

    Of a source that ranks what it finds, the pair with the item that it ranked highest. Read columns: those of pairs.
    """
    found: list[Sample] = []
    easy = pairs.filter(pl.col("rejected_from").list.eval(pl.element() == "uniform").list.all())
    if easy.height:
        found.append(Sample("easy: all drawn uniformly", easy.row(0, named=True)))
    for source in sorted(pairs["rejected_from"].explode().drop_nulls().unique()):
        new = ~pl.col("query").is_in([one.pair["query"] for one in found])
        has = pairs.filter(new & pl.col("rejected_from").list.contains(pl.lit(source)))
        if has.height and (source != "uniform" or not found):
            best = min(has.select("rejected_from", "rejected_rank").with_row_index().rows(), key=_depth(source))
            found.append(Sample(f"with one from {source}", has.row(best[0], named=True)))
    for template in sorted({*pairs["template"]} - {one.pair["template"] for one in found}):
        found.append(Sample(f"with {template}", pairs.filter(template=template).row(0, named=True)))
    return found


def _depth(source: str) -> Callable[[tuple[int, list[str], list[int | None]]], float]:
    """The rank that a source gave to the first item of its own among a pair's; last where it gives none."""

    def depth(row: tuple[int, list[str], list[int | None]]) -> float:
        ranks = [rank for name, rank in zip(row[1], row[2], strict=True) if name == source and rank is not None]
        return min(ranks, default=float("inf"))

    return depth


def samples_text(pairs: pl.DataFrame, *, of: int, budget: int) -> str:
    """Some pairs, as a person can read them; `of` how many there are in all."""
    if not pairs.height:
        return "There are no pairs.\n"
    shown = [f"{one.why}\n{sample_pair(one.pair, budget)}" for one in samples(pairs)]
    return "\n\n".join([*shown, f"These are {len(shown)} of {of:,} pairs."]) + "\n"


def sample_pair(pair: dict[str, Any], budget: int) -> str:
    """One row of a table of pairs: its prompt and answers, each rejected one with where it came from."""
    sizes = f"{_tokens(pair['prompt_tokens'])} of {budget}, {pair['kept']} items"
    lines = [
        f"user {pair['user']}, query {pair['query']}",
        f"prompt, {pair['template']}: {sizes}",
        RULE,
        _shown(pair["prompt"]),
        RULE,
        f"chosen    {_quoted(pair['chosen'])}",
    ]
    for text, words in zip(pair["rejected"], origins(pair), strict=True):
        lines.append(f"rejected  {_quoted(text)}  [{words}]")
    lines.append(f"longest: prompt and answer take {_tokens(pair['longest'])}")
    return "\n".join(lines)


def origins(pair: dict[str, Any]) -> list[str]:
    """Where each rejected answer came from: `retrieved, rank 3`."""
    told = zip(pair["rejected_from"], pair["rejected_rank"], strict=True)
    return [source if rank is None else f"{source}, rank {rank}" for source, rank in told]


def _quoted(answer: str) -> str:
    """An answer as it is, its ends to be seen; a very long one is cut, which is said."""
    return repr(answer) if len(answer) <= LONG else f"{answer[:LONG]!r}... ({len(answer):,} characters)"


def _shown(text: str) -> str:
    return f"{text[:-1]}⏎" if text.endswith("\n") else text


def _tokens(count: int) -> str:
    return f"{count} token{'' if count == 1 else 's'}"


def _ending(encoder: Encoder) -> str:
    return " with the end token" if encoder.eos else ""
