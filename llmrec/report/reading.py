"""The files of a run folder: one that is absent is empty, one that cannot be read is a RunFault that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from llmrec.errors import RunFault

Json = dict[str, Any]
Rows = list[Json]


def read_json(path: Path) -> Json:
    """A mapping from a JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as fault:
        raise RunFault(f"{path}: cannot be read ({fault}). Run its stage again.") from None
    return _checked(content, path)


def read_yaml(path: Path) -> Json:
    """A mapping from a YAML file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, ValueError, OSError) as fault:
        raise RunFault(f"{path}: cannot be read ({' '.join(str(fault).split())}). Run `llmrec run` again.") from None
    return _checked(content, path)


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


def _checked(content: Any, path: Path) -> Json:
    if not isinstance(content, dict):
        raise RunFault(f"{path}: holds {type(content).__name__}, and a mapping was expected. Run its stage again.")
    return content
