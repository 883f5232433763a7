from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrec.errors import Disqualified, RankingFault
from llmrec.evaluate.evaluate import Verdict, evaluate
from llmrec.files import write_json
from llmrec.recipe.sections import Evaluate
from tests.evaluate.club import club, listing, offered, placing

CLUB = club(members=80)
TABLE = offered(CLUB, 10)
SECTION = Evaluate(at=[1, 10], bootstrap=200)
FILES = {"per_query.parquet", "metrics.json", "comparisons.json", "audit.json"}


def in_turn(*ranks: int) -> list[int]:
    """These ranks over and over, one for each query."""
    return [ranks[i % len(ranks)] for i in range(80)]


def rankings() -> dict[str, dict[str, list[pl.DataFrame]]]:
    """The language model finds every book once tuned, the retriever most, popularity few."""
    ranks = {"popularity": in_turn(5, 9), "retriever": in_turn(1, 2), "before": in_turn(1, 4), "orpo": in_turn(1, 1)}
    deep = {"popularity": in_turn(9, 30), "retriever": in_turn(1, 3), "before": in_turn(9, 30), "orpo": in_turn(2, 9)}
    return {
        "uniform": {name: [placing(CLUB, TABLE, rank, ranker=name)] for name, rank in ranks.items()},
        "catalogue": {name: [listing(CLUB, rank, ranker=name)] for name, rank in deep.items()},
    }


