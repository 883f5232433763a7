"""What a file's columns look like, and that the proposal works as it stands."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
import yaml

from llmrec.data.census import Census
from llmrec.data.manifest import read_manifest
from llmrec.data.prepare import prepare
from llmrec.data.profile import profile
from llmrec.errors import DataFault
from llmrec.recipe.sections import Data, Reading, Split
from llmrec.report.profiled import lines, write_page
from tests.worlds import cinema, write_csv


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The cinema under the names that a shop would give, with a column that nobody asked about."""
    names = {"user": "CustomerID", "item": "productId", "time": "Date", "title": "Product Name"}
    return write_csv(tmp_path, cinema().rename(names).with_columns(note=None), "shop.csv")


def test_columns_are_recognised_by_their_names(shop: Path):
    found = profile(shop)
    assert found.rows == cinema().height
    assert found.unreadable == 0
    assert found.roles == {
        "user": "CustomerID",
        "item": "productId",
        "time": "Date",
        "title": "Product Name",
        "year": "year",
    }
    note = next(column for column in found.columns if column.name == "note")
    assert (note.filled, note.distinct, note.example, note.role) == (0.0, 0, "", None)


def test_the_proposed_section_prepares_the_file(shop: Path, tmp_path: Path):
    data = Data.model_validate(yaml.safe_load(profile(shop).section())["data"])
    summary = prepare(data, Split(), seed=7, here=tmp_path, out=tmp_path / "out")
    assert (summary.users, summary.items) == (40, 60)
    assert summary.untitled == 0


def test_the_proposed_manifest_prepares_the_file(shop: Path, tmp_path: Path):
    path = tmp_path / "shop.yaml"
    path.write_text(profile(shop).manifest(), encoding="utf-8")
    assert read_manifest(path).rows == cinema().height
    summary = prepare(Data(dataset="shop.yaml"), Split(), seed=7, here=tmp_path, out=tmp_path / "out")
    assert (summary.dataset, summary.users) == ("shop", 40)


def test_what_is_not_recognised_is_asked_for(tmp_path: Path):
    (tmp_path / "log.csv").write_text("who,sku,date\na,1,sometime\n")
    assert "# Not recognised: user, time." in profile(tmp_path / "log.csv").section()


def test_unreadable_rows_are_counted(tmp_path: Path):
    (tmp_path / "log.csv").write_text("user,item\na,1\nb,2,3\n")
    found = profile(tmp_path / "log.csv")
    assert (found.rows, found.unreadable) == (2, 1)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(DataFault, match="there is no such file"):
        profile(tmp_path / "log.csv")


LOG = """who,what,when,stars,event,title
u1,a,100,5,view,Heat
u1,b,200,4,buy,Up
u1,b,200,4,view,
u2,a,300,1,view,Heat
u2,c,300,5,view,
u3,a,1700000000000,3,buy,Heat
,a,1,3,view,Heat
"""
AS = {"who": "user", "what": "item", "when": "time", "stars": "rating"}


def log(folder: Path, content: str = LOG) -> Path:
    for theirs, ours in AS.items():
        content = content.replace(theirs, ours, 1)
    (folder / "log.csv").write_text(content)
    return folder / "log.csv"


def counted(folder: Path, content: str = LOG) -> Census:
    census = profile(log(folder, content)).census
    assert census is not None
    return census


def test_a_small_log_is_counted_as_by_hand(tmp_path: Path):
    census = counted(tmp_path)
    assert (census.interactions, census.users, census.items) == (6, 3, 3)
    assert census.density == pytest.approx(6 / 9)
    assert census.history == pytest.approx({"shortest": 1, "median": 2, "mean": 2, "p90": 2.8, "longest": 3})
    assert census.lengths == [(1, 1), (2, 1), (4, 1)]
    assert dict(census.popularity) == {0.5: pytest.approx(5 / 6)}
    assert census.repeats == pytest.approx(1 / 6)
    assert census.ties == pytest.approx({"neighbours": 2 / 3, "last_two": 1.0})
    assert census.ratings == {"1": 1, "3": 2, "4": 2, "5": 2}
    assert census.behaviours == {"view": 5, "buy": 2}
    assert census.untitled == 1  # c; b has one in another row


def test_seconds_and_milliseconds_in_one_file_are_said_aloud(tmp_path: Path):
    found = profile(log(tmp_path))
    assert found.census is not None
    assert found.census.moments is not None
    assert found.census.moments["units"] == {"s": 5, "ms": 1}
    assert found.census.moments["first"] == "1970-01-01 00:01:40"
    assert any("mixed" in line and "1 rows in milliseconds" in line for line in lines(found))


