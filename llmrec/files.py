"""Files that a reader meets whole or not at all, and what is in them as a checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its name at the end; where the writing fails, `path` is as it was.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "new" / "film.txt"
    >>> with replacing(path) as partial:
    ...     _ = partial.write_text("Heat")
    >>> path.read_text(), [file.name for file in path.parent.iterdir()]
    ('Heat', ['film.txt'])
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(text: str, path: Path) -> Path:
    """Writes UTF-8, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def write_json(content: Any, path: Path) -> Path:
    """Writes JSON, whole or not at all; nan and infinity, which JSON does not have, are bugs of ours and refused."""
    return write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)


def digest(path: Path, kind: str = "sha256", *, skip_header: bool = False) -> str:
    """The checksum of a file in hex digits, its first line left out if asked."""
    with path.open("rb") as file:
        if skip_header:
            file.readline()
        state = hashlib.new(kind, usedforsecurity=False)
        while piece := file.read(1 << 20):
            state.update(piece)
    return state.hexdigest()
