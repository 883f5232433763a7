"""Which pairs of rankers a report spells out, and all of them as a matrix."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from llmrec.report.evidence import Evidence, read_evidence
from llmrec.report.matrix import HEADS, matrix
from llmrec.report.pairs import FEW, Pair, deciding, differences, listed, pairs, sides


@pytest.fixture
def evidence(finished: Path) -> Evidence:
    return read_evidence(finished)


def test_contenders_meet_the_best_floor_the_retriever_and_themselves_before_tuning(evidence: Evidence):
    shown = {title: [(d.a, d.b) for d in lines] for title, lines in differences(evidence, "uniform")}
    floor, retriever, before = shown.values()
    assert floor == [("retriever", "transitions"), ("before", "transitions"), ("orpo", "transitions")]
    assert retriever == [("before", "retriever"), ("orpo", "retriever")]
    assert before == [("orpo", "before")]


def test_a_comparison_made_the_other_way_round_is_turned(evidence: Evidence):
    made = {"a": "transitions", "b": "orpo", "difference": 0.2, "low": 0.1, "high": 0.4, "p_holm": 0.01, "won": 3}
    turned = replace(evidence, comparisons={"tables": {"uniform": [made]}})
    ((_, (line,)),) = differences(turned, "uniform")
    assert (line.a, line.difference, line.low, line.high) == ("orpo", -0.2, -0.4, -0.1)
    assert (line.won, line.lost) == (0, 3)


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "outcome"),
    [
        (0.01, 0.2, 0.01, "beats"),
        (0.01, 0.2, 0.2, "ahead"),
        (-0.01, 0.2, 0.01, "level"),
        (-0.2, -0.01, 0.2, "behind"),
        (-0.2, -0.01, 0.01, "loses"),
    ],
)
def test_a_ranker_beats_another_only_when_interval_and_corrected_test_agree(
    low: float, high: float, p_holm: float, outcome: str
):
    pair = Pair("a", "b", (low + high) / 2, low, high, p_holm=p_holm)
    assert pair.outcome == outcome
    assert pair.sure is (outcome in ("beats", "loses"))


def test_few_pairs_are_all_spelled_out_and_of_many_only_those_that_decide(evidence: Evidence, crowd: Path):
    assert len(deciding(evidence, "uniform")) == len(pairs(evidence, "uniform")) == FEW
    many = read_evidence(crowd)
    spelled = deciding(many, "catalogue")
    assert len(pairs(many, "catalogue")) == 19 * 18 // 2
    assert len(spelled) <= 10
    assert {frozenset((p.a, p.b)) for p in spelled} >= {frozenset(("retriever", "transitions"))}
    table = listed(many, "catalogue")
    assert table is not None
    assert table.caption.startswith(f"The {len(spelled)} of 171 pairs")


def test_of_rankers_of_which_nothing_is_known_the_pairs_with_the_best_decide(evidence: Evidence):
    names = list("ABCDEFGH")
    means = {name: {"ndcg@10": {"mean": 0.1 * i}} for i, name in enumerate(names)}
    made = [{"a": b, "b": a, "difference": 0.1, "low": 0.0, "high": 0.2} for a, b in combinations(names, 2)]
    strange = replace(
        evidence,
        metrics={"primary": "ndcg@10", "tables": {"shared": {"candidates": 5, "rankers": means}}},
        comparisons={"tables": {"shared": made}},
    )
    assert {p.b for p in deciding(strange, "shared")} == set("ABCDEFG")
    assert {p.a for p in deciding(strange, "shared")} == {"H"}


def test_the_matrix_has_the_best_first_and_says_of_each_pair_both_sides(crowd: Path):
    evidence = read_evidence(crowd)
    square = matrix(evidence, "catalogue")
    assert square is not None
    names = [name for name, _ in square.rankers]
    means = [evidence.tables["catalogue"]["rankers"][name]["ndcg@10"]["mean"] for name in names]
    assert means == sorted(means, reverse=True)
    other = {"beats": "loses", "ahead": "behind", "level": "level", "behind": "ahead", "loses": "beats"}
    for i in range(len(names)):
        assert square.rows[i][i] is None
        for j in range(i):
            here, there = square.rows[i][j], square.rows[j][i]
            assert here is not None
            assert there is not None
            assert there.outcome == other[here.outcome]
            assert here.words.startswith(names[i])
            assert bool(here.exact) != bool(there.exact)  # each pair stands once in the CSV


def test_the_matrix_keeps_the_exact_numbers(finished: Path):
    evidence = read_evidence(finished)
    square = matrix(evidence, "uniform")
    assert square is not None
    lines = [json.loads(met.exact) for row in square.rows for met in row if met and met.exact]
    made = {(c["a"], c["b"]): c for c in evidence.comparisons["tables"]["uniform"]}
    assert len(lines) == len(made) == 15
    for a, b, difference, low, high, p, p_holm, won, tied, lost, _ in lines:
        c = made[a, b]
        exact = (c["difference"], c["low"], c["high"], c["p"], c["p_holm"], c["won"], c["tied"], c["lost"])
        assert (difference, low, high, p, p_holm, won, tied, lost) == exact
    assert len(HEADS) == len(lines[0])


def test_two_rankers_need_no_matrix(evidence: Evidence):
    facts = evidence.tables["uniform"]
    two = {name: facts["rankers"][name] for name in ("orpo", "before")}
    assert matrix(replace(evidence, metrics={"tables": {"uniform": {**facts, "rankers": two}}}), "uniform") is None


def test_fused_meets_each_of_its_sides_user_by_user(full: Path):
    table = sides(read_evidence(full), "two_stage")
    assert table is not None
    assert [(row.name, row.cells[0].text) for row in table.rows] == [("fused", "retriever"), ("fused", "orpo")]
    for row in table.rows:
        assert sum(int(cell.value or 0) for cell in row.cells[-3:]) == 40  # won, tied and lost are all users


def test_without_fused_there_are_no_sides(evidence: Evidence):
    assert sides(evidence, "uniform") is None
