"""Laws of reading: what was written is read, wherever blocks end, and no block is larger than it may be."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import readers, streams
from llmrec.data.manifest import Table

LETTERS = st.text(st.sampled_from('ab,;"\n\r\t é🙂\x00\x1b{}\\'), min_size=1, max_size=12)
ROWS = st.lists(st.tuples(LETTERS, LETTERS), min_size=1, max_size=30)
COLUMNS = {"user": "u", "item": "i"}


@contextmanager
def written(name: str, content: bytes, block: int) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "BLOCK", block)
        path = Path(folder) / name
        path.write_bytes(gzip.compress(content[:block]) + gzip.compress(content[block:]) if ".gz" in name else content)
        yield path


def read(path: Path, rows: int) -> pl.DataFrame:
    pieces = list(readers.batches(path, Table(file=path.name), COLUMNS, rows=rows))
    assert sum(piece.bad.height for piece in pieces) == 0
    return pl.concat([piece.table for piece in pieces])


@settings(deadline=None)
@given(ROWS, st.integers(1, 200), st.integers(1, 40), st.sampled_from(["a.csv", "a.csv.gz"]))
def test_a_csv_is_read_as_it_was_written(table: list[tuple[str, str]], block: int, rows: int, name: str):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("u", "i"), *table])
    with written(name, text.getvalue().encode(), block) as path:
        found = read(path, rows)
    assert found.select("user", "item").rows() == table
    starts = [2 + sum("".join(row).count("\n") + 1 for row in table[:at]) for at in range(len(table))]
    assert found["line"].to_list() == starts


@settings(deadline=None)
@given(ROWS, st.integers(1, 200), st.integers(1, 40), st.booleans())
def test_json_lines_are_read_as_they_were_written(table: list[tuple[str, str]], block: int, rows: int, escaped: bool):
    content = "".join(json.dumps({"u": u, "i": i}, ensure_ascii=escaped) + "\n" for u, i in table).encode()
    with written("a.jsonl", content, block) as path:
        found = read(path, rows)
    assert found.rows() == [(at, *row) for at, row in enumerate(table, start=1)]


@settings(deadline=None)
@given(st.binary(max_size=400), st.integers(1, 60), st.booleans())
def test_blocks_are_the_file_and_end_at_lines(content: bytes, block: int, quoted: bool):
    content = b"x" + content.replace(b"\x28\xb5", b"")
    with written("a.csv", content, block) as path:
        found = list(streams.blocks(path, Table(file="a.csv"), quoted=quoted))
    assert b"".join(found) == content
    assert all(one.endswith(b"\n") for one in found[:-1])
    longest = max(map(len, content.split(b"\n"))) + 1
    assert max(map(len, found)) <= block + longest or quoted
