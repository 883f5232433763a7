"""The stage as a whole: full disks, killed runs, and times that do not fit together."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from llmrec.data import dropped as account
from llmrec.data.dropped import Dropped
from llmrec.data.larder import Larder
from llmrec.data.prepare import prepare
from llmrec.errors import DataFault, RunFault
from llmrec.recipe.sections import Data, Split
from tests.worlds import cinema, write_csv

LAST = Split(method="last")
TINY = 1e-9


@pytest.mark.parametrize("memory", [None, TINY])
@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        pl.exceptions.ComputeError("No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_message_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, memory: float | None
):
    def full(*_: object, **__: object) -> None:
        raise fault

    write_csv(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(RunFault, match=r"out: the disk is full .*--runs, or raise data.memory"):
            prepare(Data(path="cinema.csv", memory=memory), LAST, seed=7, here=tmp_path, out=tmp_path / "out")
    left = [path.name for path in (tmp_path / "out").rglob("*")]
    assert left in ([], ["rejected_rows.parquet"])
    prepare(Data(path="cinema.csv", memory=memory), LAST, seed=7, here=tmp_path, out=tmp_path / "out")
    assert Larder.read(tmp_path / "out").users.height == 40


def test_another_fault_of_the_system_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    write_csv(tmp_path)
    monkeypatch.setattr(pl.DataFrame, "write_parquet", broken)
    with pytest.raises(OSError, match="Input/output error"):
        prepare(Data(path="cinema.csv"), LAST, seed=7, here=tmp_path, out=tmp_path / "out")


KILLED = """
import os, sys
from pathlib import Path
from llmrec.data import prepare as stage
from llmrec.recipe.sections import Data, Split
here = Path(sys.argv[1])
stage.shuffled = lambda *_, **__: os.kill(os.getpid(), 9)
stage.prepare(Data(path="cinema.csv", memory=1e-9), Split(method="last"), seed=7, here=here, out=here / "out")
"""


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path):
    write_csv(tmp_path)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, env={**os.environ})
    assert killed.returncode == -signal.SIGKILL
    waiting = list((tmp_path / "out").rglob("*.parquet"))
    assert waiting
    assert all(".work" in path.parts for path in waiting)  # nothing under its own name yet
    prepare(Data(path="cinema.csv"), LAST, seed=7, here=tmp_path, out=tmp_path / "out")
    prepare(Data(path="cinema.csv"), LAST, seed=7, here=tmp_path, out=tmp_path / "whole")
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }


def test_milliseconds_in_some_rows_of_a_log_in_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    seconds = cinema()
    some = pl.int_range(pl.len()) % 3 == 0
    write_csv(tmp_path, seconds, "s.csv")
    write_csv(tmp_path, seconds.with_columns(time=pl.col("time") * pl.when(some).then(1000).otherwise(1)), "mixed.csv")
    for name in ("s", "mixed"):
        prepare(Data(path=f"{name}.csv"), Split(), seed=7, here=tmp_path, out=tmp_path / name)
    plain, mixed = (Larder.read(tmp_path / name) for name in ("s", "mixed"))
    assert mixed.histories["items"].equals(plain.histories["items"])
    micro = plain.histories["times"].list.eval(pl.element() * 1_000_000)
    assert mixed.histories["times"].equals(micro)
    assert mixed.queries.drop("time").equals(plain.queries.drop("time"))
    said = capsys.readouterr().err
    assert "times of several sizes, each read by its own: 240 like s (880000060), 120 like ms (880000000000)" in said


def test_negative_times_are_left_out_with_their_reason(tmp_path: Path):
    world = cinema().with_columns(time=pl.when(pl.int_range(pl.len()) < 5).then(-1).otherwise("time"))
    write_csv(tmp_path, world)
    summary = prepare(Data(path="cinema.csv"), LAST, seed=7, here=tmp_path, out=tmp_path / "out")
    assert summary.dropped == {"a negative time": 5}
    rejected = pl.read_parquet(tmp_path / "out" / "rejected_rows.parquet")
    assert rejected.select("line", "user").rows() == [(n + 2, world["user"][n]) for n in range(5)]


def test_a_stray_time_is_entered_with_what_stood_there(tmp_path: Path):
    world = cinema().with_columns(pl.col("time").cast(pl.String))
    written = ["2026-05-31", "-1.5", "-1"]
    first = pl.Series(written).append(world["time"].slice(3))
    write_csv(tmp_path, world.with_columns(first.alias("time")))
    prepare(Data(path="cinema.csv"), LAST, seed=7, here=tmp_path, out=tmp_path / "out")
    rejected = pl.read_parquet(tmp_path / "out" / "rejected_rows.parquet")
    who = [f"{world['user'][n]},{world['item'][n]}" for n in range(3)]
    assert rejected.select("line", "reason", "raw").rows() == [
        (2, "time cannot be read", f"{who[0]},2026-05-31 00:00:00.000000"),
        (3, "a negative time", f"{who[1]},-1.5"),
        (4, "a negative time", f"{who[2]},-1"),
    ]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"user": [[1], [2]], "item": ["x", "y"]}, r"List\(Int64\)"),
        ({"user": ["a", "b"], "item": ["x", "y"], "rating": [{"stars": 1}, {"stars": 2}]}, "for rating holds Struct"),
        ({"user": ["a", "b"], "item": ["x", "y"], "time": [timedelta(1), timedelta(2)]}, "for time holds Duration"),
    ],
)
def test_columns_of_lists_or_objects_are_refused(tmp_path: Path, table: dict[str, list[object]], says: str):
    pl.DataFrame(table).write_parquet(tmp_path / "log.parquet")
    text = "{title}" if "title" in table else "{key}"
    with pytest.raises(DataFault, match=says):
        prepare(Data(path="log.parquet", text=text), LAST, seed=7, here=tmp_path, out=tmp_path / "out")


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path):
    for day in (1, 2):
        log = "user,item,time\na,x,1\n,y,2\nb,x,3\nb,z,4\na,y,5\n"
        (tmp_path / "logs" / f"day={day}").mkdir(parents=True)
        (tmp_path / "logs" / f"day={day}" / "part.csv").write_text(log)
    asked = Data(path="logs", text="{key}", min_user=1, duplicates="keep")
    prepare(asked, LAST, seed=7, here=tmp_path, out=tmp_path / "out")
    rejected = pl.read_parquet(tmp_path / "out" / "rejected_rows.parquet")
    assert rejected.select("file", "line").rows() == [("day=1/part.csv", 3), ("day=2/part.csv", 3)]


def test_users_with_one_interaction_train_and_are_not_asked(tmp_path: Path):
    write_csv(
        tmp_path, pl.DataFrame({"user": ["a", "a", "a", "b"], "item": ["x", "y", "z", "x"], "time": [1, 2, 3, 4]})
    )
    data = Data(path="cinema.csv", text="{key}", min_user=1)
    prepare(data, LAST, seed=7, here=tmp_path, out=tmp_path / "out")
    larder = Larder.read(tmp_path / "out")
    assert sorted(map(len, larder.training())) == [1, 1]
    assert larder.queries.height == 2
    with pytest.raises(DataFault, match="only one user is left, 'a' with 3 interactions"):
        prepare(data.model_copy(update={"min_user": 2}), LAST, seed=7, here=tmp_path, out=tmp_path / "out")


def test_the_account_is_the_same_file_however_much_waited_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(account, "RANGE", 7)
    whole, parts = Dropped(), Dropped(tmp_path / "parts", room=2)
    for file, start, reason in (("b", 0, "low"), ("a", 3, "again"), ("b", 20, "again"), ("a", 1, "low")):
        rows = pl.DataFrame({"line": range(start + 9, start, -2), "user": "ann"})
        for entries in (whole, parts):
            entries.add(file, rows, reason)
    assert len(list((tmp_path / "parts").iterdir())) > 1
    assert parts.write(tmp_path / "p").read_bytes() == whole.write(tmp_path / "w").read_bytes()
    assert pl.read_parquet(tmp_path / "p").equals(whole.table())
    assert parts.counts() == whole.counts() == {"again": 10, "low": 10}


def test_rows_of_several_files_are_entered_under_the_file_and_line_where_they_stand(tmp_path: Path):
    world = cinema()
    again = world.head(1)
    write_csv(tmp_path / "logs", world.head(200), "a.csv")
    write_csv(tmp_path / "logs", pl.concat([world.slice(200), again]), "b.csv")
    with (tmp_path / "logs" / "b.csv").open("a") as file:
        file.write(",heist-01,7,?,1\n")
    summary = prepare(Data(path="logs"), LAST, seed=7, here=tmp_path, out=tmp_path / "out")
    assert summary.read == 362
    rejected = pl.read_parquet(tmp_path / "out" / "rejected_rows.parquet")
    assert rejected.select("file", "line", "reason").rows() == [
        ("b.csv", 162, "the same item again (duplicates: first)"),
        ("b.csv", 163, "no user"),
    ]