def test_negative_and_unreadable_times_are_counted(tmp_path: Path):
    census = counted(tmp_path, "who,what,when\na,1,-5\na,2,x\nb,1,10\nb,2,20\nb,3,30\n")
    assert census.moments is not None
    assert (census.moments["negative"], census.moments["unreadable"]) == (1, 1)


def test_a_log_that_is_dealt_into_files_counts_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = "".join(f"u{n % 37},i{n * n % 101},{n // 3},{n % 6}\n" for n in range(2_000))
    at_once = counted(tmp_path, "who,what,when,stars\n" + rows)
    monkeypatch.setattr("llmrec.data.profile.ROWS", 77)
    monkeypatch.setattr("llmrec.data.census.HELD", 100)
    in_pieces = counted(tmp_path, "who,what,when,stars\n" + rows)
    assert in_pieces == at_once
    assert at_once.users == 37


def test_a_query_and_other_dates_are_profiled_alike(tmp_path: Path):
    with sqlite3.connect(tmp_path / "shop.sqlite") as file:
        file.execute("CREATE TABLE log (user, item, time)")
        file.execute("INSERT INTO log VALUES ('a', 1, '31.12.2020'), ('b', 2, '01.01.2021')")
    file.close()
    reading = Reading(query="SELECT * FROM log", time_format="%d.%m.%Y")
    found = profile(tmp_path / "shop.sqlite", reading)
    assert found.census is not None
    assert found.census.moments is not None
    assert found.census.moments["last"] == "2021-01-01 00:00:00"
    section = yaml.safe_load(found.section())["data"]
    assert section["query"] == "SELECT * FROM log"
    assert section["time_format"] == "%d.%m.%Y"


def test_sessions_take_the_place_of_users(tmp_path: Path):
    (tmp_path / "clicks.csv").write_text("session_id,item_id,timestamp\ns1,a,1\ns1,b,2\ns2,a,3\n")
    assert profile(tmp_path / "clicks.csv").roles["user"] == "session_id"


@pytest.mark.parametrize("ending", ["html", "svg"])
def test_the_page_stands_alone_and_names_are_data(tmp_path: Path, ending: str):
    found = profile(log(tmp_path, LOG.replace("Heat", "<script>alert(1)</script>{{ x }}")))
    page = write_page(found, tmp_path / f"page.{ending}").read_text(encoding="utf-8")
    assert "<script" not in page
    assert 'href="http' not in page
    assert page.count("How long are histories?") == 1
    assert "mathdefault" not in page  # a logarithm's ticks are numbers, not markup of matplotlib's
    if ending == "svg":
        assert len(ElementTree.fromstring(page).findall("{http://www.w3.org/2000/svg}svg")) == 3


def test_a_manifest_is_of_one_file(tmp_path: Path):
    log(tmp_path)
    with pytest.raises(DataFault, match="a manifest names single files"):
        profile(tmp_path).manifest()


def test_columns_of_lists_and_of_spans_are_shown_and_are_no_ids(tmp_path: Path):
    log = pl.DataFrame({"user": ["a", "b"], "item": [[1], [2]], "seen": pl.Series([1, 2]).cast(pl.Duration("us"))})
    log.write_parquet(tmp_path / "log.parquet")
    found = profile(tmp_path / "log.parquet")
    assert found.roles == {"user": "user"}
    assert [column.distinct for column in found.columns] == [2, 2, 2]
    assert lines(found)[0].startswith("Users and items were not recognised")


def test_a_log_of_empty_ids_is_not_said_to_have_no_columns_for_them(tmp_path: Path):
    (tmp_path / "log.csv").write_text('user,item\n"",""\n,a\n')
    assert lines(profile(tmp_path / "log.csv")) == ["No row has both a user and an item, so there is nothing to count."]


def test_columns_of_lists_have_no_role_and_bytes_are_read(tmp_path: Path):
    table = {"user": [[1], [2]], "item": [b"\xff", b"x"], "time": [[1], [2]], "rating": [[5], [4]], "note": ["a", "b"]}
    pl.DataFrame(table).write_parquet(tmp_path / "log.parquet")
    found = profile(tmp_path / "log.parquet")
    assert (found.rows, found.roles) == (2, {"item": "item"})
    assert [column.example for column in found.columns] == ["[1]", "ff", "[1]", "[5]", "a"]
