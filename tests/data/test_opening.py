"""What a recipe says of its files is how they are read, and a manifest's own table needs no such words."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrec.data.larder import Larder
from llmrec.data.prepare import prepare
from llmrec.data.summary import Summary
from llmrec.errors import DataFault
from llmrec.recipe.sections import Data, Split
from tests.worlds import cinema, films

LOG = cinema().select("user", "item", "time")
TEXTS = {"text": "{title} ({year})"}


def prepared(tmp_path: Path, **data: Any) -> tuple[Summary, Larder]:
    out = tmp_path / "out"
    summary = prepare(Data.model_validate(data), Split(), seed=7, here=tmp_path, out=out)
    return summary, Larder.read(out)


def test_every_way_to_write_a_log_prepares_alike(tmp_path: Path):
    """The same interactions and items, in five pairs of formats: the same histories under the same codes."""
    films().write_csv(tmp_path / "films.csv")
    items = {"path": "films.csv", "columns": {"title": "title", "year": "year"}}
    LOG.write_csv(tmp_path / "log.csv")
    _, as_csv = prepared(tmp_path, path="log.csv", items=items, **TEXTS)

    with sqlite3.connect(tmp_path / "log.sqlite") as file:
        file.execute("CREATE TABLE seen (who TEXT, what TEXT, moment INTEGER)")
        file.executemany("INSERT INTO seen VALUES (?, ?, ?)", LOG.rows())
        file.execute("CREATE TABLE film (item TEXT, title TEXT, year INTEGER)")
        file.executemany("INSERT INTO film VALUES (?, ?, ?)", films().select("item", "title", "year").rows())
    file.close()
    (tmp_path / "parts").mkdir()
    for at in range(3):
        LOG.slice(at * 120, 120).write_parquet(tmp_path / "parts" / f"{at}.parquet")
        LOG.slice(at * 120, 120).write_ndjson(tmp_path / f"{at}.jsonl")
    LOG.write_csv(tmp_path / "log.txt", separator="|", include_header=False)
    films().write_csv(tmp_path / "films.txt", separator=";")
    (tmp_path / "films.txt").write_bytes((tmp_path / "films.txt").read_text().encode("utf-16"))
    typed = "user:token\titem:token\ttime:float\n" + LOG.write_csv(separator="\t", include_header=False)
    (tmp_path / "cinema.inter").write_text(typed)
    heads = "item:token\ttitle:token_seq\tyear:token\tgenre:token_seq\n"
    (tmp_path / "cinema.item").write_text(heads + films().write_csv(separator="\t", include_header=False))

    sql = "SELECT who AS user, what AS item, moment AS time FROM seen ORDER BY rowid"
    ways: list[dict[str, Any]] = [
        {"path": "log.sqlite", "query": sql, "items": {**items, "path": "log.sqlite", "query": "SELECT * FROM film"}},
        {"path": "parts", "items": items},
        {"path": ["0.jsonl", "1.jsonl", "2.jsonl"], "items": items},
        {
            "path": "log.txt", "format": "csv", "separator": "|", "names": ["user", "item", "time"],
            "items": {**items, "path": "films.txt", "format": "csv", "encoding": "utf-16"},
        },
        {"path": "cinema.inter", "items": {**items, "path": "cinema.item"}},
    ]  # fmt: skip
    for way in ways:
        _, found = prepared(tmp_path, **way, **TEXTS)
        assert found.histories.equals(as_csv.histories), way
        assert found.catalogue.select("key", "text").equals(as_csv.catalogue.select("key", "text")), way


def test_sessions_without_users_are_users(tmp_path: Path):
    LOG.rename({"user": "session"}).write_csv(tmp_path / "clicks.csv")
    summary, _ = prepared(tmp_path, path="clicks.csv", columns={"user": "session"}, text="{key}")
    assert summary.users == 40


def test_several_text_fields_make_up_an_item_and_missing_titles_are_counted(tmp_path: Path):
    LOG.write_csv(tmp_path / "log.csv")
    some = films().with_columns(pl.when(pl.col("year") != 1950).then("title").alias("title"))
    some.write_csv(tmp_path / "films.csv")
    items = {"path": "films.csv", "columns": {"title": "title", "year": "year", "kind": "genre"}}
    summary, larder = prepared(tmp_path, path="log.csv", items=items, text="{title} ({year}), {kind}")
    assert summary.untitled == 1
    assert "The Second Heist (1951), heist" in larder.texts


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"dataset": "sample", "separator": ";"}, "Leave out data.separator"),
        ({"dataset": "sample", "columns": {"user": "x"}}, "Leave out data.columns"),
        ({"path": "log.csv", "query": "SELECT 1"}, "read as csv, and a query goes with SQLite or DuckDB"),
        ({"path": ["log.csv", "gone.csv"]}, "gone.csv: there is no such file"),
    ],
)
def test_words_that_do_not_apply_are_faults(tmp_path: Path, data: dict[str, Any], says: str):
    LOG.write_csv(tmp_path / "log.csv")
    with pytest.raises(DataFault, match=says):
        prepared(tmp_path, **data)
