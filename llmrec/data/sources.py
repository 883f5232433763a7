"""Brings a dataset's files here: fetched in the manifest's order, verified before use, kept for the next time.

The cache is `LLMREC_HOME` (or the XDG cache's `llmrec`), one folder a dataset and source. It holds only the tables that
the manifest names, and `origin.json` with their checksums: a cache that no longer matches is fetched again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from llmrec.data.fetching import check_whole, fetched, lying, take
from llmrec.data.manifest import Fetch, Manifest, Source, Table
from llmrec.data.remote import home as home  # the cache of everything that is fetched
from llmrec.data.streams import unpacked
from llmrec.errors import DataFault
from llmrec.files import digest
from llmrec.progress import note

HEADED = ("csv", "tsv", "inter")  # formats whose first line names the columns, unless the manifest does


@dataclass(frozen=True)
class Stored:
    """A dataset's tables on this machine, and where they came from."""

    source: Source
    interactions: Path
    items: Path | None
    origin: str


def get(manifest: Manifest, here: Path, *, cache: Path | None = None) -> Stored:
    """The dataset's tables, from the cache or from the first source that delivers.

    `here` is the manifest's folder. A source that fails is noted on stderr and the next is tried. Raises DataFault when
    none delivers, with what each of them said.
    """
    if manifest.parameters:
        raise DataFault(f"{manifest.name}: is a dataset of several parts. {manifest.unfilled}")
    root = (cache or home()) / "datasets" / manifest.name
    for source in manifest.sources:  # a later source's good copy is better than an earlier source's long timeout
        if not _is_local(source) and (stored := _cached(manifest, source, root / _fingerprint(source))) is not None:
            return stored
    said = []
    for at, source in enumerate(manifest.sources, start=1):
        try:
            return _inplace(manifest, source, here) or _fetched(manifest, source, root, here)
        except DataFault as fault:
            said.append(str(fault))
            if at < len(manifest.sources):
                note(f"{manifest.name}: {fault} Trying {manifest.sources[at].files[0].label}.")
    raise DataFault(f"{manifest.name}: no source delivered.\n" + "\n".join(f"  {line}" for line in said))


def account(manifest: Manifest, stored: Stored) -> str:
    """What was fetched, where it lies, what it must not be used for, and checksums for those who pin them."""
    table = stored.source.interactions
    rows = digest(stored.interactions, skip_header=has_header(table))
    known = "as the manifest says" if manifest.rows_sha256 else "the manifest has none: pin it as rows_sha256"
    lines = [f"{manifest.title}, from {stored.origin}"]
    lines += [f"  {path}" for path in (stored.interactions, stored.items) if path is not None]
    lines += [f"  rows sha256 {rows} ({known})"]
    if stored.items is not None:
        lines.append(f"  items sha256 {digest(stored.items)}")
    lines += [f"Licence: {manifest.licence}", f"Cite: {manifest.citation}"]
    return "\n".join(lines) + "\n"


def _cached(manifest: Manifest, source: Source, folder: Path) -> Stored | None:
    if not folder.is_dir():
        return None
    try:
        origin = json.loads((folder / "origin.json").read_text(encoding="utf-8"))
        for name, stored_as in origin["sha256"].items():
            if digest(folder / name) != stored_as:
                raise DataFault(f"{folder / name} has changed since it was stored.")
        stored = _stored(source, folder, str(origin["from"]))
        _verify(manifest, stored)
    except (OSError, ValueError, KeyError, AttributeError, DataFault) as fault:
        note(f"{manifest.name}: the copy in {folder} cannot be used ({fault}); fetching it again.")
        return None
    return stored


def place(manifest: Manifest, fetch: Fetch, here: Path) -> Path:
    """Where relative paths start: at the manifest, or where people put what they have to fetch themselves."""
    return home() / "by-hand" / manifest.name if fetch.by_hand is not None else here


def _is_local(source: Source) -> bool:
    """Whether a file of one's own is in it: such files change, and are not kept a second time."""
    return any(fetch.path is not None for fetch in source.files)


