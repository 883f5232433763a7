"""Reading recipes: every fault at once, each at its own line; and writing them out whole.

loaded = load_recipe("quickstart", ["seed=11", "train.learning_rate=1e-4"])
loaded.recipe.seed, loaded.here
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from llmrec import resources
from llmrec.errors import RecipeFault, UserError
from llmrec.recipe import borrowed
from llmrec.recipe.faults import faults_in
from llmrec.recipe.sections import Recipe
from llmrec.recipe.source import COMMAND_LINE, Key, Source, read
from llmrec.recipe.words import near


@dataclass(frozen=True)
class Loaded:
    """A recipe that holds, and where it was read: `here` is the folder that its relative paths start from."""

    recipe: Recipe
    path: Path
    here: Path


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Loaded:
    """The recipe of that path or shipped name, with `dotted.key=value` overrides laid over it.

    Raises RecipeFault with a line for every fault: `file:line: key: fault, what was found, what to do`.
    """
    try:
        path = resources.find("recipes", name_or_path)
    except UserError as fault:
        raise RecipeFault(str(fault)) from None
    source = read(path, _shown(path))
    wrong = []
    for override in overrides:
        try:
            source.put(override)
        except RecipeFault as fault:
            wrong += fault.faults
    rooted(source.value, path.parent, astray=True)
    faults = [
        *source.faults,
        *faults_in(source.value),
        *_unknown_names(source.value, path.parent),
        *_unknown_starts(source.value, path.parent),
    ]
    if faults or wrong:
        raise RecipeFault([*_lines(source, faults), *wrong])
    return Loaded(Recipe.model_validate(source.value), path, path.parent)


def dump_recipe(recipe: Recipe, *, here: Path | None = None) -> str:
    """The recipe as YAML with every default of llmrec's filled in; it loads back to the same recipe.

    With `here`, the folder that it was read in, relative paths to files that exist are made absolute, so that the text
    means the same in another folder. Fields of `train` and `lora` that it does not name keep their libraries' defaults.
    """
    values = recipe.model_dump(by_alias=True)
    if here is not None:
        rooted(values, here)
    made = " and ".join(f"{library} {version}" for library, version in borrowed.table()["versions"].items())
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return f"# Every default filled in; in train and lora, what is not named has the default of {made}.\n{text}"


class _Dumper(yaml.SafeDumper):
    """PyYAML writes line separators of Unicode as they are, and reads them back as spaces: quote them."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        odd = any(ch in "\x85\u2028\u2029\ufeff" or not (ch.isprintable() or ch == "\n") for ch in data)
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if odd else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def rooted(values: dict[str, Any], here: Path, *, astray: bool = False) -> dict[Key, str]:
    """Makes relative paths to existing files absolute, in place; gives key path -> new value for those that changed.

    `astray`: only those that would not be found from `here` (the sample data of a recipe inside a wheel).
    """
    changed: dict[Key, str] = {}
    for key in PATHS:
        inner: Any = values
        for part in key[:-1]:
            inner = inner.get(part) if isinstance(inner, dict) else None
        value = inner.get(key[-1]) if isinstance(inner, dict) else None
        holder: Any = value if isinstance(value, list) else inner
        places: Any = range(len(value)) if isinstance(value, list) else key[-1:]
        for at in places if value else ():
            one = holder[at]
            if isinstance(one, str) and one and not Path(one).is_absolute():
                meant = _meant(here, one, pattern=key != ("data", "dataset"))
                if meant is not None and not (astray and meant == here / one):
                    holder[at] = changed[(*key, at) if holder is value else key] = os.path.abspath(meant)
    return changed


def _meant(here: Path, path: str, *, pattern: bool) -> Path | None:
    """The file or folder; of a manifest's part (`mine.yaml?category=Books`) and of a pattern, what it is a part of."""
    if pattern and any(sign in path for sign in "*?[") and (here / path).parent.is_dir():
        return here / path
    meant = resources.beside(here, path)
    if meant is not None or pattern or "?" not in path:
        return meant
    file, _, part = path.partition("?")
    meant = resources.beside(here, file)
    return None if meant is None else meant.with_name(f"{meant.name}?{part}")


PATHS: tuple[tuple[str, ...], ...] = (
    ("data", "dataset"),
    ("data", "path"),
    ("data", "items", "path"),
    ("prompt", "template"),
    ("model", "name"),
    ("lora", "init_from"),
)


def _unknown_names(values: dict[str, Any], here: Path) -> list[tuple[Key, str]]:
    """Faults of names that are neither shipped nor files: the dataset, the prompt template."""
    faults: list[tuple[Key, str]] = []
    asked: dict[resources.Kind, tuple[str, str]] = {"data": ("data", "dataset"), "prompts": ("prompt", "template")}
    for kind, key in asked.items():
        section = values.get(key[0])
        name = section.get(key[1]) if isinstance(section, dict) else None
        if isinstance(name, str):
            try:
                whole = name.partition("?")[0] if kind == "data" else name
                resources.find(kind, whole, here=here)
            except UserError:
                faults.append((key, f"found {name}: {resources.unknown(kind, whole)}"))
    return faults


def _unknown_starts(values: dict[str, Any], here: Path) -> list[tuple[Key, str]]:
    """Faults of `lora.init_from`: a bare name that is neither an arm nor a folder, and fields that it overrules."""
    faults: list[tuple[Key, str]] = []
    arms = values.get("arms")
    arms = arms if isinstance(arms, dict) else {}
    for key, section in [((), values), *((("arms", name), arm) for name, arm in arms.items())]:
        lora = section.get("lora") if isinstance(section, dict) else None
        if not isinstance(lora, dict) or not isinstance(start := lora.get("init_from"), str):
            continue
        if start not in arms and Path(start).name == start and not (here / start).is_dir():
            names = near(start, map(str, arms)) or f"; arms: {', '.join(map(str, arms)) or 'none'}"
            faults.append(((*key, "lora", "init_from"), f"found {start}, neither an arm nor a folder here{names}"))
        beside = [field for field in lora if field != "init_from"]
        faults += [
            ((*key, "lora", field), "the adapter of init_from brings its own; take one away") for field in beside
        ]
    return faults


def _lines(source: Source, faults: list[tuple[Key, str]]) -> list[str]:
    """One line a fault, the file's first and in its order, the command line's after them."""
    lines = []
    for key, words in dict.fromkeys(faults):
        spot = source.spot(key)
        dotted = ".".join(str(part) for part in key)
        place = spot.place if spot.place == COMMAND_LINE else f"{spot.place}:{spot.line}"
        lines.append(
            (spot.place == COMMAND_LINE, spot.line, f"{place}: {dotted}: {words}" if dotted else f"{place}: {words}")
        )
    return [line for _, _, line in sorted(lines, key=lambda line: line[:2])]


def _shown(path: Path) -> str:
    """The path as a person would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
