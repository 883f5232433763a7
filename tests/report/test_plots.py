"""What the figures show, read from what they are drawn from."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from llmrec.report.evidence import Evidence, read_evidence
from llmrec.report.figures import draw
from llmrec.report.plots import chosen, differences, pictures, points, slices, training, who_wins


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
    made = {"a": "transitions", "b": "orpo", "difference": 0.2, "low": 0.1, "high": 0.4, "p_holm": 0.01}
    turned = replace(evidence, comparisons={"tables": {"uniform": [made]}})
    ((_, (line,)),) = differences(turned, "uniform")
    assert (line.a, line.difference, line.low, line.high) == ("orpo", -0.2, -0.4, -0.1)


@pytest.mark.parametrize(("low", "p_holm", "sure"), [(0.01, 0.01, True), (0.01, 0.2, False), (-0.01, 0.01, False)])
def test_a_difference_is_sure_only_when_interval_and_corrected_test_agree(
    evidence: Evidence, low: float, p_holm: float, sure: bool
):
    made = {"a": "orpo", "b": "retriever", "difference": 0.1, "low": low, "high": 0.2, "p_holm": p_holm}
    ((_, (line,)),) = differences(replace(evidence, comparisons={"tables": {"uniform": [made]}}), "uniform")
    assert line.sure is sure


def test_every_figure_is_well_formed_and_the_same_every_time(evidence: Evidence):
    first, second = pictures(evidence), pictures(evidence)
    names = {"training", "who-wins-catalogue", "who-wins-uniform", "slices-catalogue", "slices-uniform"}
    assert set(first) == names
    for name in names:
        assert ElementTree.fromstring(first[name].svg).tag.endswith("svg")
        assert first[name] == second[name]


def test_figures_are_absent_where_there_is_nothing_to_show(evidence: Evidence):
    bare = replace(
        evidence, pretraining={}, tuning={}, fitting={}, comparisons={}, metrics={**evidence.metrics, "slices": {}}
    )
    assert training(bare) is None
    assert who_wins(bare, "uniform") is None
    assert slices(bare, "uniform") is None


def test_curves_leave_out_what_is_no_finite_number():
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": math.nan}, {"step": 3}, {"step": 4, "loss": "1.5"}]
    assert points(rows, "step", "loss") == [(1.0, 2.0)]


def test_slices_show_the_best_floor_and_both_sides(evidence: Evidence):
    assert chosen(evidence, "uniform") == ["transitions", "retriever", "before", "orpo"]


def test_names_with_dollars_and_tags_are_drawn_as_they_are():
    picture = draw("x", 'it says "so" & <so>', (2, 2), lambda figure: figure.text(0, 0, "a$b$ <script> 日本") and None)
    assert "a$b$ &lt;script&gt; 日本" in picture.svg
    ElementTree.fromstring(str(picture.inline))


def test_drawing_leaves_the_callers_matplotlib_alone(evidence: Evidence):
    with mpl.rc_context({"font.size": 33}):
        training(evidence)
        assert mpl.rcParams["font.size"] == 33


def test_the_page_sets_the_colours_and_the_file_has_its_own_ground(evidence: Evidence, tmp_path: Path):
    picture = who_wins(evidence, "uniform")
    assert picture is not None
    assert "var(--language)" in picture.inline
    assert "#d55e00" not in picture.inline
    assert '<rect width="100%" height="100%" fill="#ffffff"/>' in picture.write(tmp_path).read_text()