def _inplace(manifest: Manifest, source: Source, here: Path) -> Stored | None:
    """Tables that are files of this machine already; None where something must be fetched or unpacked."""
    if any(fetch.path is None for fetch in source.files):
        return None
    paths = [lying(fetch, place(manifest, fetch, here)) for fetch in source.files]
    if any(zipfile.is_zipfile(path) or tarfile.is_tarfile(path) for path in paths):
        return None
    for fetch, path in zip(source.files, paths, strict=True):
        check_whole(fetch, path)
    by_name = {path.name: path for path in paths}
    tables = [source.interactions] + ([source.items] if source.items else [])
    lacking = [table.file for table in tables if Path(table.file).name not in by_name]
    if lacking:
        raise DataFault(f"{', '.join(fetch.label for fetch in source.files)}: no {lacking[0]} among them.")
    found = [by_name[Path(table.file).name] for table in tables]
    stored = Stored(source, found[0], found[1] if source.items else None, ", ".join(f.label for f in source.files))
    _verify(manifest, stored)
    return stored


def _fetched(manifest: Manifest, source: Source, root: Path, here: Path) -> Stored:
    """Fetches into a folder of its own, verifies, and only then takes the place of what was there."""
    final = root / _fingerprint(source)
    try:
        root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".fetching-", dir=root))
    except OSError as fault:
        raise DataFault(
            f"{root}: cannot be written ({fault.strerror}). Set LLMREC_HOME to a folder that can."
        ) from None
    try:
        keep = work / "keep"
        keep.mkdir()
        for fetch in source.files:
            arrived = fetched(fetch, work, place(manifest, fetch, here))
            check_whole(fetch, arrived)
            for table in (source.interactions, source.items):
                if table is not None:
                    take(table, fetch, arrived, keep)
        stored = _stored(source, keep, ", ".join(fetch.label for fetch in source.files))
        _verify(manifest, stored)
        digests = {path.name: digest(path) for path in sorted(keep.iterdir())}
        (keep / "origin.json").write_text(json.dumps({"from": stored.origin, "sha256": digests}, indent=2) + "\n")
        if final.exists():
            final.rename(work / "old")
        try:
            keep.rename(final)
        except OSError:  # somebody else has just put a copy there
            if (theirs := _cached(manifest, source, final)) is None:
                raise
            return theirs
        return _stored(source, final, stored.origin)
    except OSError as fault:
        raise DataFault(f"{root}: {fault.strerror or fault}. Free some space, or set LLMREC_HOME elsewhere.") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _verify(manifest: Manifest, stored: Stored) -> None:
    if manifest.rows_sha256 is not None:
        table = stored.source.interactions
        found = digest(stored.interactions, skip_header=has_header(table))
        if found != manifest.rows_sha256:
            raise DataFault(
                f"{stored.origin}: the rows of {table.file} have sha256 {found}, the manifest says "
                f"{manifest.rows_sha256}; not used."
            )


def has_header(table: Table) -> bool:
    """Whether the file's first line names its columns, as far as its bytes tell: a packed file is taken whole."""
    packed = unpacked(table.file) != table.file
    return not packed and not table.names and (table.format or suffix(table.file)) in HEADED


def suffix(name: str) -> str:
    """The ending that says the format, `.gz` and `.zst` aside: `reviews.jsonl.gz` -> `jsonl`."""
    return Path(unpacked(name)).suffix.lstrip(".").lower()


def _stored(source: Source, folder: Path, origin: str) -> Stored:
    tables = [source.interactions] + ([source.items] if source.items else [])
    paths = [folder / Path(table.file).name for table in tables]
    for table, path in zip(tables, paths, strict=True):
        if not path.is_file():
            raise DataFault(f"{origin}: no {table.file} in it.")
    return Stored(source, paths[0], paths[1] if source.items else None, origin)


def _fingerprint(source: Source) -> str:
    """A folder name that changes with what is fetched, not with how it is read."""
    files = [fetch.model_dump(exclude={"timeout", "max_bytes"}) for fetch in source.files]
    names = [source.interactions.file, source.items.file if source.items else None]
    return hashlib.sha256(json.dumps([files, names], sort_keys=True).encode()).hexdigest()[:12]
