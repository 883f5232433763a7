"""The same three readings, however they are written down, read the same."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from llmrec.data import readers, streams
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


def pieces(path: Path, rows: int, **table: object) -> list[readers.Rows]:
    return list(readers.batches(path, Table(file=path.name, **table), COLUMNS, rows=rows))  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [1, 2, 7, 1000])
def test_pieces_put_together_are_the_file_however_large_they_are(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(streams, "BLOCK", 50)  # so that a file of a few lines has many blocks
    monkeypatch.setattr(streams, "PIECE", 20)
    path = tmp_path / "a.csv"
    lines = [f'{n},u{n},"Heat{chr(10) if n % 5 == 0 else " "}{n}"' for n in range(40)]
    lines[17] = "17,u17,Usual, Suspects"
    path.write_text("when,who,what\n" + "\n".join(lines), encoding="utf-8")
    found = pieces(path, rows)
    whole = read(path)
    assert pl.concat([piece.table for piece in found]).equals(whole.table)
    assert pl.concat([piece.bad for piece in found]).equals(whole.bad)
    assert all(piece.table.height == rows for piece in found[:-1])
    assert [(line, why) for line, why, _ in whole.bad.rows()] == [(2 + 17 + 4, "4 columns, expected 3")]
    assert whole.table.height == 39
    of_five = whole.table.filter(pl.col("user") == "u20")
    assert of_five.rows() == [(2 + 20 + 4, "u20", "Heat\n20", "20")]


def test_a_damaged_block_does_not_touch_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "BLOCK", 60)
    path = tmp_path / "a.csv"
    body = ['1,a,"two\nlines"', '2,b,"never closed', *(f"{n},c,plain" for n in range(3, 30)), '30,d,"two\nmore"']
    path.write_text("when,who,what\n" + "\n".join(body) + "\n", encoding="utf-8")
    rows = read(path)
    assert [(line, why) for line, why, _ in rows.bad.rows()] == [(4, "a quote is not closed")]
    assert rows.table.height == 29
    assert rows.table["item"][0] == "two\nlines"
    assert rows.table.row(-1) == (32, "d", "two\nmore", "30")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.arrow"])
@pytest.mark.parametrize("rows", [3, 1000])
def test_lines_run_on_in_every_format(tmp_path: Path, name: str, rows: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "BLOCK", 200)
    path = tmp_path / name
    table = pl.DataFrame({"who": [f"u{n % 7}" for n in range(100)], "what": "Heat", "when": range(100)})
    writers = {"csv": table.write_csv, "jsonl": table.write_ndjson, "arrow": table.write_ipc}
    writers["parquet"] = lambda at: table.write_parquet(at, row_group_size=11)
    writers[path.suffix[1:]](path)
    found = pl.concat([piece.table for piece in pieces(path, rows)])
    first = 2 if name == "a.csv" else 1
    assert found["line"].to_list() == list(range(first, first + 100))
    assert found["time"].cast(pl.Int64).to_list() == list(range(100))
