"""The files that one name stands for: a file, a folder, a pattern, a list; and whether their columns agree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from llmrec.data.streams import unpacked
from llmrec.errors import DataFault
from llmrec.recipe.sections import Format, Reading

FORMATS: dict[str, Format] = {
    "csv": "csv", "tsv": "tsv", "tab": "tsv", "dat": "dat", "inter": "inter", "item": "inter", "user": "inter",
    "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl", "parquet": "parquet", "pq": "parquet", "arrow": "arrow",
    "feather": "arrow", "ipc": "arrow", "sqlite": "sqlite", "sqlite3": "sqlite", "duckdb": "duckdb",
}  # fmt: skip
NO_KEY = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Part:
    """One file, and what the names of its folders say of every row: `year=2024/` is a column `year`."""

    path: Path
    keys: dict[str, str | None] = field(default_factory=dict)


def format_of(path: Path, table: Reading) -> Format:
    """The format that the manifest or recipe says, or the file's ending; DataFault where neither tells."""
    if table.format is not None:
        return table.format
    ending = Path(unpacked(path.name)).suffix.lstrip(".").lower()
    if ending not in FORMATS:
        raise DataFault(
            f"{path}: what kind of file is .{ending}? Known are {', '.join(sorted(FORMATS))} (text also with .gz or "
            ".zst). Or say it with format:."
        )
    return FORMATS[ending]


def parts(path: Path, table: Reading, files: Sequence[str] = ()) -> list[Part]:
    """The files in the order in which they are read: those of a list as given, all others by name.

    Of a folder it is every file of a known format in it, at any depth, but for names that begin with `_` or `.`.
    Raises DataFault where there is none, or where they are of several formats.
    """
    if files:
        return [part for file in files for part in parts(path / Path(file).expanduser(), table)]
    if (root := _root(path)) != path:
        found = sorted(root.glob(str(path.relative_to(root))))
        if not found:
            raise DataFault(f"{path}: no file is called like this.")
        every = [part for inner in found for part in (parts(inner, table) if inner.is_dir() else [Part(inner)])]
        return [Part(part.path, _keys(root, part.path)) for part in every]
    if not path.is_dir():
        return [Part(path)]
    if (path / "state.json").is_file():
        return [Part(file) for file in _saved(path)]
    if (path / "dataset_dict.json").is_file():
        splits = sorted(inner.name for inner in path.iterdir() if inner.is_dir())
        raise DataFault(f"{path}: holds several splits; name one of them: {', '.join(str(path / s) for s in splits)}.")
    return _of_folder(path, table)


def _root(path: Path) -> Path:
    """The folder in which a pattern begins, the path itself where it is none; `[` may also be in a folder's name."""
    steps = [*reversed(path.parents), path]
    signed = (step for step in steps if any(sign in step.name for sign in "*?[") and not step.exists())
    return next((step.parent for step in signed), path)


def _of_folder(path: Path, table: Reading) -> list[Part]:
    inside = [file.relative_to(path) for file in sorted(path.rglob("*")) if file.is_file()]
    shown = [file for file in inside if not any(step.startswith(("_", ".")) for step in file.parts)]
    if table.format is None:
        shown = [file for file in shown if Path(unpacked(file.name)).suffix.lstrip(".").lower() in FORMATS]
    if not shown:
        others = f" with no data file in it ({len(inside):,} others)" if inside else ""
        raise DataFault(f"{path}: is a folder{others}; give a file.")
    kinds = {format_of(path / file, table): file for file in shown}
    if len(kinds) > 1:
        told = ", ".join(f"{kind} ({file})" for kind, file in kinds.items())
        raise DataFault(f"{path}: is a folder with files of several formats: {told}. Name one, as in `{path}/*.csv`.")
    return [Part(path / file, _keys(path, path / file)) for file in shown]


def _keys(root: Path, file: Path) -> dict[str, str | None]:
    steps = [step.split("=", 1) for step in file.relative_to(root).parts[:-1] if "=" in step]
    return {name: None if value == NO_KEY else unquote(value) for name, value in steps}


def _saved(path: Path) -> list[Path]:
    """The files of a dataset that `datasets` saved, in its own order."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        names = [str(file["filename"]) for file in state["_data_files"]]
        chosen = state.get("_indices_files")
    except (OSError, ValueError, KeyError, TypeError):
        raise DataFault(f"{path}: its state.json is not one that `datasets` saves.") from None
    if chosen:
        raise DataFault(f"{path}: was saved as a selection of rows; save it anew: ds.flatten_indices().save_to_disk.")
    if any(Path(name).name != name for name in names):
        raise DataFault(f"{path}: its state.json names files elsewhere; not read.")
    return [path / name for name in names]


def agreed(schemas: Mapping[Path, pl.Schema]) -> pl.Schema:
    """One type a column for files whose types differ: whole and other numbers give floats, text with anything text.

    Raises DataFault with the two files where no rule unites them.
    """
    first, *others = schemas
    types = dict(schemas[first])
    origin = dict.fromkeys(types, first)
    for file in others:
        for name, kind in schemas[file].items():
            united = _united(types[name], kind)
            if united is None:
                raise DataFault(
                    f"{file}: column for {name} is {kind}, and in {origin[name]} it is {types[name]}. Write one type "
                    "in all files, or as text."
                )
            if united != types[name]:
                types[name], origin[name] = united, file
    return pl.Schema(types)


def _united(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    if one == other or other == pl.Null:
        return one
    if one == pl.Null:
        return other
    if one.is_integer() and other.is_integer():
        if pl.UInt64 not in (one, other):
            return pl.Int64()
        return pl.UInt64() if one.is_unsigned_integer() and other.is_unsigned_integer() else pl.String()
    if one.is_numeric() and other.is_numeric():
        return pl.Float64()
    if pl.String in (one, other) and not (one.is_nested() or other.is_nested()):
        return pl.String()
    if {one.base_type(), other.base_type()} <= {pl.Date, pl.Datetime}:
        return pl.Datetime("us", "UTC")
    return None
