"""Data at an address: fetched once, read where it then lies, fetched anew when the store says that it changed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from llmrec.data import remote, sources
from llmrec.data.manifest import Manifest
from llmrec.data.prepare import prepare
from llmrec.data.profile import profile
from llmrec.errors import DataFault
from llmrec.recipe.sections import Data, Split
from tests.worlds import cinema

CINEMA = cinema().write_csv().encode()


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """fsspec's store in memory, and a cache of this test's own."""
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "home"))
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


def users(data: Data, tmp_path: Path) -> int:
    return prepare(data, Split(), seed=7, here=tmp_path, out=tmp_path / "out").users


def test_a_file_at_an_address_is_prepared_like_any_other(shop: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shop.pipe("/logs/films.csv", CINEMA)
    data = Data(path="memory://logs/films.csv")
    assert users(data, tmp_path) == 40
    assert "fetching memory://logs/films.csv (1 files" in capsys.readouterr().err
    assert users(data, tmp_path) == 40
    assert "fetching" not in capsys.readouterr().err
    assert profile("memory://logs/films.csv").rows == cinema().height


def test_a_file_that_changed_is_fetched_anew(shop: Any, tmp_path: Path):
    shop.pipe("/logs/films.csv", CINEMA)
    before = remote.local("memory://logs/films.csv").read_bytes()
    shop.pipe("/logs/films.csv", CINEMA + b"p99,heist-01,1,x,1990\n")
    assert remote.local("memory://logs/films.csv").read_bytes() == before + b"p99,heist-01,1,x,1990\n"


@pytest.mark.parametrize("address", ["memory://logs", "memory://logs/*.csv"])
def test_folders_and_patterns_at_an_address(shop: Any, tmp_path: Path, address: str):
    head, *rows = CINEMA.splitlines(keepends=True)
    for at in range(3):
        shop.pipe(f"/logs/{at}.csv", head + b"".join(rows[at::3]))
    assert users(Data(path=address), tmp_path) == 40
    shop.rm("/logs/2.csv")
    remote.local(address)
    assert [file.name for file in sorted(remote.local(address).iterdir())] == ["0.csv", "1.csv"]


def test_a_list_may_mix_addresses_and_files(shop: Any, tmp_path: Path):
    head, *rows = CINEMA.splitlines(keepends=True)
    shop.pipe("/logs/a.csv", head + b"".join(rows[::2]))
    (tmp_path / "b.csv").write_bytes(head + b"".join(rows[1::2]))
    assert users(Data(path=["memory://logs/a.csv", "b.csv"]), tmp_path) == 40


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("memory://logs/gone.csv", "memory://logs/gone.csv: (there is nothing|cannot be fetched)"),
        ("nosuch://x/a.csv", "nosuch://x/a.csv: cannot be reached"),
        ("s3://bucket/a.csv", "s3:// needs s3fs: pip install s3fs"),
        ("gs://bucket/a.csv", "gs:// needs gcsfs: pip install gcsfs"),
        ("http://127.0.0.1:9/a.csv", "http://127.0.0.1:9/a.csv: cannot be fetched"),
        ("http://127.0.0.1:9/my log.csv", "my log.csv: cannot be fetched"),
    ],
)
def test_an_address_that_cannot_be_read_says_why(shop: Any, address: str, says: str):
    if address.startswith(("s3", "gs")):
        try:
            __import__("s3fs" if address.startswith("s3") else "gcsfs")
        except ImportError:
            pass
        else:
            pytest.skip("the backend is installed here")
    with pytest.raises(DataFault, match=says):
        remote.local(address)


def test_a_backends_own_errors_are_told_and_not_traced(shop: Any, monkeypatch: pytest.MonkeyPatch):
    class NoCredentials(Exception):
        """Of no kind that Python knows, as botocore's and google.auth's are."""

    def refuse(*_: object, **__: object) -> None:
        raise NoCredentials("unable to locate credentials")

    monkeypatch.setattr(type(shop), "find", refuse)
    with pytest.raises(DataFault, match="memory://logs/a.csv: cannot be fetched .unable to locate credentials"):
        remote.local("memory://logs/a.csv")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


def test_a_web_address_needs_no_package(shop: Any, tmp_path: Path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "films.csv").write_bytes(CINEMA)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/films.csv?download=1"
        assert remote.local(address).name == "films.csv"
        assert users(Data(path=address), tmp_path) == 40
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def manifest(**fetch: object) -> Manifest:
    return Manifest.model_validate(
        {
            "name": "tiny", "title": "Tiny", "about": "Two rows.", "licence": "none", "citation": "none",
            "sources": [{"files": [fetch], "interactions": {"file": "films.csv"}}],
        }
    )  # fmt: skip


def test_a_manifest_fetches_from_a_store_by_checksum_only(shop: Any, tmp_path: Path):
    shop.pipe("/logs/films.csv", CINEMA)
    with pytest.raises(ValueError, match="where a sha256 is given"):
        manifest(url="memory://logs/films.csv")
    given = manifest(url="memory://logs/films.csv", sha256=hashlib.sha256(CINEMA).hexdigest())
    assert sources.get(given, tmp_path).interactions.read_bytes() == CINEMA
    wrong = manifest(url="memory://logs/films.csv", sha256="0" * 64)
    with pytest.raises(DataFault, match="the manifest says 0000"):
        sources.get(wrong, tmp_path)
