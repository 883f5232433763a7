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


def test_a_part_of_a_dataset_shows_the_manifest_of_all():
    assert typed("show", "amazon-2023?category=Books")[0] == 0
    code, _, err = typed("get", "amazon-2023")
    assert code == 2
    assert "Say which category: amazon-2023?category=" in err


def test_profile_counts_writes_a_page_and_speaks_json(tmp_path: Path):
    path = tmp_path / "log.txt"
    path.write_text("".join(f"u{n % 7};i{n % 5};{n}\n" for n in range(50)), encoding="utf-16")
    how = ["--format", "csv", "--separator", ";", "--names", "user,item,time", "--encoding", "utf-16"]
    code, out, _ = typed("profile", str(path), *how)
    assert code == 0
    assert "50 interactions of 7 users with 5 items" in out
    assert "separator: ;" in out
    code, out, err = typed("profile", str(path), *how, "--json", "--page", str(tmp_path / "page.html"))
    assert code == 0
    assert json.loads(out)["census"]["users"] == 7
    assert "page.html" in err
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("<svg") == 2


def test_a_tab_can_be_typed(tmp_path: Path):
    (tmp_path / "log.txt").write_text("user\titem\na\t1\n")
    code, out, _ = typed("profile", str(tmp_path / "log.txt"), "--format", "csv", "--separator", r"\t")
    assert code == 0
    assert "columns: {user: user, item: item}" in out


def test_a_page_of_another_kind_is_refused_before_the_file_is_read(tmp_path: Path):
    code, out, err = typed("profile", str(write_csv(tmp_path)), "--page", str(tmp_path / "page.pdf"))
    assert (code, out) == (2, "")
    assert "a page ends in .html or .svg" in err
    assert not (tmp_path / "page.pdf").exists()


def test_profile_with_words_that_make_no_sense_is_one_message(tmp_path: Path):
    path = str(write_csv(tmp_path))
    for words, says in ((["--encoding", "klingon"], "klingon"), (["--format", "xlsx"], "--format: Input should be")):
        code, out, err = typed("profile", path, *words)
        assert (code, out) == (2, "")
        assert says in err
        assert "Traceback" not in err


def test_profile_prints_nothing_that_a_terminal_obeys(tmp_path: Path):
    (tmp_path / "log.csv").write_text("user,item,event\na,\x1b[2J,\x1b]0;x\x07\nb,2,buy\n")
    code, out, _ = typed("profile", str(tmp_path / "log.csv"))
    assert code == 0
    assert "\x1b" not in out
