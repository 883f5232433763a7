"""Data of one's own at an address: `s3://`, `gs://`, `hf://`, `https://`. It is fetched into the cache and read there.

fsspec speaks to the store; for each kind of store there is a package that the user installs (s3fs, gcsfs, adlfs), with
the user's own credentials, where it looks for them. A copy is kept until the store says that the file has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from llmrec.errors import DataFault
from llmrec.files import replacing, write_json
from llmrec.progress import note, track

ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
NEEDS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
CHUNK = 1 << 20
SILENCE = 20.0  # seconds before a host counts as away


def home() -> Path:
    """Where downloads are kept: `LLMREC_HOME`, else `$XDG_CACHE_HOME/llmrec`, else `~/.cache/llmrec`."""
    if os.environ.get("LLMREC_HOME"):
        return Path(os.environ["LLMREC_HOME"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmrec"


def is_address(path: str) -> bool:
    """Whether it names a store and not a file of this machine.

    >>> is_address("s3://logs/2024.parquet"), is_address("C:/logs/2024.parquet")
    (True, False)
    """
    return ADDRESS.match(path) is not None


def store(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it; DataFault where none can be had."""
    scheme = address.split("://")[0].lower()
    if scheme in ("http", "https"):
        return _Web(), address
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as fault:
        needs = NEEDS.get(scheme, "a package of fsspec's")
        raise DataFault(f"{address}: {scheme}:// needs {needs}: pip install {needs} ({fault}).") from None
    except Exception as fault:  # each backend has errors of its own: botocore's, google.auth's
        raise DataFault(f"{address}: cannot be reached ({fault}).") from None
    return system, str(path)


def local(address: str, *, cache: Path | None = None) -> Path:
    """The file, or the folder with the files, on this machine, fetched where it is not there or has changed.

    An address may be a folder or a pattern (`s3://logs/2024-*.parquet`). Raises DataFault where nothing is there.
    """
    system, path = store(address)
    pattern = any(sign in path for sign in "*?[") and not isinstance(system, _Web)
    root = (cache or home()) / "remote" / hashlib.sha256(address.encode()).hexdigest()[:12]
    try:
        several = pattern or system.isdir(path)
        found = sorted(system.glob(path) if pattern else system.find(path))
        found = [file for file in found if not several or system.isfile(file)]
        if not found:
            raise DataFault(f"{address}: there is nothing.")
        states = {file: str(system.ukey(file)) for file in found}
        sizes = {file: int(system.size(file) or 0) for file in found}
        start = os.path.commonpath([os.path.dirname(file) for file in found])
        names = {file: file.removeprefix(start).lstrip("/").split("?")[0] for file in found}
        known = _known(root)
        wanted = [file for file in found if known.get(names[file]) != states[file]]
        if wanted:
            note(f"fetching {address} ({len(wanted):,} files, {sum(sizes[file] for file in wanted):,} bytes)")
        for file in wanted:
            _fetch(system, file, root / "files" / _inside(names[file], address), sizes[file])
            known[names[file]] = states[file]
            write_json(known, root / "origin.json")
    except DataFault:
        raise
    except Exception as fault:  # as in `store`; and http.client's, which are no OSErrors
        raise DataFault(f"{address}: cannot be fetched ({str(fault) or type(fault).__name__}).") from None
    for gone in known.keys() - names.values():
        (root / "files" / _inside(gone, address)).unlink(missing_ok=True)
    return root / "files" if several else root / "files" / names[found[0]]


def _known(root: Path) -> dict[str, str]:
    try:
        known = json.loads((root / "origin.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(state) for name, state in known.items() if (root / "files" / str(name)).is_file()}


def _inside(name: str, address: str) -> str:
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise DataFault(f"{address}: has a file called {name}; not fetched.")
    return name


def _fetch(system: Any, file: str, into: Path, size: int) -> None:
    with replacing(into) as partial, system.open(file, "rb") as come, partial.open("wb") as go:
        pieces = iter(lambda: come.read(CHUNK), b"")
        for piece in track(pieces, f"fetching {into.name}", total=-(-size // CHUNK) or None):
            go.write(piece)
        if go.tell() < size:  # a connection that breaks off looks like the end of the file
            raise OSError(f"{file} broke off after {go.tell():,} of {size:,} bytes")


class _Web:
    """One file at a web address, with as much of a file system as is needed here; fsspec's own wants aiohttp."""

    def isdir(self, address: str) -> bool:
        return False

    def find(self, address: str) -> list[str]:
        return [address]

    def ukey(self, address: str) -> str:
        head = self._head(address)
        return " ".join(str(head.get(name)) for name in ("ETag", "Last-Modified", "Content-Length"))

    def size(self, address: str) -> int:
        return int(self._head(address).get("Content-Length") or 0)

    def open(self, address: str, mode: str) -> Any:
        return self._asked(address, "GET")

    def _head(self, address: str) -> Any:
        with self._asked(address, "HEAD") as answer:
            return answer.headers

    def _asked(self, address: str, method: str) -> Any:
        return asked(address, timeout=SILENCE, method=method)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows from https to https only, at every step: who sits at a plain one could send us anywhere."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if req.full_url.lower().startswith("https://") and not newurl.lower().startswith("https://"):
            raise urllib.error.URLError(f"redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def asked(address: str, *, timeout: float, method: str = "GET") -> Any:
    """What a web address answers, to be closed by the caller; URLError and other OSErrors where it does not."""
    request = urllib.request.Request(address, headers={"User-Agent": "llmrec"}, method=method)
    return urllib.request.build_opener(_Redirects).open(request, timeout=timeout)
