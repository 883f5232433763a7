"""`llmrec compare` of runs, and its page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from llmrec.cli import app
from llmrec.ranking import write_parquet
from tests.evaluate.club import club, listing, offered, placing

CLUB = club(members=60)
TABLE = offered(CLUB, 10)


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs over one club; the second's orpo puts the target second."""
    made = []
    for name, rank in (("first", 1), ("second", 2)):
        folder = tmp_path / name
        CLUB.write(folder / "prepare")
        write_parquet(TABLE, folder / "candidates" / "uniform.parquet")
        (folder / "recipe.yaml").write_text("name: club\nsplit: {method: time}\narms: {orpo: {}}\n")
        for ranker, place in (("popularity", 5), ("orpo", rank)):
            ranking = placing(CLUB, TABLE, place, ranker=ranker)
            write_parquet(ranking, folder / "rankings" / ranker / "uniform.parquet")
        made.append(folder)
    return made


def typed(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def test_runs_are_compared_without_a_word_on_queries(runs: list[Path]):
    result = typed("compare", *runs)
    assert result.exit_code == 0, result.output
    assert "first/orpo (NDCG@10 1.000) beats popularity (0.387)" in result.output
    assert "second/orpo (NDCG@10 0.631) is below first/orpo" in result.output or (
        "first/orpo (NDCG@10 1.000) beats second/orpo (0.631)" in result.output
    )
    assert result.output.count("│ popularity") == 1  # the same in both


def test_the_page_is_written_where_it_is_wanted(runs: list[Path], tmp_path: Path):
    page = tmp_path / "pages" / "both.html"
    result = typed("compare", *runs, "--page", page)
    assert result.exit_code == 0, result.output
    assert f"Report: {page.resolve()}" in result.output
    html = page.read_text()
    assert "<title>first and second: who ranks better</title>" in html
    assert "first/<wbr>orpo" in html


def test_files_get_a_page_of_results_and_comparisons(runs: list[Path], tmp_path: Path):
    files = [runs[0] / "rankings" / name / "uniform.parquet" for name in ("popularity", "orpo")]
    page = tmp_path / "files.html"
    result = typed("compare", *files, "--queries", runs[0], "--page", page)
    assert result.exit_code == 0, result.output
    html = page.read_text()
    assert "The 10 candidates that all list" in html
    assert "No audit looked at these rankings" in html
    assert 'id="cost"' not in html
    assert "orpo (NDCG@10 1.000) beats popularity" in html


def test_json_of_runs_has_every_candidate_set(runs: list[Path]):
    found = json.loads(typed("compare", *runs, "--at", "1,3", "--primary", "hit@1", "--json").stdout)
    assert found["primary"] == "hit@1"
    assert set(found["tables"]["uniform"]["rankers"]) == {"popularity", "first/orpo", "second/orpo"}
    assert found["tables"]["uniform"]["rankers"]["second/orpo"]["hit@1"]["mean"] == 0
    assert len(found["comparisons"]["uniform"]) == 3


def test_runs_are_measured_no_deeper_than_they_list(runs: list[Path]):
    for folder in runs:
        for ranker in ("popularity", "orpo"):
            path = folder / "rankings" / ranker / "catalogue.parquet"
            write_parquet(listing(CLUB, 1, ranker=ranker, depth=10), path)
    refused = typed("compare", *runs, "--at", "1,40", "--primary", "ndcg@40")
    assert refused.exit_code == 2
    assert "lists fewer than 40 items for 60 of 60 queries (10 for most)" in refused.stderr
    cut = typed("compare", *runs, "--json")
    assert "nothing is measured deeper: depths 1, 5, 10, ndcg@10 decides" in cut.stderr
    assert "hit@20" not in json.loads(cut.stdout)["tables"]["catalogue"]["rankers"]["popularity"]


def test_runs_that_asked_other_people_exit_2_and_say_how_they_differ(runs: list[Path]):
    shutil.rmtree(runs[1] / "prepare")
    club(members=61).write(runs[1] / "prepare")
    result = typed("compare", *runs)
    assert result.exit_code == 2
    assert result.stderr.startswith("compare: `first` asks 60 queries and `second` 61; 1 only `second` asks")
    assert "give runs of the same data and split" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["first", "first/rankings/orpo/uniform.parquet"], "is a run and"),
        (["first", "second", "--full"], "--queries, --keys and --full are for files"),
        (["first/rankings/orpo/uniform.parquet"], "files need --queries"),
        (["first", "second", "--at", "0"], "depths are whole numbers from 1"),
        (["first", "second", "--primary", "clicks@5"], "clicks@5 is not a metric"),
    ],
)
def test_what_cannot_be_compared_exits_2_with_one_message(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
):
    monkeypatch.chdir(runs[0].parent)
    result = typed("compare", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_run_whose_rankings_hold_other_queries_is_a_fault_not_a_bug(runs: list[Path]):
    path = runs[1] / "rankings" / "orpo" / "uniform.parquet"
    write_parquet(pl.read_parquet(path).filter(pl.col("query") > 0), path)
    result = typed("compare", *runs)
    assert result.exit_code == 2
    assert "ranks 59 queries of 60" in result.stderr
