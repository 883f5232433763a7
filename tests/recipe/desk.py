"""A desk to write recipes on: the smallest recipe that holds, and what the loader says about a worse one."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from llmrec.errors import RecipeFault
from llmrec.recipe.loader import load_recipe
from llmrec.recipe.sections import Recipe

SMALL = """\
name: small
data: {path: films.csv}
model: {build: {}}
"""


def written(folder: Path, text: str, name: str = "r.yaml") -> Path:
    """The text as a recipe file."""
    path = folder / name
    path.write_text(dedent(text), encoding="utf-8")
    return path


def read(folder: Path, text: str, *overrides: str) -> Recipe:
    """The recipe that the text says, completed with what every recipe needs."""
    return load_recipe(written(folder, SMALL + dedent(text)), overrides).recipe


def faults(folder: Path, text: str, *overrides: str, small: bool = True) -> list[str]:
    """What the loader has against the text, each fault without its folder."""
    path = written(folder, (SMALL if small else "") + dedent(text))
    with pytest.raises(RecipeFault) as caught:
        load_recipe(path, overrides)
    return [fault.replace(f"{folder}/", "") for fault in caught.value.faults]


def fault(folder: Path, text: str, *overrides: str) -> str:
    """The one thing that the loader has against the text (which follows the three lines of SMALL)."""
    (only,) = faults(folder, text, *overrides)
    return only
