"""`llmrec compare` and `llmrec audit`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from llmrec.cli import app
from llmrec.ranking import write_parquet
from tests.evaluate.club import club, offered, ranked_run

CLUB = club(members=60)
TABLE = offered(CLUB, 10)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return ranked_run(tmp_path / "club", CLUB, TABLE)


def typed(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def files(run: Path) -> list[Path]:
    return [run / "rankings" / name / "uniform.parquet" for name in ("popularity", "orpo")]


def test_compare_prints_a_table_and_a_sentence_a_pair(run: Path):
    result = typed("compare", *files(run), "--queries", run)
    assert result.exit_code == 0, result.output
    assert "On 10 shared candidates (60 users), orpo (NDCG@10 1.000) beats popularity (0.387)" in result.output
    assert "1.000–1.000" in result.output
    assert result.output.index("orpo") < result.output.index("popularity")
    assert "chance" in result.output


def test_compare_prints_json_for_programs(run: Path):
    result = typed("compare", *files(run), "--queries", run, "--at", "1,3", "--primary", "hit@1", "--json")
    found = json.loads(result.stdout)
    assert found["primary"] == "hit@1"
    assert found["table"]["rankers"]["orpo"]["hit@1"]["mean"] == 1
    assert set(found["table"]["rankers"]["orpo"]) == {f"{m}@{k}" for m in ("hit", "ndcg", "mrr") for k in (1, 3)}
    assert found["comparisons"][0]["difference"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--at", "1,x"], "--at 1,x: depths are whole numbers from 1"),
        (["--at", "0"], "depths are whole numbers from 1"),
        (["--at", 20 * "9"], "depths are whole numbers from 1 to 1,000,000"),
        (["--primary", f"hit@{20 * '9'}"], "depths are whole numbers from 1 to 1,000,000"),
        (["--primary", "auc@5"], "auc@5 is not a metric"),
    ],
)
def test_an_option_that_means_nothing_exits_2(run: Path, options: list[str], words: str):
    result = typed("compare", *files(run), "--queries", run, *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("page", ["", "club/recipe.yaml/x.html"])
def test_a_page_that_cannot_be_written_exits_2_after_the_results(run: Path, page: str, options: list[str]):
    result = typed("compare", *files(run), "--queries", run, "--page", run.parent / page, *options)
    assert result.exit_code == 2
    assert "popularity" in result.stdout
    assert result.stderr.startswith(f"--page {run.parent / page}: cannot be written (")
    assert len(result.stderr.splitlines()) == 1


def test_a_name_that_talks_to_the_terminal_is_only_a_name(run: Path):
    table = pl.read_parquet(files(run)[1]).with_columns(ranker=pl.lit("\x1b[31mred\x1b]0;owned\x07"))
    write_parquet(table, files(run)[1])
    result = typed("compare", *files(run), "--queries", run)
    assert result.exit_code == 0, result.output
    assert "[31mred" in result.stdout
    assert "\x1b" not in result.output
    write_parquet(table.filter(pl.col("query") > 0), files(run)[1])
    result = typed("compare", *files(run), "--queries", run)
    assert "[31mred" in result.stderr
    assert "\x1b" not in result.output


def test_rankings_of_different_queries_exit_2_with_one_message(run: Path):
    short, _ = files(run)
    write_parquet(pl.read_parquet(short).filter(pl.col("query") > 0), short)
    result = typed("compare", *files(run), "--queries", run)
    assert result.exit_code == 2
    assert result.stderr.strip() == (
        "compare: `popularity` ranks 59 queries of 60; the first missing is query 0 of user m0. Rank the same queries "
        "to compare them."
    )


def test_audit_of_an_honest_run_exits_0(run: Path):
    result = typed("audit", run)
    assert result.exit_code == 0, result.output
    assert "disqualifies" not in result.output
    assert "notes" in result.output


def test_audit_exits_3_where_negatives_came_from_a_ranker(run: Path):
    mined = TABLE.with_columns(
        source=pl.col("source").list.eval(
            pl.when(pl.element() == "target").then(pl.element()).otherwise(pl.lit("retrieved"))
        )
    )
    write_parquet(mined, run / "candidates" / "uniform.parquet")
    result = typed("audit", run)
    assert result.exit_code == 3
    assert "disqualifies  uniform: candidates were supplied by `retrieved` (540)" in result.stdout
    assert "1 of these findings disqualify" in result.stderr
    found = json.loads(typed("audit", run, "--json").stdout)["findings"]
    assert found[0]["level"] == "disqualifies"
