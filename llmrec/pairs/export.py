"""Pairs in the forms that trainers read.

trl              prompt, chosen, rejected: text, one rejected answer a row (TRL's standard preference format)
conversational   the same as lists of {role, content}, for models with a chat template
sft              prompt, completion: the chosen answer only, one row a pair
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from llmrec.errors import DataFault
from llmrec.files import replacing
from llmrec.pairs.build import PAIRS_SCHEMA, exploded
from llmrec.ranking import write_parquet


def trl(pairs: pl.DataFrame) -> pl.DataFrame:
    """prompt, chosen, rejected: one row a rejected answer."""
    return exploded(pairs).select("prompt", "chosen", "rejected")


def conversational(pairs: pl.DataFrame) -> pl.DataFrame:
    """The same, each a conversation; answers lose the space that they begin with, as templates put their own."""
    return trl(pairs).select(
        _said("user", pl.col("prompt")).alias("prompt"),
        _said("assistant", pl.col("chosen").str.strip_chars_start()).alias("chosen"),
        _said("assistant", pl.col("rejected").str.strip_chars_start()).alias("rejected"),
    )


def sft(pairs: pl.DataFrame) -> pl.DataFrame:
    """prompt, completion: one row a pair."""
    return pairs.select("prompt", pl.col("chosen").alias("completion"))


FORMS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {"trl": trl, "conversational": conversational, "sft": sft}


def export(pairs_path: Path, form: str, out: Path) -> int:
    """Writes the pairs of a Parquet file in one of FORMS, as Parquet or JSON lines by `out`'s ending; returns its rows.

    Raises DataFault on an unknown form or ending, and on a file that does not hold pairs. `datasets.load_dataset` reads
    either: `load_dataset("parquet", data_files="pairs-trl.parquet")`.
    """
    if form not in FORMS:
        raise DataFault(f"export: no form {form!r}; known are {', '.join(FORMS)}.")
    if out.suffix not in (".parquet", ".jsonl"):
        raise DataFault(f"{out}: ends in {out.suffix or 'nothing'}; give a path that ends in .parquet or .jsonl.")
    table = FORMS[form](read_pairs(pairs_path))
    if out.suffix == ".parquet":
        write_parquet(table, out)
    else:
        with replacing(out) as partial:
            table.write_ndjson(partial)
    return table.height


def read_pairs(path: Path) -> pl.DataFrame:
    """A table of pairs from Parquet, checked for its columns, or DataFault."""
    try:
        table = pl.read_parquet(path)
    except FileNotFoundError:
        raise DataFault(f"{path}: no such file. Pairs are written by `llmrec pairs RECIPE`.") from None
    except (OSError, pl.exceptions.PolarsError) as fault:
        raise DataFault(f"{path}: not a Parquet file that can be read ({str(fault).splitlines()[0]}).") from None
    missing = [name for name in PAIRS_SCHEMA if name not in table.columns]
    if missing:
        raise DataFault(
            f"{path}: not a table of pairs: {', '.join(missing)} missing; found {', '.join(table.columns)}."
        )
    return table


def _said(role: str, text: pl.Expr) -> pl.Expr:
    """A conversation of one message: list[struct{role, content}]."""
    return pl.concat_list(pl.struct(pl.lit(role).alias("role"), text.alias("content")))
