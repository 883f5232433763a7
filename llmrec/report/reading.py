"""What only a report reads of a run folder: logs, and how long tables are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.errors import RunFault
from llmrec.evaluate.reading import Json

Rows = list[Json]


def height(path: Path) -> int | None:
    """How many rows a Parquet file has."""
    return int(pl.scan_parquet(path).select(pl.len()).collect().item()) if path.is_file() else None


def read_log(path: Path) -> Rows:
    """The mappings of a JSON-lines log; its last line may be half-written, since a run can be stopped."""
    if not path.is_file():
        return []
    rows: Rows = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise RunFault(f"{path}:{number}: is not JSON. Remove the line, or run the stage again.") from None
        if isinstance(row, dict):
            rows.append(row)
    return rows


def mapping(content: Any) -> Json:
    """A part of a file, where it is a mapping; else nothing, since parts may be missing."""
    return content if isinstance(content, dict) else {}
