"""Of a damaged file everything that can be read is read, and the rest is kept with its line and the reason."""

from __future__ import annotations

from pathlib import Path

from llmrec.data import readers
from llmrec.data.manifest import Table

COLUMNS = {"user": "user", "item": "item", "title": "title"}


def read(tmp_path: Path, content: bytes, name: str = "a.csv") -> readers.Rows:
    path = tmp_path / name
    path.write_bytes(content)
    return readers.read(path, Table(file=name), COLUMNS)


def bad(rows: readers.Rows) -> list[tuple[int, str, str]]:
    return rows.bad.select("line", "reason", "raw").rows()


def test_bytes_that_are_not_utf8_lose_their_row_only(tmp_path: Path):
    rows = read(tmp_path, b"user,item,title\na,1,Heat\nb,2,Am\xe9lie\nc,3,Am\xc3\xa9lie\n")
    assert rows.table.rows() == [(2, "a", "1", "Heat"), (4, "c", "3", "Amélie")]
    assert bad(rows) == [(3, "not UTF-8", "b,2,Amélie")]


def test_an_unquoted_comma_makes_a_column_too_many(tmp_path: Path):
    rows = read(tmp_path, b"user,item,title\na,1,Heat\nb,2,Usual Suspects, The\n")
    assert rows.table["user"].to_list() == ["a"]
    assert bad(rows) == [(3, "4 columns, expected 3", "b,2,Usual Suspects, The")]


def test_a_quoted_title_may_span_lines_and_later_lines_keep_their_numbers(tmp_path: Path):
    rows = read(tmp_path, b'user,item,title\na,1,"Heat\nand Dust"\nb,2,Up\nc,3,x,y\n')
    assert rows.table.rows() == [(2, "a", "1", "Heat\nand Dust"), (4, "b", "2", "Up")]
    assert bad(rows) == [(5, "4 columns, expected 3", "c,3,x,y")]


def test_a_quote_that_is_never_closed_swallows_nothing(tmp_path: Path):
    rows = read(tmp_path, b'user,item,title\na,1,"Heat\nb,2,Up\nc,3,"Jaws, again"\n')
    assert rows.table.rows() == [(3, "b", "2", "Up"), (4, "c", "3", "Jaws, again")]
    assert bad(rows) == [(2, "a quote is not closed", 'a,1,"Heat')]


def test_two_open_quotes_do_not_close_one_another(tmp_path: Path):
    rows = read(tmp_path, b'user,item,title\na,1,"Heat\nb,2,Up\nc,3,"Jaws\nd,4,Big\n')
    assert rows.table["user"].to_list() == ["b", "d"]
    assert [line for line, _, _ in bad(rows)] == [2, 4]


def test_missing_columns_at_the_end_of_a_row_are_empty(tmp_path: Path):
    rows = read(tmp_path, b"user,item,title\na,1\nb,2,Up,x\n")
    assert rows.table.rows() == [(2, "a", "1", None)]


def test_blank_lines_are_nothing(tmp_path: Path):
    rows = read(tmp_path, b"user,item,title\n\na,1,Heat\n\n\nb,2,Up\n\n")
    assert rows.table.rows() == [(3, "a", "1", "Heat"), (6, "b", "2", "Up")]
    assert rows.bad.height == 0


def test_json_lines_that_are_cut_or_no_objects_are_told_apart(tmp_path: Path):
    content = b'{"user": "a", "item": 1, "title": "Heat"}\n\n{"user": "b", "it\n[1]\n{"user": "c\xff"}\n{"user": "d"}\n'
    rows = read(tmp_path, content, "a.jsonl")
    assert rows.table.rows() == [(1, "a", "1", "Heat"), (6, "d", None, None)]
    assert [(line, reason) for line, reason, _ in bad(rows)] == [
        (3, "not JSON"),
        (4, "not a JSON object"),
        (5, "not UTF-8"),
    ]
