"""Which comparisons a report spells out, and all of them as a matrix."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from llmrec.errors import RunFault
from llmrec.evaluate.comparison import Comparison
from llmrec.evaluate.sentences import OUTCOMES
from llmrec.report.comparisons import FEW, compared, deciding, differences, listed, sentences, sides, sure, words
from llmrec.report.evidence import Evidence, read_evidence
from llmrec.report.matrix import HEADS, matrix


def against(a: str, b: str, **said: Any) -> dict[str, Any]:
    """A comparison as comparisons.json has it."""
    level = {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "p_holm": 1.0, "effect": 0.0}
    rest = {"mean_a": 0.5, "mean_b": 0.5, "won": 0, "tied": 0, "lost": 0, "seeds_a": 1, "seeds_b": 1, "pairs": 1}
    return {"a": a, "b": b, "metric": "ndcg@10", **level, **rest, **said}


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
    made = against("transitions", "orpo", difference=0.2, low=0.1, high=0.4, p_holm=0.01, won=3)
    turned = replace(evidence, comparisons={"tables": {"uniform": [made]}})
    ((_, (line,)),) = differences(turned, "uniform")
    assert (line.a, line.difference, line.low, line.high) == ("orpo", -0.2, -0.4, -0.1)
    assert (line.won, line.lost) == (0, 3)


@pytest.mark.parametrize("p_holm", [0.01, 0.2])
@pytest.mark.parametrize(("low", "high"), [(0.01, 0.2), (-0.01, 0.2), (0.0, 0.2), (-0.2, -0.01)])
def test_the_report_and_the_evaluation_judge_alike(evidence: Evidence, low: float, high: float, p_holm: float):
    said = against("a", "b", difference=(low + high) / 2, low=low, high=high, p_holm=p_holm)
    (shown,) = compared(replace(evidence, comparisons={"tables": {"uniform": [said]}}), "uniform")
    judged = Comparison(**said)
    assert shown == judged
    assert f"a {OUTCOMES[judged.outcome]} b: " in words(shown)
    assert sure(shown) is (p_holm <= 0.05 and not low <= 0 <= high)


def test_a_comparison_that_lacks_a_part_is_named(evidence: Evidence):
    said = against("a", "b")
    del said["p_holm"]
    with pytest.raises(RunFault, match=r"comparisons.json: a comparison of `uniform` lacks p_holm\. Run `evaluate`"):
        compared(replace(evidence, comparisons={"tables": {"uniform": [said]}}), "uniform")


def test_sentences_are_those_of_the_evaluation(evidence: Evidence):
    made = evidence.comparisons["tables"]["uniform"]
    assert sentences(evidence, "uniform") == [one["sentence"] for one in made]


def test_few_pairs_are_all_spelled_out_and_of_many_only_those_that_decide(evidence: Evidence, crowd: Path):
    assert len(deciding(evidence, "uniform")) == len(compared(evidence, "uniform")) == FEW
    many = read_evidence(crowd)
    spelled = deciding(many, "catalogue")
    assert len(compared(many, "catalogue")) == 19 * 18 // 2
    assert len(spelled) <= 10
    assert {frozenset((p.a, p.b)) for p in spelled} >= {frozenset(("retriever", "transitions"))}
    table = listed(many, "catalogue")
    assert table is not None
    assert table.caption.startswith(f"The {len(spelled)} of 171 pairs")


def test_of_rankers_of_which_nothing_is_known_the_pairs_with_the_best_decide(evidence: Evidence):
    names = list("ABCDEFGH")
    means = {name: {"ndcg@10": {"mean": 0.1 * i}} for i, name in enumerate(names)}
    made = [against(b, a, difference=0.1, low=0.0, high=0.2) for a, b in combinations(names, 2)]
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
    assert {outcome: said.removesuffix(" the other") for outcome, _, said in square.signs} == OUTCOMES


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
