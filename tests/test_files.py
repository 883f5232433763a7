"""A reader meets a file whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from llmrec.files import digest, replacing, write_json


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "film.txt"
    path.write_text("Heat")
    with pytest.raises(OSError, match="the disk is full"), replacing(path) as partial:  # noqa: PT012
        partial.write_text("Ali")
        raise OSError("the disk is full")
    assert path.read_text() == "Heat"
    assert list(tmp_path.iterdir()) == [path]


def test_a_number_that_json_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"ndcg@10": float("nan")}, tmp_path / "metrics.json")
    assert list(tmp_path.iterdir()) == []


def test_a_checksum_may_leave_the_header_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"user,item\n1,2\n")
    assert digest(tmp_path / "a.csv", skip_header=True) == hashlib.sha256(b"1,2\n").hexdigest()
    assert digest(tmp_path / "a.csv", "md5") == hashlib.md5(b"user,item\n1,2\n").hexdigest()