def judged(out: Path, **given: Any) -> Verdict:
    words = {"seed": 7, "out": out, "arms": ["before", "orpo"], "method": "time", "untuned": ["before"], **given}
    return evaluate(CLUB, rankings(), {"uniform": TABLE, "catalogue": None}, SECTION, **words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "evaluate"
    judged(out)
    return out


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_four_files_are_written_and_nothing_else(folder: Path):
    assert {path.name for path in folder.iterdir()} == FILES


def test_metrics_are_the_means_that_the_ranks_have(folder: Path):
    metrics = read(folder / "metrics.json")
    assert metrics["primary"] == "ndcg@10"
    table = metrics["tables"]["uniform"]
    assert (table["candidates"], table["queries"], table["users"]) == (10, 80, 80)
    assert table["rankers"]["orpo"]["hit@1"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert table["rankers"]["retriever"]["mrr@10"]["mean"] == pytest.approx(0.75)
    assert table["rankers"]["popularity"]["hit@10"]["mean"] == 1
    assert table["chance"]["hit@1"] == pytest.approx(0.1)
    assert list(table["rankers"]["orpo"]) == ["hit@1", "hit@10", "ndcg@1", "ndcg@10", "mrr@1", "mrr@10"]


def test_the_catalogue_has_coverage_and_no_chance(folder: Path):
    table = read(folder / "metrics.json")["tables"]["catalogue"]
    assert table["candidates"] is None
    assert "chance" not in table
    assert table["rankers"]["popularity"]["hit@10"]["mean"] == 0.5  # half its targets stand at 30, and are not listed
    # The retriever's first is the target or the first book that its member has not read (0, or 2 to 5).
    first = set(CLUB.queries["target"].to_list()[0::2]) | set(
        listing(CLUB, 3, ranker="x").filter((pl.col("rank") == 1) & (pl.col("query") % 2 == 1))["item"].to_list()
    )
    assert table["lists"]["retriever"]["coverage@1"] == {"mean": pytest.approx(len(first) / 50)}


def test_slices_are_there_for_each_table(folder: Path):
    slices = read(folder / "metrics.json")["slices"]
    assert set(slices) == {"uniform", "catalogue"}
    groups = slices["uniform"]["title_length"]
    assert sum(group["queries"] for group in groups.values()) == 80
    assert set(next(iter(groups.values()))["rankers"]) == {"popularity", "retriever", "before", "orpo"}


def test_every_pair_of_every_table_is_compared_with_a_sentence(folder: Path):
    comparisons = read(folder / "comparisons.json")
    for table in ("uniform", "catalogue"):
        pairs = {(c["a"], c["b"]) for c in comparisons["tables"][table]}
        assert len(pairs) == 6
        assert ("orpo", "popularity") in pairs
    won = next(c for c in comparisons["tables"]["uniform"] if (c["a"], c["b"]) == ("orpo", "before"))
    assert (won["won"], won["tied"], won["lost"]) == (40, 40, 0)
    assert won["sentence"].startswith("On 10 uniform candidates (80 users), orpo (NDCG@10 1.000) beats before (0.715)")


def test_the_verdict_has_one_sentence_a_table_the_headline_first(folder: Path):
    verdict = read(folder / "comparisons.json")["verdict"]
    assert verdict.startswith("In short: on the full catalogue the language model (orpo) is below the retriever")
    catalogue, uniform = verdict.index("On the full catalogue"), verdict.index("On 10 uniform candidates")
    assert catalogue < uniform
    assert "orpo (NDCG@10 0.466) is below retriever (0.750)" in verdict[catalogue:uniform]
    assert "orpo (NDCG@10 1.000) beats retriever" in verdict[uniform:]
    assert "what tuning gave: orpo beats before" in verdict[uniform:]


def test_per_query_rows_say_where_every_target_stood(folder: Path):
    rows = pl.read_parquet(folder / "per_query.parquet")
    assert rows.height == 2 * 4 * 80
    missed = rows.filter((pl.col("table") == "catalogue") & (pl.col("ranker") == "before") & (pl.col("query") == 1))
    assert missed.select("above", "hit@10").row(0) == (-1, 0.0)


def test_the_files_are_the_same_the_second_time(folder: Path, tmp_path: Path):
    judged(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_verdict_comes_back_as_it_was_written(folder: Path, tmp_path: Path):
    verdict = judged(tmp_path)
    assert verdict.text == read(folder / "comparisons.json")["verdict"]
    assert not verdict.disqualified
    assert verdict.metrics == read(folder / "metrics.json")


def test_a_disqualified_comparison_is_written_before_it_is_refused(tmp_path: Path):
    mined = TABLE.with_columns(
        source=pl.col("source").list.eval(
            pl.when(pl.element() == "target").then(pl.element()).otherwise(pl.lit("retriever"))
        )
    )
    uniform = {"uniform": rankings()["uniform"]}
    with pytest.raises(Disqualified, match="uniform: candidates were supplied by `retriever`"):
        evaluate(CLUB, uniform, {"uniform": mined}, SECTION, seed=7, out=tmp_path, arms=["orpo"], method="time")
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert read(tmp_path / "audit.json")["findings"][0]["level"] == "disqualifies"


def test_rankings_that_cannot_be_compared_leave_nothing_behind(tmp_path: Path):
    short = {"uniform": {"me": [placing(CLUB, TABLE, 1, ranker="me").filter(pl.col("query") > 4)]}}
    with pytest.raises(RankingFault, match="`me` ranks 75 queries of 80"):
        evaluate(CLUB, short, {"uniform": TABLE}, SECTION, seed=7, out=tmp_path, arms=[], method="time")
    assert list(tmp_path.iterdir()) == []


def test_candidates_of_other_folds_are_left_aside(tmp_path: Path):
    more = pl.concat([TABLE, TABLE.with_columns(query=pl.col("query") + 1000)])
    uniform = {"uniform": rankings()["uniform"]}
    verdict = evaluate(CLUB, uniform, {"uniform": more}, SECTION, seed=7, out=tmp_path, arms=[], method="time")
    assert verdict.metrics["tables"]["uniform"]["queries"] == 80


def test_several_seeds_are_one_ranker(tmp_path: Path):
    seeds = [placing(CLUB, TABLE, rank, ranker="orpo") for rank in (1, 2)]
    tables = {"uniform": {"popularity": rankings()["uniform"]["popularity"], "orpo": seeds}}
    verdict = evaluate(CLUB, tables, {"uniform": TABLE}, SECTION, seed=7, out=tmp_path, arms=["orpo"], method="time")
    assert verdict.metrics["tables"]["uniform"]["seeds"] == {"popularity": 1, "orpo": 2}
    assert verdict.metrics["tables"]["uniform"]["rankers"]["orpo"]["hit@1"] == {"mean": 0.5, "low": 0.0, "high": 1.0}
    assert "this trained model" not in verdict.text


def test_infinity_is_never_written(tmp_path: Path):
    with pytest.raises(ValueError, match="JSON"):
        write_json({"x": float("inf")}, tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()
