from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmrec.candidates.negatives import Negatives
from llmrec.errors import RunFault, UserError
from llmrec.pairs import parts
from llmrec.pairs.build import PAIRS_SCHEMA, build_pairs
from llmrec.pairs.parts import Shard, cut, put_together, write_parts
from tests.candidates.shop import asked, shop
from tests.pairs.test_build import lines_encoder
from tests.prompts.readers import TITLES

RNG = np.random.default_rng(5)
BORROWED = [RNG.permutation(len(TITLES))[:6].tolist() for _ in range(40)]
SHOP = shop(BORROWED, TITLES)
QUERIES = asked([(6 * n + m, n, films, m) for n, films in enumerate(BORROWED) for m in (2, 3, 4)], fold="train")
ENCODER = lines_encoder()


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts, "PART", 16)


NEGATIVES = Negatives(SHOP, 3, {"uniform": 0.5, "popular": 0.5}, seed=7)


def made(part: pl.DataFrame) -> pl.DataFrame:
    return build_pairs(part, SHOP, ENCODER, NEGATIVES(part), seed=7)


def test_parts_hold_all_queries_in_order_and_no_user_is_cut():
    some = cut(QUERIES)
    assert pl.concat(some).equals(QUERIES)
    assert len(some) == 8
    owners = [set(part["user"]) for part in some]
    assert sum(map(len, owners)) == len(set.union(*owners))
    assert max(part.height for part in some) <= 16 + 2
    assert cut(QUERIES.clear()) == []
    assert [part.height for part in cut(QUERIES[:3])] == [3]


def test_one_user_with_many_queries_is_one_part():
    films = list(range(13)) * 5
    queries = asked([(n, 0, films, n) for n in range(1, 60)])
    assert [part.height for part in cut(queries)] == [59]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_three_shards_put_together_are_one_go_byte_for_byte(order: tuple[int, ...], tmp_path: Path):
    whole = put_together(write_parts(QUERIES, made, tmp_path / "one", Shard()), tmp_path / "one.parquet")
    for number in order:
        paths = write_parts(QUERIES, made, tmp_path / "three", Shard(number, 3))
    together = put_together(paths, tmp_path / "three.parquet")
    assert together.read_bytes() == whole.read_bytes()
    assert pl.read_parquet(whole).equals(made(QUERIES))
    assert pl.read_parquet_schema(whole) == pl.Schema(PAIRS_SCHEMA)


def test_what_is_missing_is_made_and_what_is_there_is_left(tmp_path: Path):
    paths = write_parts(QUERIES, made, tmp_path, Shard(2, 3))
    mine = [path for path in paths if path.is_file()]
    assert len(mine) == 3
    with pytest.raises(RunFault, match=r"000000.parquet: a part is not there. Run `llmrec pairs RECIPE` again"):
        put_together(paths, tmp_path / "whole.parquet")
    before = {path: path.stat().st_mtime_ns for path in mine}
    write_parts(QUERIES, made, tmp_path, Shard())
    assert all(path.is_file() for path in paths)
    assert {path: path.stat().st_mtime_ns for path in mine} == before


def test_nothing_to_ask_gives_an_empty_table(tmp_path: Path):
    path = put_together(write_parts(QUERIES.clear(), made, tmp_path, Shard()), tmp_path / "none.parquet")
    assert pl.read_parquet(path).schema == pl.Schema(PAIRS_SCHEMA)


@pytest.mark.parametrize("words", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_shard_that_is_none_is_refused(words: str):
    with pytest.raises(UserError, match="write i/n, from 1/n to n/n"):
        Shard.read(words)


def test_a_disk_that_fills_up_leaves_whole_parts_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, written = pl.DataFrame.write_parquet, []

    def full(table: pl.DataFrame, path: Path) -> None:
        if len(written) == 2:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        real(table, path)

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        write_parts(QUERIES, made, tmp_path, Shard())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.parquet", "000001.parquet"]
    monkeypatch.undo()
    monkeypatch.setattr(parts, "PART", 16)
    again = put_together(write_parts(QUERIES, made, tmp_path, Shard()), tmp_path / "w.parquet")
    assert pl.read_parquet(again).equals(made(QUERIES))


KILLED = """
import sys, time
from pathlib import Path
from tests.pairs import test_parts as world
from llmrec.pairs import parts
parts.PART = 16
def slowly(part):
    time.sleep(0.2)
    return world.made(part)
parts.write_parts(world.QUERIES, slowly, Path(sys.argv[1]), parts.Shard())
"""


def test_a_killed_process_leaves_whole_parts_and_the_next_one_goes_on(tmp_path: Path):
    folder = tmp_path / "parts"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], env={**os.environ, "PYTHONPATH": "."}) as child:
        while child.poll() is None and not (folder / "000001.parquet").is_file():
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    left = {path: path.stat().st_mtime_ns for path in folder.glob("0*.parquet")}
    assert 2 <= len(left) < 8
    done: list[int] = []

    def counting(part: pl.DataFrame) -> pl.DataFrame:
        done.append(part.height)
        return made(part)

    whole = put_together(write_parts(QUERIES, counting, folder, Shard()), tmp_path / "w.parquet")
    assert sum(done) == QUERIES.height - sum(pl.read_parquet(path).height for path in left)
    assert {path: path.stat().st_mtime_ns for path in left} == left
    assert pl.read_parquet(whole).equals(made(QUERIES))
