"""The tables of a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llmrec.report.evidence import Evidence, read_evidence
from llmrec.report.results import Result, results, speeds, spent


@pytest.fixture
def evidence(finished: Path) -> Evidence:
    return read_evidence(finished)


@pytest.fixture
def uniform(evidence: Evidence) -> Result:
    return next(r for r in results(evidence) if r.name == "uniform")


def test_the_metric_that_decides_comes_first(uniform: Result):
    assert uniform.columns == ["NDCG@10", "HR@1", "HR@5", "HR@10", "MRR@10"]


def test_a_depth_at_which_everybody_scores_one_is_left_out(uniform: Result, evidence: Evidence):
    assert "hit@20" in evidence.metrics["tables"]["uniform"]["rankers"]["orpo"]
    assert "HR@20" not in uniform.columns + uniform.more


def test_recall_of_a_two_stage_set_is_no_matter_of_course(evidence: Evidence, uniform: Result):
    """There the target may be missing, so that HR at the depth of the whole set is what the retriever found."""
    facts = {**evidence.metrics["tables"]["uniform"], "candidates": 20}
    del facts["chance"]
    metrics = {**evidence.metrics, "tables": {"two_stage": facts}}
    (result,) = results(replace(evidence, metrics=metrics, comparisons={}))
    assert "HR@20" in result.columns


def test_the_best_of_a_column_and_the_best_floor_are_marked(uniform: Result):
    rows = {row.ranker: row for row in uniform.rows}
    assert "best floor" in rows["transitions"].tags
    assert [row.ranker for row in uniform.rows if row.cells[0].best] == ["transitions"]
    assert "not tuned" in rows["before"].tags


def test_equal_rankers_are_best_together(evidence: Evidence):
    same = {"ndcg@10": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    metrics = {"primary": "ndcg@10", "tables": {"catalogue": {"candidates": None, "rankers": {"a": same, "b": same}}}}
    (result,) = results(replace(evidence, metrics=metrics, comparisons={}))
    assert [row.cells[0].best for row in result.rows] == [True, True]


def test_chance_stands_below_drawn_candidates_and_nowhere_else(evidence: Evidence):
    lasts = {result.name: result.rows[-1] for result in results(evidence)}
    assert lasts["uniform"].ranker == "chance"
    assert lasts["uniform"].cells[1].mean == ".050"  # HR@1 among twenty
    assert lasts["catalogue"].ranker != "chance"


def test_stages_add_up(evidence: Evidence):
    stages, total = spent(evidence)
    assert [s.stage for s in stages] == ["prepare", "retrieve", "pretrain", "train"]
    assert sum(s.share for s in stages) == pytest.approx(100)
    assert total == "8 min 17 s"


def test_speeds_come_in_the_order_of_the_tables(evidence: Evidence):
    order = [row["ranker"] for row in speeds(evidence)]
    assert order == ["popularity", "recent", "transitions", "retriever", "before", "orpo"]


def test_only_comparisons_that_are_drawn_are_put_into_words(uniform: Result):
    assert len(uniform.comparisons) == 15
    assert len(uniform.sentences) == 6
    assert not any("popularity" in sentence for sentence in uniform.sentences)
