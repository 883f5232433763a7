"""The same three readings, however they are written down, read the same."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from llmrec.data import readers
from llmrec.data.manifest import Table
from llmrec.errors import DataFault

COLUMNS = {"user": "who", "item": "what", "time": "when"}
ROWS = [("ann", "Heat", "10"), ("bob", "Up, again", "11"), ("ann", "Amélie", "12")]


def read(path: Path, **table: object) -> readers.Rows:
    return readers.read(path, Table(file=path.name, **table), COLUMNS)  # type: ignore[arg-type]


def triples(rows: readers.Rows) -> list[tuple[str, ...]]:
    return rows.table.select("user", "item", "time").cast(pl.String).rows()


def delimited(path: Path, separator: str, end: str = "\n", quote: str = "") -> Path:
    lines = [separator.join(("when", "who", "what"))]
    lines += [separator.join((when, who, f"{quote}{what}{quote}")) for who, what, when in ROWS]
    path.write_bytes((end.join(lines) + end).encode())
    return path


@pytest.mark.parametrize(
    ("name", "separator", "end", "quote"),
    [
        ("a.csv", ",", "\n", '"'),
        ("a.csv", ";", "\n", ""),
        ("a.csv", ",", "\r\n", '"'),
        ("a.tsv", "\t", "\n", ""),
    ],
)
def test_a_delimited_file_reads_by_the_names_of_its_columns(
    tmp_path: Path, name: str, separator: str, end: str, quote: str
):
    rows = read(delimited(tmp_path / name, separator, end, quote))
    assert triples(rows) == ROWS
    assert rows.table["line"].to_list() == [2, 3, 4]
    assert rows.bad.height == 0


def test_a_dat_file_has_two_colons_and_no_header(tmp_path: Path):
    path = tmp_path / "ratings.dat"
    path.write_bytes("\n".join(f"{when}::{who}::{what}" for who, what, when in ROWS).encode("latin-1"))
    assert triples(read(path, names=["when", "who", "what"], encoding="latin-1")) == ROWS
    assert readers.header(path, Table(file=path.name)) == ["1", "2", "3"]


def test_an_inter_file_types_its_columns_in_the_header(tmp_path: Path):
    path = tmp_path / "a.inter"
    body = "".join(f"{who}\t{what}\t{when}\n" for who, what, when in ROWS)
    path.write_text(f"who:token\twhat:token_seq\twhen:float\n{body}", encoding="utf-8")
    assert triples(read(path)) == ROWS


@pytest.mark.parametrize("packed", [False, True])
def test_json_lines_give_what_was_asked_for_and_ignore_the_rest(tmp_path: Path, packed: bool):
    things = [{"who": u, "what": i, "when": int(t), "images": [{"large": "x"}]} for u, i, t in ROWS]
    content = "".join(json.dumps(thing) + "\n" for thing in things).encode()
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert triples(read(path)) == ROWS


def test_parquet_keeps_its_types(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pl.DataFrame(ROWS, schema=["who", "what", "when"], orient="row").cast({"when": pl.Int64}).write_parquet(path)
    rows = read(path)
    assert triples(rows) == ROWS
    assert rows.table.schema["time"] == pl.Int64


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path):
    path = delimited(tmp_path / "a.tsv", "\t")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert triples(read(path)) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"  \n", "is empty"),
        ("a.csv", b"who,what,when\n", "not one row"),
        ("a.csv", b"who,item,when\na,b,1\n", "no column 'what' .for item.; found who, item, when"),
        ("a.csv", b"whom,what,when\na,b,1\n", "no column 'who'.*Did you mean 'whom'"),
        ("a.csv", b"who:what:when\na:b:1\n", "no column 'who'.*separator"),
        ("a.csv", "who,what,when\n".encode("utf-16"), "is UTF-16"),
        ("a.csv", b"PAR1....", "is Parquet inside"),
        ("a.xlsx", b"who,what,when\n", "what kind of file is .xlsx"),
        ("a.jsonl", b'[{"who": "a"}]\n', "holds no JSON lines"),
        ("a.json", b"{\n", "holds no JSON lines"),
        ("a.parquet", b"who,what,when\n", "is no Parquet file"),
        ("a.csv.gz", b"who,what,when\n", "cannot be read"),
    ],
)
def test_a_file_that_is_not_what_it_says_gets_one_message(tmp_path: Path, name: str, content: bytes, says: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataFault, match=says) as fault:
        read(path)
    assert str(path) in str(fault.value)


@pytest.mark.parametrize("name", ["gone.csv", "gone.parquet", "gone.jsonl.gz"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str):
    with pytest.raises(DataFault, match="there is no such file"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["folder.csv", "folder.parquet"])
def test_a_folder_is_no_file(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    with pytest.raises(DataFault, match="is a folder"):
        read(tmp_path / name)
