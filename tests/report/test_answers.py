"""Rules for scores, and slots."""

from __future__ import annotations

import json
from pathlib import Path

from llmrec.report.answers import rules, slots
from llmrec.report.evidence import read_evidence


def test_the_rule_that_validation_chose_is_bold(full: Path):
    table = rules(read_evidence(full))
    assert table is not None
    assert table.columns == ["sum", "mean", "ghost free", "chosen"]
    bold = {row.name: [table.columns[i] for i, cell in enumerate(row.cells) if cell.best] for row in table.rows}
    assert bold == {"before": ["sum"], "orpo": ["mean"]}
    assert [row.cells[-1].text for row in table.rows] == ["sum", "mean"]
    assert table.rows[1].cells[1].value == 0.74


def test_seeds_that_chose_different_rules_say_how_many(run: Path):
    for seed, rule in ((7, "sum"), (8, "mean"), (9, "sum")):
        folder = run / "rankings" / f"orpo-s{seed}"
        folder.mkdir()
        facts = {"rank_by": rule, "validation": {"ndcg@10 by sum": 0.1 * seed, "ndcg@10 by mean": 0.5}}
        (folder / "summary.json").write_text(json.dumps(facts))
    table = rules(read_evidence(run))
    assert table is not None
    (row,) = table.rows
    assert row.cells[-1].text == "sum (2 of 3), mean (1 of 3)"
    assert abs((row.cells[0].value or 0) - 0.8) < 1e-9


def test_a_fused_rankers_weights_are_no_rules(run: Path):
    (run / "rankings" / "fused").mkdir()
    facts = {"language": "orpo", "uniform": {"weight_of_language": 0.5, "validation": {"0.5": 1.0}}}
    (run / "rankings" / "fused" / "summary.json").write_text(json.dumps(facts))
    assert rules(read_evidence(run)) is None


def test_slots_are_drawn_and_said(full: Path, finished: Path):
    picture = slots(read_evidence(full))
    assert picture is not None
    assert "orpo: .310, .200, .180, .160, .150." in picture.alt
    assert ">orpo<" in picture.svg
    assert ">spread .160, 2 orders<" in picture.svg  # beneath the name: a long one leaves no room beside it
    assert "mean probability" in picture.svg
    assert slots(read_evidence(finished)) is None
