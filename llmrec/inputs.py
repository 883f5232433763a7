"""What is in the files that a recipe names: a stage is done anew when they change, and not when they only move.

A fingerprint that held paths would take the same path in another folder for the same file, and an edited file for the
one that was read. So every path in a recipe is replaced by the file's name and the hash of its content; model folders,
which may hold gigabytes, by the names, sizes and times of their files.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from llmrec import resources
from llmrec.data.manifest import find_manifest
from llmrec.data.parts import parts
from llmrec.data.remote import is_address
from llmrec.data.sources import place
from llmrec.errors import UserError
from llmrec.files import digest
from llmrec.recipe.sections import Reading, Recipe


def known_by_content(recipe: Recipe, here: Path) -> dict[str, Any]:
    """The recipe's values, each path among them replaced by what lies there; `here` is where relative paths start.

    A path where nothing lies stays as it is: the stage that needs it says so.
    """
    values = recipe.model_dump(mode="json", by_alias=True)
    data, prompt, model, lora = (values[name] for name in ("data", "prompt", "model", "lora"))
    data["path"] = _content(here, data["path"])
    if data["items"] is not None:
        data["items"]["path"] = _content(here, data["items"]["path"])
    data["dataset"] = _dataset(data["dataset"], here)
    prompt["template"] = _shipped("prompts", prompt["template"], here)
    prompt["mix"] = [_shipped("prompts", name, here) for name in prompt["mix"]]
    model["name"] = _weights(here, model["name"])
    if lora.get("init_from") is not None:
        lora["init_from"] = _weights(here, lora["init_from"])
    return values


def _content(here: Path, path: str | list[str] | None) -> Any:
    """Each file's name and hash. An address stays one: what lies there is the store's to keep as it is."""
    if isinstance(path, list):
        return [_content(here, one) for one in path]
    if path is None or is_address(path):
        return path
    found = here / Path(path).expanduser()
    if found.is_file():
        return {"file": found.name, "sha256": _digest(found)}
    try:
        inside = [part.path for part in parts(found, Reading())]
    except UserError:
        return path
    start = os.path.commonpath([file.parent for file in inside])
    files = [file for file in inside if file.is_file()]
    return [{"file": str(file.relative_to(start)), "sha256": _digest(file)} for file in files] or path


def _shipped(kind: resources.Kind, name: str, here: Path) -> Any:
    try:
        return {"sha256": _digest(resources.find(kind, name, here=here))}
    except UserError:
        return name


def _dataset(name: str | None, here: Path) -> Any:
    """What the manifest fetches and how it reads, and the files of one's own that it reads where they lie."""
    if name is None:
        return None
    try:
        manifest, folder = find_manifest(name, here)
    except UserError:
        return name
    local = [
        str(place(manifest, fetch, folder) / fetch.path)
        for source in manifest.sources
        for fetch in source.files
        if fetch.path is not None
    ]
    return {
        **manifest.model_dump(mode="json", include={"name", "sources", "rows_sha256"}),
        "files": [_content(folder, file) for file in local],
    }


def _weights(here: Path, name: str | None) -> Any:
    """A model's folder or file; a hub id stays one."""
    if name is None:
        return None
    places = [here / Path(name).expanduser(), Path(name).expanduser()]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        return name
    files = sorted(p for p in found.rglob("*") if p.is_file()) if found.is_dir() else [found]
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]


def _digest(path: Path) -> str:
    state = path.stat()
    return _digest_of(path, state.st_size, state.st_mtime_ns)


@functools.cache
def _digest_of(path: Path, size: int, changed: int) -> str:
    """Read once, however many arms ask."""
    return digest(path)
