"""The shelf of shipped recipes: what is on it, taking one home, checking many."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from llmrec import resources
from llmrec.errors import RecipeFault
from llmrec.files import write_text
from llmrec.recipe.loader import load_recipe, rooted
from llmrec.recipe.source import read

MODELINE = re.compile(r"^# yaml-language-server:.*\n", re.MULTILINE)


def catalogue() -> list[dict[str, str]]:
    """The shipped recipes: name, path and the first sentence of the comment that each begins with."""
    found = []
    for name in resources.shipped("recipes"):
        path = resources.find("recipes", name)
        found.append({"name": name, "about": _about(path.read_text(encoding="utf-8")), "path": str(path)})
    return found


def copied(name: str, to: Path, *, force: bool = False) -> Path:
    """Copies a recipe's text, comments and all; relative paths to files that exist are made absolute.

    Raises RecipeFault where a file stands already, unless forced, and where the recipe does not hold.
    """
    loaded = load_recipe(name)
    target = to / loaded.path.name if to.is_dir() else to
    if target.suffix not in (".yaml", ".yml"):
        raise RecipeFault(f"{target}: a recipe's name ends in .yaml")
    if target.exists() and not force:
        raise RecipeFault(f"{target}: is there already; choose another name, or --force to write over it")
    source = read(loaded.path)
    lines = loaded.path.read_text(encoding="utf-8").splitlines(keepends=True)
    before = {key: source.spot(key) for key in source.spots}
    for key, path in rooted(source.value, loaded.here).items():
        spot = before[key]
        lines[spot.line - 1] = lines[spot.line - 1].replace(str(spot.written), path)
    # The schema lies beside the shipped recipe only; `llmrec recipes schema` prints it for other places.
    return write_text(MODELINE.sub("", "".join(lines)), target)


def checked(paths: Iterable[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Each recipe with its faults, folders taken whole. Launch files (`accelerate/`) are no recipes."""
    for path in paths:
        inside = sorted(p for p in path.rglob("*.y*ml") if p.parent.name != "accelerate") if path.is_dir() else [path]
        if not inside:
            yield path, [f"{path}: no recipes in this folder"]
        for one in inside:
            try:
                load_recipe(one)
            except RecipeFault as fault:
                yield one, fault.faults
            else:
                yield one, []


def _about(text: str) -> str:
    """The first paragraph of the comment at the top, without the editor's line."""
    words = []
    for line in MODELINE.sub("", text).splitlines():
        if not line.startswith("#") or line.strip() == "#":
            break
        words.append(line.lstrip("# ").strip())
    return " ".join(words)
