"""The tables of a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from llmrec.report.costs import rankers as costs
from llmrec.report.evidence import Evidence, judged, read_evidence
from llmrec.report.results import Result, results


@pytest.fixture
def evidence(finished: Path) -> Evidence:
    return read_evidence(finished)


@pytest.fixture
def uniform(evidence: Evidence) -> Result:
    return next(r for r in results(evidence) if r.name == "uniform")


def test_the_metric_that_decides_comes_first(uniform: Result):
    assert uniform.table.columns == ["NDCG@10", "HR@1", "HR@5", "HR@10", "MRR@10"]


def test_a_depth_at_which_everybody_scores_one_is_left_out(uniform: Result, evidence: Evidence):
    assert "hit@20" in evidence.metrics["tables"]["uniform"]["rankers"]["orpo"]
    assert uniform.more is not None
    assert "HR@20" not in uniform.table.columns + uniform.more.columns


def test_recall_of_a_two_stage_set_is_no_matter_of_course(evidence: Evidence, uniform: Result):
    """There the target may be missing, so that HR at the depth of the whole set is what the retriever found."""
    facts = {**evidence.metrics["tables"]["uniform"], "candidates": 20}
    del facts["chance"]
    metrics = {**evidence.metrics, "tables": {"two_stage": facts}}
    (result,) = results(replace(evidence, metrics=metrics, comparisons={}))
    assert "HR@20" in result.table.columns


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, "Every item that the user has not yet touched is ranked."),
        ({"seen": "masked"}, "Every item that the user has not yet touched is ranked."),
        ({"seen": "ranked"}, "Every item is ranked, those that the user has already touched among them."),
        ({"seen": None}, "is not known"),
    ],
)
def test_what_became_of_items_already_touched_is_said_as_far_as_it_is_known(
    evidence: Evidence, section: dict[str, str | None], words: str
):
    result = results(replace(evidence, recipe={**evidence.recipe, "evaluate": section}))[0]
    assert (result.name, words in result.note) == ("catalogue", True)


def test_of_rankings_that_came_from_anywhere_nobody_knows_what_was_left_out(evidence: Evidence):
    strange = judged({"tables": {"catalogue": evidence.tables["catalogue"]}}, {})
    assert "is not known" in results(strange)[0].note


def test_the_best_of_a_column_and_the_best_floor_are_marked(uniform: Result):
    rows = {row.name: row for row in uniform.table.rows}
    assert "best floor" in rows["transitions"].tags
    assert [row.name for row in uniform.table.rows if row.cells[0].best] == ["transitions"]
    assert "not tuned" in rows["before"].tags


@pytest.mark.parametrize("name", ["shuffled_titles", "one/shuffled_titles"])
def test_the_arm_whose_titles_were_dealt_anew_is_a_control(evidence: Evidence, name: str):
    facts = evidence.tables["catalogue"]
    with_it = {**facts["rankers"], name: facts["rankers"]["before"]}
    strange = replace(
        evidence,
        metrics={**evidence.metrics, "tables": {"catalogue": {**facts, "rankers": with_it}}},
        cost={"stages": [], "rankers": {name: {"users_per_second": 5.0}, "orpo": {"users_per_second": 5.0}}},
    )
    (result,), cost = results(strange), costs(strange)
    assert cost is not None
    for table in (result.table, cost):
        assert [row.name for row in table.rows if "control" in row.tags] == [name]


def test_equal_rankers_are_best_together(evidence: Evidence):
    same = {"ndcg@10": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    metrics = {"primary": "ndcg@10", "tables": {"catalogue": {"candidates": None, "rankers": {"a": same, "b": same}}}}
    (result,) = results(replace(evidence, metrics=metrics, comparisons={}))
    assert [row.cells[0].best for row in result.table.rows] == [True, True]


def test_chance_stands_below_drawn_candidates_and_nowhere_else(evidence: Evidence):
    lasts = {result.name: result.table.rows[-1] for result in results(evidence)}
    assert lasts["uniform"].name == "chance"
    assert lasts["uniform"].cells[1].text == ".050"  # HR@1 among twenty
    assert lasts["catalogue"].name != "chance"


def test_every_cell_keeps_the_number_that_it_rounds(uniform: Result, evidence: Evidence):
    exact = evidence.metrics["tables"]["uniform"]["rankers"]["orpo"]["ndcg@10"]
    cell = next(row for row in uniform.table.rows if row.name == "orpo").cells[0]
    assert (cell.value, cell.low, cell.high) == (exact["mean"], exact["low"], exact["high"])


def test_only_comparisons_that_are_drawn_are_put_into_words(uniform: Result):
    assert uniform.pairs is not None
    assert len(uniform.pairs.rows) == 15
    assert len(uniform.sentences) == 6
    assert not any("popularity" in sentence for sentence in uniform.sentences)


def test_the_ceiling_is_the_share_of_lists_that_hold_the_target(full: Path):
    """Every fourth query was robbed of what the retriever put first."""
    rows = pl.read_parquet(full / "evaluate" / "per_query.parquet").filter(pl.col("table") == "two_stage")
    reached = (rows.filter(pl.col("ranker") == "retriever")["above"] >= 0).mean()
    assert isinstance(reached, float)
    assert 0.5 < reached < 0.9
    result = next(r for r in results(read_evidence(full)) if r.name == "two_stage")
    assert f"{100 * reached:.1f} % of queries" in result.ceiling
    assert result.captured is not None
    shares = {row.name: row.cells[0].value for row in result.captured.rows}
    means = read_evidence(full).metrics["tables"]["two_stage"]["rankers"]
    assert shares == pytest.approx({name: m["ndcg@10"]["mean"] / reached for name, m in means.items()})


def test_sets_that_always_hold_the_target_have_no_ceiling(uniform: Result):
    assert uniform.ceiling == ""
    assert uniform.captured is None


def test_what_lists_are_like_is_told_with_a_sentence_for_each_column(full: Path):
    result = next(r for r in results(read_evidence(full)) if r.name == "catalogue")
    assert result.lists is not None
    assert result.lists.columns == ["coverage@10", "novelty@10"]
    assert [column for column, _ in result.lists.notes] == ["coverage", "novelty"]
    novelty = result.lists.rows[0].cells[1]
    assert (novelty.text, novelty.note, novelty.value) == ("6.25", "6.00–6.50", 6.25)


def test_coverage_alone_still_is_shown(finished: Path):
    result = next(r for r in results(read_evidence(finished)) if r.name == "catalogue")
    assert result.lists is not None
    assert result.lists.columns[0] == "coverage@1"


def test_the_numbers_of_the_slices_stand_in_a_table(full: Path):
    result = next(r for r in results(read_evidence(full)) if r.name == "catalogue")
    assert result.slices is not None
    assert "item age: 900 to 999" in [row.name for row in result.slices.rows]
    assert result.slices.columns == ["queries", *read_evidence(full).chosen("catalogue")]
