"""Spark makes the same histories and queries; slow, and only where pyspark and Java are."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from benchmarks.powerlaw import write_log
from llmrec.data.prepare import prepare
from llmrec.data.spark import session
from llmrec.errors import DataFault, RunFault
from llmrec.recipe.sections import Behaviours, Data, Split
from tests.worlds import write_csv

HAS_SPARK = find_spec("pyspark") is not None and shutil.which("java") is not None
spark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not HAS_SPARK, reason="pyspark or Java is not installed"),
    pytest.mark.xdist_group("spark"),  # one JVM a process
    pytest.mark.filterwarnings("ignore"),  # pyspark's own
]
SHOP = Behaviours(target=["buy"], context=["view"], exposed=["shown"])
TABLES = ("histories", "catalogue", "queries", "users", "declined", "rejected_rows")


def alike(folder: Path, data: Data, split: Split, *masters: str) -> None:
    """Prepares with polars and with Spark on each master (two threads, if none is named), and compares every file."""
    first, *others = (folder / f"out-{n}" for n in range(1 + max(1, len(masters))))
    for out, master in zip([first, *others], [None, *(masters or ["local[2]"])], strict=True):
        spark = {"engine": "spark", "spark_master": master} if master else {"engine": "polars"}
        shutil.rmtree(out, ignore_errors=True)
        prepare(data.model_copy(update=spark), split, seed=7, here=folder, out=out)
    for out in others:
        assert {path.name for path in first.iterdir()} == {path.name for path in out.iterdir()}
        for name in TABLES:
            ours, theirs = (pl.read_parquet(made / f"{name}.parquet") for made in (first, out))
            assert ours.equals(theirs), name
            assert ours.schema == theirs.schema, name
        assert (first / "summary.json").read_text() == (out / "summary.json").read_text()


def a_shop(folder: Path) -> None:
    """Sixty people who look at things and buy some of them, some again, at few moments, with a rating now and then."""
    words = ["buy", "view", "shown", "view", "stolen"]
    write_csv(
        folder,
        pl.DataFrame(
            {
                "user": f"p{n % 61}",
                "item": f"i{n * n % 37}",
                "time": 1_600_000_000 + n // 9 * 1000,
                "rating": str(n % 5 + 1) if n % 3 else "",
                "behaviour": words[n % 5],
                "beside": f"i{n % 37} i{n % 31}",
            }
            for n in range(2500)
        ),
        "shop.csv",
    )


WORLDS = [
    (Data(path="cinema.csv", text="{title} ({year})"), Split(method="last")),
    (Data(path="cinema.csv", min_item=6), Split(quantile=0.8, target="first")),
    (Data(path="shop.csv", text="{key}", behaviours=SHOP), Split(target="last")),
    (Data(path="shop.csv", text="{key}", behaviours=SHOP, duplicates="last"), Split(method="last")),
    (Data(path="shop.csv", text="{key}", duplicates="keep", min_user=41), Split(target="all", quantile=0.7)),
    (Data(path="shop.csv", text="{key}", columns={"shown": "beside"}, behaviours=SHOP), Split(method="last")),
    (Data(path="untimed.csv", text="{key}", min_item=12), Split(method="last")),
]


@pytest.fixture
def worlds(tmp_path: Path) -> Path:
    write_csv(tmp_path)
    a_shop(tmp_path)
    pl.read_csv(tmp_path / "shop.csv").select("user", "item").write_csv(tmp_path / "untimed.csv")
    return tmp_path


class TestSpark:
    pytestmark = spark

    def test_on_two_threads(self, worlds: Path) -> None:
        for data, split in WORLDS:
            alike(worlds, data, split)

    def test_what_polars_refuses_spark_refuses_in_the_same_words(self, worlds: Path) -> None:
        for data, split in (
            (Data(path="cinema.csv", min_user=50), Split()),
            (Data(path="untimed.csv", text="{key}"), Split()),
            (Data(path="cinema.csv"), Split(quantile=0.01)),
        ):
            said = []
            for engine in ("polars", "spark"):
                asked = data.model_copy(update={"engine": engine, "spark_master": "local[2]"})
                with pytest.raises(DataFault) as fault:
                    prepare(asked, split, seed=7, here=worlds, out=worlds / "out")
                said.append(str(fault.value))
            assert said[0] == said[1]

    def test_a_job_that_fails_is_one_message(self, tmp_path: Path) -> None:
        asked = Data(path="log.csv", spark_master="local[1]")
        with (
            pytest.raises(RunFault, match=r"Spark gave up \(.*nowhere.*Workers must see"),
            session(asked, tmp_path) as up,
        ):
            up.read.parquet(str(tmp_path / "nowhere"))

    def test_on_a_master_and_two_workers(self, worlds: Path, cluster: str) -> None:
        for data, split in WORLDS[2:3]:
            alike(worlds, data, split, cluster)

    def test_on_five_million_interactions(self, tmp_path: Path, cluster: str) -> None:
        write_log(tmp_path, 5_000_000)
        data = Data(path="interactions.parquet", text="{key}", memory=3)
        alike(tmp_path, data, Split(), "local[2]", cluster)


def test_without_pyspark_there_is_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path)
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(DataFault, match=r'pyspark is not installed: pip install "llmrec\[spark\]"'):
        prepare(Data(path="cinema.csv", engine="spark"), Split(), seed=7, here=tmp_path, out=tmp_path / "out")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A standalone master with two workers on loopback, a core each; ended whatever happens."""
    import pyspark

    home = Path(pyspark.__file__).parent
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {
        **os.environ,
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_WORKER_DIR": str(tmp_path / "w"),
    }
    master = f"spark://127.0.0.1:{port}"
    java = "org.apache.spark.deploy."
    ends = [[java + "master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]]
    ends += [
        [java + "worker.Worker", "--webui-port", "0", "--cores", "1", "--memory", "1g", "--host", "127.0.0.1", master]
    ] * 2
    running: list[subprocess.Popen[bytes]] = []
    try:
        for end in ends:
            log = (tmp_path / f"spark-{len(running)}.log").open("wb")
            running.append(subprocess.Popen([home / "bin" / "spark-class", *end], env=where, stdout=log, stderr=log))
            _wait_for(port) if len(running) == 1 else None
        yield master
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(30)


def _wait_for(port: int) -> None:
    for _ in range(120):
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError("the master does not listen")
