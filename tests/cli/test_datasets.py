"""`llmrec datasets`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmrec.cli import app
from tests.worlds import write_csv


def typed(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["datasets", *words])
    return done.exit_code, done.stdout, done.stderr


def test_ls_names_what_ships():
    code, out, _ = typed("ls", "--json")
    assert code == 0
    assert "movielens-100k" in {one["name"] for one in json.loads(out)}


def test_show_prints_the_manifest_as_it_is_written():
    code, out, _ = typed("show", "sample")
    assert code == 0
    assert "rows_sha256:" in out
    assert "licence:" in out


def test_get_says_where_the_files_lie():
    code, out, _ = typed("get", "sample")
    assert code == 0
    assert all(Path(line.strip()).is_file() for line in out.splitlines()[1:3])


@pytest.mark.parametrize("verb", ["show", "get"])
def test_a_name_that_is_nearly_right(verb: str):
    code, out, err = typed(verb, "movielens-100")
    assert (code, out) == (2, "")
    assert "did you mean movielens-100k" in err


def test_profile_proposes_a_section(tmp_path: Path):
    code, out, _ = typed("profile", str(write_csv(tmp_path)))
    assert code == 0
    assert "columns: {user: user, item: item, time: time, title: title, year: year}" in out


def test_profile_of_nothing_is_one_message(tmp_path: Path):
    code, out, err = typed("profile", str(tmp_path / "gone.csv"))
    assert (code, out) == (2, "")
    assert "there is no such file" in err
    assert "Traceback" not in err
