"""The dataset card beside the pairs: what they are, how they were made, and how far to trust the mining."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from llmrec.columns import ITEM, QUERY, RANK, TARGET
from llmrec.files import digest, write_text
from llmrec.pairs.build import PAIRS_SCHEMA
from llmrec.pairs.export import read_pairs
from llmrec.pairs.histograms import popularity_rows, rank_rows

FOLDS = ("train", "valid")
# What the hub knows by these names; any other licence is `other` with a name of its own.
LICENCES = {
    "mit", "apache-2.0", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "odbl", "unknown",
}  # fmt: skip
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
GUARDED = {
    "touched": "what the user took up, as far as `pairs.guard.after` looks",
    "same_title": "another item that reads like one of those, like the target, or like one rejected already",
    "near_text": "an item that reads nearly like one of those (`pairs.guard.near_text`)",
}
SCHEMA = {
    "query, user": "who was asked, and when in their history",
    "template": "name and version of the prompt template",
    "prompt": "what the model reads; it ends where the answer begins",
    "chosen": "what the user went on to choose, with the space that it begins with",
    "rejected": "list: what they might have been offered instead",
    "chosen_item, rejected_items": "the same as item codes of the catalogue",
    "rejected_from": "list: the source of each rejected item",
    "rejected_rank, rejected_score": "lists: rank and score at that source; null where it has none",
    "kept": "items of the history that the prompt shows, the latest ones",
    "titles": "list: where the history's titles stand in the prompt, start and end of each, in characters",
    "prompt_tokens, longest": "tokens of the prompt, and of the prompt with its longest answer",
    "round": "which round of mining the pair comes from",
}


def recall(ranking: pl.DataFrame, queries: pl.DataFrame, at: Sequence[int] = (10, 50, 100)) -> dict[int, float]:
    """The share of queries whose target the ranking has among its first n, for each n; queries not ranked are misses.

    Read columns: query, item, rank; query, target. Without queries the shares are nan.
    """
    places = queries.select(QUERY, pl.col(TARGET).alias(ITEM)).join(
        ranking.select(QUERY, ITEM, RANK), on=[QUERY, ITEM], how="left"
    )[RANK]
    return {
        n: float((places.fill_null(n + 1) <= n).cast(pl.Float64).sum()) / (queries.height or float("nan")) for n in at
    }


def write_card(
    out: Path,
    *,
    dataset: str,
    licence: str | None,
    command: str,
    shares: Mapping[str, float],
    licence_url: str | None = None,
    citation: str | None = None,
    tokenizer: str | None = None,
    miner: Mapping[str, Mapping[int, float]] | None = None,
    played: Mapping[int, float] | None = None,
    guards: Mapping[str, int] | None = None,
    counts: pl.DataFrame | None = None,
    left_out: Mapping[str, int] | None = None,
) -> Path:
    """Writes README.md for the folder's train.parquet and valid.parquet, with the front matter that the hub reads.

    `licence` and `citation` come from the dataset's manifest (none: `unknown`), `command` rebuilds the pairs, `shares`
    are those asked of each source, `miner` is `recall` by what was ranked: {"training queries": {10: .2}, "validation":
    {10: .1}}, `played` that of the adapter that played itself. `guards` counts the draws that each guard took out,
    `counts` has each item's training count (item, count), `left_out` counts the rows of interactions that were left
    out, by reason. Raises DataFault when a table is missing or is none of pairs.
    """
    counted = [name for name in PAIRS_SCHEMA if name not in ("prompt", "chosen", "rejected", "titles")]
    tables = {fold: read_pairs(out / f"{fold}.parquet", counted) for fold in FOLDS}
    text = "\n".join(
        [
            "---",
            yaml.safe_dump(_front(dataset, licence, licence_url, tables), sort_keys=False, allow_unicode=True).rstrip(),
            "---",
            "",
            f"# Preference pairs from {dataset}",
            "",
            "Each row is a user's history as a prompt, the item that they went on to choose, and items that are",
            "rejected beside it. Made by llmrec with",
            "",
            "```",
            command,
            "```",
            "",
            *_counts(tables, tokenizer),
            *_left_out(left_out),
            *_sources(tables["train"], shares, counts),
            *_guards(guards),
            *_mining(miner or {}),
            *_played(played),
            "## Columns",
            "",
            *_table(["column", "what it is"], [[f"`{name}`", words] for name, words in SCHEMA.items()]),
            "",
            "TRL reads one rejected answer a row: `llmrec export train.parquet --format trl PATH`.",
            "",
            "## Files",
            "",
            *_table(
                ["file", "rows", "sha256"],
                [
                    [f"{fold}.parquet", f"{table.height:,}", digest(out / f"{fold}.parquet")]
                    for fold, table in tables.items()
                ],
            ),
            "",
            "## Licence",
            "",
            f"The prompts and answers are text of {dataset}, under its licence: "
            f"{(licence or 'unknown; ask its owner').rstrip('.')}" + (f" ({licence_url})." if licence_url else "."),
            *(["", "## Citation", "", citation.strip()] if citation and citation != "none" else []),
            "",
        ]
    )
    return write_text(text, out / "README.md")


def _front(dataset: str, licence: str | None, url: str | None, tables: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    front: dict[str, Any] = {"pretty_name": f"Preference pairs from {dataset}"}
    known = (licence or "unknown").lower()
    if known in LICENCES:
        front["license"] = known
    else:
        front |= {"license": "other", "license_name": licence} | ({"license_link": url} if url else {})
    rows = sum(table.height for table in tables.values())
    return front | {
        "task_categories": ["text-generation"],
        "tags": ["recommendation", "preference", "orpo", "llmrec"],
        "size_categories": [next((name for limit, name in SIZES if rows < limit), "n>1M")],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": fold, "path": f"{fold}.parquet"} for fold in tables],
            }
        ],
    }


def _counts(tables: Mapping[str, pl.DataFrame], tokenizer: str | None) -> list[str]:
    rows = []
    for fold, table in tables.items():
        if table.height:
            tokens, kept = table["prompt_tokens"].to_numpy(), table["kept"].to_numpy()
            rejected = table["rejected_items"].list.len().to_numpy()
            numbers = [f"{np.median(tokens):.0f}", f"{table['longest'].to_numpy().max()}"]
            numbers += [f"{kept.mean():.1f}", f"{rejected.mean():.1f}"]
        else:
            numbers = ["", "", "", ""]
        rows.append([fold, f"{table.height:,}", f"{table['user'].n_unique():,}", *numbers])
    templates = sorted({name for table in tables.values() for name in table["template"].unique()})
    made = f"Template {', '.join(templates) or 'none'}; tokens are {tokenizer or 'the training tokenizer'}'s."
    heads = ["fold", "pairs", "users", "prompt tokens, median", "longest with answer", "items shown", "rejected a pair"]
    return ["## Counts", "", *_table(heads, rows), "", made, ""]


def _left_out(reasons: Mapping[str, int] | None) -> list[str]:
    if reasons is None:
        return []
    if not reasons:
        return ["No row of the interactions was left out.", ""]
    words = f"Rows of the interactions that were left out, {sum(reasons.values()):,} in all, by reason:"
    rows = [[reason, f"{count:,}"] for reason, count in reasons.items()]
    return [words, "", *_table(["reason", "rows"], rows), ""]


def _sources(train: pl.DataFrame, shares: Mapping[str, float], counts: pl.DataFrame | None) -> list[str]:
    found = Counter(train["rejected_from"].explode().drop_nulls().to_list())
    total, asked = sum(found.values()) or 1, sum(shares.values()) or 1
    rows = [
        [name, f"{shares.get(name, 0) / asked:.1%}", f"{found[name] / total:.1%}", f"{found[name]:,}"]
        for name in sorted({*found, *shares})
    ]
    words = "Where rejected items of `train` come from. What a source that ran out could not give came from `uniform`."
    lines = ["## Sources", "", words, "", *_table(["source", "asked", "got", "items"], rows), ""]
    if counts is not None and train.height:
        words = (
            "How popular they are: by tenths of the catalogue, from the items least met in training to those most met."
        )
        heads = ["source", "items", "tenths", "median percentile"]
        lines += [words, "", *_table(heads, popularity_rows(train, counts)), ""]
    if ranked := rank_rows(train):
        words = "At which rank their source had them, by tenths between the first and the last of these."
        lines += [words, "", *_table(["source", "items", "ranks", "tenths", "median rank"], ranked), ""]
    return lines


def _guards(counts: Mapping[str, int] | None) -> list[str]:
    if counts is None:
        return []
    words = "Draws for `train` that were taken out, so that nobody is taught to reject what they like."
    rows = [[f"`{name}`", GUARDED[name], f"{count:,}"] for name, count in counts.items()]
    return ["## Guards", "", words, "", *_table(["guard", "what it takes out", "draws"], rows), ""]


def _played(shares: Mapping[int, float] | None) -> list[str]:
    if not shares:
        return []
    words = [
        "`self_play` draws from what the adapter of the round before ranked, for queries that it was not tuned on.",
        f"Their targets are its first in {shares[min(shares)]:.1%}" + "".join(
            f", and among its first {n} in {shares[n]:.1%}" for n in sorted(shares)[1:]
        ) + " of them.",
    ]  # fmt: skip
    return ["## Self-play", "", *words, ""]


def _mining(miner: Mapping[str, Mapping[int, float]]) -> list[str]:
    if not miner:
        return []
    depths = sorted({n for shares in miner.values() for n in shares})
    rows = [[name, *(f"{shares[n]:.3f}" if n in shares else "" for n in depths)] for name, shares in miner.items()]
    words = [
        "Recall of the retriever that mined them: the share of targets among its first n. It was fitted on positions",
        "before the training queries; if it finds their targets much more often than the validation's, it has seen",
        "too much.",
    ]
    return ["## Mining", "", *words, "", *_table(["queries", *(f"recall@{n}" for n in depths)], rows), ""]


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]
