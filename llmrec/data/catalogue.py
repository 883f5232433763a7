"""The catalogue: every item that anybody met, with a code, the owner's key and a text to read.

catalogue   item: i32, key: str, <text fields>: str, text: str, count: i64 in training
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from difflib import get_close_matches

import polars as pl

from llmrec.columns import COUNT, ITEM, KEY, TEXT, TIME, USER
from llmrec.data.dropped import Dropped
from llmrec.data.keys import key, plain
from llmrec.data.manifest import Table
from llmrec.data.readers import LINE, Rows
from llmrec.errors import DataFault

RESERVED = (LINE, USER, ITEM, TIME, "rating", "behaviour", "shown", TEXT, COUNT, KEY)
YEAR = r"^(.*?)\s*\((\d{4})\)(?:\s*\(V\))?\s*$"  # `Heat (1995)`; MovieLens marks films made for video with (V)


@dataclass(frozen=True)
class Described:
    """Items with their text fields (`table`: key, fields as strings, null where empty), whoever met them."""

    table: pl.DataFrame

    @property
    def fields(self) -> list[str]:
        """Names of the text fields."""
        return [c for c in self.table.columns if c != KEY]


def described(rows: Rows, table: Table, *, file: str, dropped: Dropped) -> Described:
    """Items from a file of items: one row each, the first where a key repeats; the rest goes to `dropped`."""
    dropped.add(file, rows.bad)
    plain(rows.table, [ITEM], where=file)
    plain(rows.table, [name for name in rows.table.columns if name != ITEM], where=file, lists=True)
    items = rows.table.with_columns(key(rows.table[ITEM]).alias(ITEM))
    dropped.add(file, items.filter(pl.col(ITEM).is_null()), "no item")
    items = items.filter(pl.col(ITEM).is_not_null())
    again = ~pl.col(ITEM).is_first_distinct()
    dropped.add(file, items.filter(again), "the same item again in the items file")
    return Described(fields(items.filter(~again).drop(LINE).rename({ITEM: KEY}), table))


def first_texts(table: pl.DataFrame, by: str) -> pl.DataFrame:
    """For each value of the column `by`, in order, and each other column: the first text that is not empty."""
    texts = [c for c in table.columns if c != by]
    cleaned = table.select(by, *[_clean(c, table.schema[c]) for c in texts])
    return cleaned.group_by(by, maintain_order=True).agg(pl.col(c).drop_nulls().first() for c in texts)


def fields(items: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The text fields as the manifest wants them: corrected, lists joined, flags named, years split off titles."""
    for name, flags in table.flags.items():
        on = pl.concat_list(pl.when(pl.col(f).cast(pl.String) == "1").then(pl.lit(f)) for f in flags)
        items = items.with_columns(on.list.drop_nulls().list.sort().list.join(", ").alias(name)).drop(flags)
    for name, between in table.lists.items():
        parts = pl.col(name).cast(pl.String).str.split(between).list.eval(pl.element().str.strip_chars())
        items = items.with_columns(parts.list.sort().list.join(", ").alias(name))
    for name, corrections in table.replace.items():
        items = items.with_columns(pl.col(name).cast(pl.String).replace(corrections))
    items = items.with_columns(_clean(c, items.schema[c]) for c in items.columns if c != KEY)
    if table.year_from is not None:
        name = table.year_from
        year = pl.col(name).str.extract(YEAR, 2)
        told = pl.when(pl.col("year").str.contains(r"^\d{4}$")).then("year") if "year" in items.columns else None
        items = items.with_columns(
            pl.coalesce(pl.col(name).str.extract(YEAR, 1), name).alias(name),
            (year if told is None else pl.coalesce(year, told)).alias("year"),
        )
    return items.select(KEY, *sorted((c for c in items.columns if c != KEY), key=_place))


def catalogue(items: pl.DataFrame, found: Described, *, text: str, where: str) -> tuple[pl.DataFrame, int]:
    """(The items of the code table `items` (key, code) with their fields and text, how many had no name of their own.)

    `text` is a format string over the fields and `key`. An item whose first field is empty reads as its key. Raises
    DataFault where `text` names a field that the catalogue does not have.
    """
    asked = _asked(text, found.fields, where)
    taken = [c for c in found.fields if c in RESERVED]
    if taken:
        raise DataFault(f"{where}: an item field cannot be called {taken[0]}; give it another name in `columns`.")
    table = items.rename({"code": ITEM}).join(found.table, on=KEY, how="left", maintain_order="left")
    named = pl.col(asked[0]).is_not_null() if asked else pl.lit(True)
    table = table.with_columns(pl.when(named).then(_rendered(text)).alias(TEXT))
    nameless = pl.col(TEXT).is_null() | (pl.col(TEXT) == "")
    untitled = table.select(nameless.sum()).item()
    table = table.with_columns(pl.when(nameless).then(pl.col(KEY)).otherwise(pl.col(TEXT)).alias(TEXT))
    return table.select(ITEM, KEY, *found.fields, TEXT).sort(ITEM), int(untitled)


def placeholders(text: str) -> list[str]:
    """The names in a format string like `{title} ({year})`; DataFault where it has anything but plain names."""
    try:
        parts = [part for part in string.Formatter().parse(text) if part[1] is not None]
    except ValueError as fault:
        raise DataFault(f"data.text {text!r} is no format string: {fault}.") from None
    for _, name, spec, turn in parts:
        if spec or turn or not str(name).isidentifier():
            raise DataFault(f"data.text {text!r}: {{{name}}} is no plain field name; write {{title}} or {{key}}.")
    return [str(part[1]) for part in parts]


def _asked(text: str, known: list[str], where: str) -> list[str]:
    names = placeholders(text)
    for name in names:
        if name not in [*known, KEY]:
            near = get_close_matches(name, [*known, KEY], n=1)
            hint = f" Did you mean {{{near[0]}}}?" if near else ""
            raise DataFault(
                f"data.text {text!r} asks for {{{name}}}, and items of {where} have {', '.join(known) or 'no text'} "
                f"(and key).{hint} Map the column with data.columns or data.items, or change data.text."
            )
    return names


def _rendered(text: str) -> pl.Expr:
    """The format string, filled in; brackets that stay empty for want of a value go, and so do doubled spaces."""
    parts: list[pl.Expr] = []
    for literal, name, _, _ in string.Formatter().parse(text):
        parts += [pl.lit(literal)] if literal else []
        parts += [pl.col(name).fill_null("")] if name else []
    whole = pl.concat_str(parts) if parts else pl.lit("")
    return whole.str.replace_all(r"\(\s*\)|\[\s*\]", "").str.replace_all(r"\s+", " ").str.strip_chars()


def _place(field: str) -> tuple[int, str]:
    """Title and year first, then by name: the same whatever order a source has its columns in."""
    return (("title", "year").index(field) if field in ("title", "year") else 2, field)


def _clean(name: str, kind: pl.DataType) -> pl.Expr:
    """Text on one line: titles are data, and a line end in one would be read as the end of a title."""
    column = pl.col(name).list.eval(pl.element().cast(pl.String)).list.join(", ") if kind == pl.List else pl.col(name)
    if kind.is_float():  # years that met a missing value in pandas: 1995.0
        column = pl.when(column.is_finite()).then(column).cast(pl.String).str.strip_suffix(".0")
    text = column.cast(pl.String, strict=False).str.replace_all(r"[\s\p{Cc}\u2028\u2029]+", " ").str.strip_chars()
    return pl.when(text != "").then(text).alias(name)
