"""The files of a run folder: one that is absent is empty, one that cannot be read is a RunFault that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from llmrec.errors import RunFault

Json = dict[str, Any]


def read_json(path: Path) -> Json:
    """A mapping from a JSON file that a stage wrote."""
    return _read(path, json.loads, "Remove the file to run its stage again.")


def read_yaml(path: Path) -> Json:
    """A mapping from a YAML file: a run's recipe."""
    return _read(path, yaml.safe_load, "`llmrec run RECIPE` writes it anew.")


def _read(path: Path, parsed: Callable[[str], Any], remedy: str) -> Json:
    try:
        content = parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, ValueError, OSError) as fault:
        raise RunFault(f"{path}: cannot be read ({' '.join(str(fault).split())}). {remedy}") from None
    if not isinstance(content, dict):
        raise RunFault(f"{path}: holds {type(content).__name__}, and a mapping was expected. {remedy}")
    return content
