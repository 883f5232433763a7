"""Rankings that cannot be compared, and runs that were cut off: exit 2, and one message with a way out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from llmrec.cli import app
from llmrec.ranking import write_parquet
from tests.evaluate.club import club, listing, offered, placing, ranked_run

CLUB = club(members=60)
TABLE = offered(CLUB, 10)
MINE = placing(CLUB, TABLE, 1, ranker="orpo")


def typed(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def refused(*words: object) -> str:
    result = typed(*words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    return result.stderr.strip()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return ranked_run(tmp_path / "club", CLUB, TABLE)


def ranked(run: Path) -> Path:
    return run / "rankings" / "orpo" / "uniform.parquet"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rewritten(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], None]:
    return lambda path: change(pl.read_parquet(path)).write_parquet(path)


IN_A_RUN: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a ranking that was cut off": (
        "rankings/orpo/uniform",
        cut,
        r"uniform\.parquet: damaged .*Delete it and run again",
    ),
    "a ranking of no bytes": ("rankings/orpo/uniform", empty, r"uniform\.parquet: damaged .*Delete it and run again"),
    "a ranking without a column": (
        "rankings/orpo/uniform",
        rewritten(lambda table: table.drop("score")),
        r"orpo/uniform\.parquet: column score missing; found query, item, rank, ranker",
    ),
    "a ranking without some queries": (
        "rankings/orpo/uniform",
        rewritten(lambda table: table.filter(pl.col("query") > 2)),
        r"`orpo` ranks 57 queries of 60; the first missing is query 0 of user 0\. Rank the same queries",
    ),
    "an item twice": (
        "rankings/orpo/uniform",
        rewritten(lambda table: pl.concat([table, table.head(1)])),
        r"uniform\.parquet: 2 rows list an item again: query 0 lists item \d+ more than once\. List each item once",
    ),
    "scores that are no numbers": (
        "rankings/orpo/uniform",
        rewritten(lambda table: table.with_columns(score=pl.lit(float("nan"), pl.Float32))),
        r"600 scores are not finite, first for query 0, item \d+\. A ranking needs finite scores",
    ),
    "ranks that disagree with scores": (
        "rankings/orpo/uniform",
        rewritten(lambda table: table.with_columns(score=-pl.col("score"))),
        r"uniform: 540 ranks of `orpo` disagree with its scores, first for query 0: .*Write ranks from 1 in the order",
    ),
    "other candidates": (
        "rankings/orpo/uniform",
        rewritten(lambda table: table.with_columns(item=(pl.col("item") + 1) % 50)),
        r"`orpo` leaves out \d+ candidates, first item \d+ for query 0\. Rank every candidate to compare on them",
    ),
    "items that nobody knows": (
        "rankings/orpo/uniform",
        rewritten(lambda table: table.with_columns(item=pl.col("item") + 1000)),
        r"`orpo` leaves out 600 candidates, first item \d+ for query 0",
    ),
    "no test query": (
        "prepare/queries",
        rewritten(lambda table: table.with_columns(fold=pl.lit("valid"))),
        r"queries\.parquet: there is no test query\. Prepare the run anew with a split that leaves some",
    ),
    "queries without targets": (
        "prepare/queries",
        rewritten(lambda table: table.drop("target")),
        r"queries\.parquet: column target missing",
    ),
    "histories without items": (
        "prepare/histories",
        rewritten(lambda table: table.drop("items")),
        r"prepare: .*items.*a table lacks a column\. Run `llmrec prepare` again",
    ),
    "candidates that were cut off": ("candidates/uniform", cut, r"candidates/uniform\.parquet: damaged .*run again"),
    "candidates without sources": (
        "candidates/uniform",
        rewritten(lambda table: table.drop("source")),
        r"candidates/uniform\.parquet: column source missing; found query, items",
    ),
    "candidates that lost targets": (
        "candidates/uniform",
        rewritten(lambda table: table.with_columns(items=pl.col("items").list.eval(pl.element() + 100))),
        r"uniform: 60 of 60 candidate sets lack the target, first for query 0",
    ),
    "no candidates": ("candidates/uniform", Path.unlink, r"missing, and .* rank it\. Run `llmrec rank` again"),
    "no queries": ("prepare/queries", Path.unlink, r"queries\.parquet: there is no such table; run `llmrec prepare`"),
}


@pytest.mark.parametrize(("table", "spoil", "says"), IN_A_RUN.values(), ids=IN_A_RUN.keys())
def test_a_run_that_cannot_be_audited(run: Path, table: str, spoil: Callable[[Path], None], says: str) -> None:
    spoil(run / f"{table}.parquet")
    message = refused("audit", run)
    assert re.search(says, message), message


@pytest.mark.parametrize("content", ["{", "- a\n- b\n", "", "\x00"])
def test_a_run_whose_recipe_cannot_be_read(run: Path, content: str) -> None:
    (run / "recipe.yaml").write_text(content)
    assert "`llmrec run RECIPE` writes it anew" in refused("audit", run)


def test_a_run_that_was_cut_off_before_it_ranked_says_where(run: Path) -> None:
    for path in run.glob("rankings/*/*.parquet"):
        path.unlink()
    assert refused("audit", run).endswith("has no rankings yet; run `llmrec rank` first.")
    (run / ".partial" / "train" / "orpo").mkdir(parents=True)
    (run / ".partial" / "train" / "orpo" / ".fingerprint").write_text("x")
    assert refused("audit", run).endswith("run `llmrec rank` first. It was stopped in train/orpo.")


def test_a_run_that_was_cut_off_while_ranking_is_audited_with_a_warning(run: Path) -> None:
    recipe = "name: club\nsplit: {method: time}\nseeds: 2\narms: {orpo: {}}\nevaluate: {rankers: [recent, language]}\n"
    (run / "recipe.yaml").write_text(recipe)
    (run / "rankings" / "orpo").rename(run / "rankings" / "orpo-s7")
    rewritten(lambda table: table.with_columns(ranker=pl.lit("orpo-s7")))(run / "rankings/orpo-s7/uniform.parquet")
    result = typed("audit", run)
    assert result.exit_code == 0, result.output
    assert "warns         rankings: 1 of the recipe's 2 rankers ranked nothing: `recent`" in result.stdout
    assert "`orpo` is there with 1 of 2 seeds" in result.stdout


def test_an_item_beyond_the_catalogue_is_told_where_there_are_no_candidates(run: Path) -> None:
    lists = listing(CLUB, 1, ranker="orpo").with_columns(item=pl.when(pl.col("rank") == 2).then(9999).otherwise("item"))
    write_parquet(lists.cast({"item": pl.Int32}), run / "rankings" / "orpo" / "catalogue.parquet")
    assert "60 rows of `orpo` (5 %) list items that are not in the catalogue" in typed("audit", run).stdout


def test_no_test_query_stops_the_stage_too(run: Path) -> None:
    rewritten(lambda table: table.with_columns(fold=pl.lit("valid")))(run / "prepare" / "queries.parquet")
    assert "no query is of fold test; found valid" in refused("compare", ranked(run), "--queries", run)


ROWS = [f"m{query},isbn-{item},{score}" for query, item, _, score, _ in MINE.iter_rows()]
CSV = "\n".join(["user,item,score", *ROWS]) + "\n"
ABROAD: dict[str, tuple[str, str]] = {
    "missing queries": (
        "\n".join(CSV.splitlines()[:11]),
        r"`theirs` ranks 1 queries of 60; the first missing is query 1 of user m1\. Rank the same queries",
    ),
    "duplicate items": (
        CSV + ROWS[0],
        r"theirs\.csv: 2 rows list an item again: item isbn-4 stands more than once for m0\. List each item once",
    ),
    "nan": (
        CSV.replace(",-3.0", ",nan"),
        r"theirs\.csv: 60 scores are not finite numbers, first for m0, item isbn-\d+ \(nan\)\. A ranking needs finite",
    ),
    "unknown items": (CSV.replace("isbn", "ean"), r"none of its items is known: its first item is 'ean-\d+', one of"),
    "ranks that disagree": (
        "user,item,score,rank\n" + "\n".join(f"{row},{n % 10 + 1 if n else 5}" for n, row in enumerate(ROWS)),
        r"rank and score disagree in 1 rows, first for m0: .* Leave out the column that does not count",
    ),
    "no row": (
        "user,item,score\n",
        r"theirs\.csv: ranks nothing: it has columns and no row\. Was its writer stopped\?",
    ),
    "no byte": ("", r"theirs\.csv: cannot be read as CSV \(empty CSV"),
    "a row cut off": (CSV + "m5,isbn", r"theirs\.csv: 1 scores are not finite numbers, first for m5, item isbn"),
}


@pytest.mark.parametrize("verb", ["audit", "compare"])
@pytest.mark.parametrize(("content", "says"), ABROAD.values(), ids=ABROAD.keys())
def test_rankings_of_somebody_else_that_do_not_hold(run: Path, verb: str, content: str, says: str) -> None:
    theirs = run.parent / "theirs.csv"
    theirs.write_text(content)
    message = refused(verb, theirs, "--queries", run)
    assert re.search(says, message), message


def test_a_few_unknown_items_keep_their_places_and_are_counted(run: Path) -> None:
    theirs = run.parent / "theirs.csv"
    theirs.write_text(CSV.replace("m0,isbn-4,", "m0,made up,"))
    result = typed("audit", theirs, "--queries", run)
    assert result.exit_code == 0, result.output
    assert (
        "1 items of `theirs` are not in the catalogue, first 'made up'; their 1 rows keep their places" in result.stderr
    )
    assert "1 rows of `theirs` (0.17 %) list items that are not in the catalogue" in result.stdout


def test_queries_that_ask_nothing(run: Path) -> None:
    asked = run.parent / "queries.csv"
    asked.write_text("query,user,target\n")
    words = refused("audit", ranked(run), "--queries", asked)
    assert "every row needs a query, a user and a target, and there must be a row" in words
    asked.write_text("")
    assert "queries.csv: cannot be read as CSV" in refused("audit", ranked(run), "--queries", asked)
    none = write_parquet(CLUB.queries.head(0), run.parent / "none.parquet")
    assert "no query is of fold test" in refused("audit", ranked(run), "--queries", none)


def test_what_audit_cannot_make_sense_of(run: Path) -> None:
    assert refused("audit") == "audit: give one run folder, or files with --queries."
    assert refused("audit", ranked(run)) == "audit: give one run folder, or files with --queries."
    assert refused("audit", run, "--candidates", ranked(run)) == "audit: give one run folder, or files with --queries."
    assert "there is nothing to look at" in refused("audit", "--queries", run)
    assert "is not a run folder" in refused("audit", run.parent / "nowhere")


def test_a_benchmark_of_somebody_else_is_disqualified(run: Path) -> None:
    """Candidates alone, no ranking and no run: whose slot follows from the target."""
    asked, offers = run.parent / "queries.csv", run.parent / "offers.jsonl"
    queries = [
        (query, user, f"isbn-{target}")
        for query, user, target in CLUB.queries.select("query", "user", "target").iter_rows()
    ]
    asked.write_text("query,user,target\n" + "\n".join(f"{q},{u},{t}" for q, u, t in queries))
    rows = []
    for query, _, target in queries:
        slot = int(target[5:]) % 5
        rows.append({"query": str(query), "items": [target if at == slot else f"other {at}" for at in range(5)]})
    offers.write_text("\n".join(json.dumps(row) for row in rows))
    result = typed("audit", "--queries", asked, "--candidates", offers)
    assert result.exit_code == 3, result.output
    assert "disqualifies  candidates: the target's slot follows from the target" in result.stdout
    assert "remedy: Shuffle each set with its query's number as the seed" in result.stdout
    assert "not checked, for want of rankings" in result.stdout
    assert "1 of these findings disqualify the comparison" in result.stderr
    found = json.loads(typed("audit", "--queries", asked, "--candidates", offers, "--json").stdout)
    assert found["findings"][0]["check"] == "slot-follows-target"
    assert found["unchecked"]["ties"] == ["rankings"]


def test_a_name_that_talks_to_the_terminal_is_only_a_name(run: Path) -> None:
    theirs = run.parent / "theirs.csv"
    rows = "\n".join(f"{row.rpartition(',')[0]},0,\x1b[2Jmodel" for row in ROWS)
    theirs.write_text(f"user,item,score,ranker\n{rows}\n")
    result = typed("audit", theirs, "--queries", run)
    assert "[2Jmodel` gives every item the same score for 100 % of queries" in result.stdout
    assert "\x1b" not in result.stdout
