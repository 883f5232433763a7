"""What the figures show, read from what they are drawn from."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from llmrec.report.curves import adapting, points, training
from llmrec.report.evidence import Evidence, read_evidence
from llmrec.report.figures import draw
from llmrec.report.plots import pictures, who_wins
from llmrec.report.slices import slices


@pytest.fixture
def evidence(finished: Path) -> Evidence:
    return read_evidence(finished)


def test_every_figure_is_well_formed_and_the_same_every_time(evidence: Evidence):
    first, second = pictures(evidence), pictures(evidence)
    names = {"training", "pareto", "who-wins-catalogue", "who-wins-uniform", "slices-catalogue", "slices-uniform"}
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
    assert evidence.chosen("uniform") == ["transitions", "retriever", "before", "orpo"]


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


def test_of_many_rankers_each_has_one_line_and_the_panels_say_against_whom(crowd: Path):
    picture = who_wins(read_evidence(crowd), "catalogue")
    assert picture is not None
    for n in range(13):
        assert picture.svg.count(f">mamba_objective_{n:02d}<") == 1
    for other in ("transitions", "the retriever", "before"):
        assert f">{other}<" in picture.svg
    height = float(ElementTree.fromstring(picture.svg).attrib["height"].removesuffix("pt"))
    assert height < 72 * 6
    assert "against the retriever" in picture.alt


def test_many_training_runs_are_drawn_without_a_legend_of_all(evidence: Evidence):
    log = evidence.tuning["orpo"]
    many = training(replace(evidence, tuning={f"orpo-s{n}": log for n in range(20)}))
    assert many is not None
    assert "40 curves" in many.svg  # losses, on training and on validation pairs
    assert "orpo-s7" not in many.svg
    assert len(many.alt) < 1000


def test_batch_and_noise_scale_are_drawn_where_they_set_themselves(evidence: Evidence):
    assert adapting(evidence) is None
    grown = [
        {"step": n, "loss": 1.0, "samples": 8 * 2**n, "batch": 8 * 2 ** (n // 3), "noise_scale": 70.0 + n}
        for n in range(1, 9)
    ]
    grown += [{"step": 4, "eval_ndcg": 0.5, "samples": 128, "elapsed": 3.5}, {"step": 8, "eval_ndcg": 0.7}]
    both = adapting(
        replace(
            evidence,
            tuning={"fixed": evidence.tuning["orpo"], "grown": grown},
            fitting={
                "model": [{"epoch": e, "ndcg@10": e / 9, "seconds": 2.0, "samples": 90 * e, "batch": 16 * e,
                           "noise_scale": None} for e in (1, 2)],
                "mining": [{"epoch": e, "ndcg@10": e / 8, "seconds": 3.0} for e in (1, 2)],
            },
        )
    )  # fmt: skip
    assert both is not None
    assert "grown, batch pairs from 8 to 32. grown, noise scale pairs from 71 to 78." in both.alt
    assert "Preference tuning: validation: grown NDCG in a pair from 0.5 to 0.5." in both.alt
    assert "ranks, batch rows from 16 to 32." in both.alt
    assert both.alt.count("mines negatives NDCG@10") == 1  # by seconds; it does not say how many rows it had seen
    assert ">seconds<" in both.svg
    assert "mathdefault" not in both.svg


def test_seconds_of_the_retriever_add_up(evidence: Evidence):
    rows = [{"epoch": e, "ndcg@10": 0.1 * e, "seconds": 2.5, "samples": 10 * e, "batch": 4} for e in (1, 2, 3, 4)]
    picture = adapting(replace(evidence, tuning={}, fitting={"model": rows}))
    assert picture is not None
    assert ">10<" in picture.svg


def test_ten_groups_have_a_line_of_the_figure_to_themselves(full: Path):
    picture = slices(read_evidence(full), "catalogue")
    assert picture is not None
    ElementTree.fromstring(picture.svg)
    for title in ("Age of the target", "Target never met in training", "Met before, or new to the user"):
        assert title in picture.svg
    assert "to 199" in picture.svg
    assert "Age of the target, in the group 0 to 99 and in 900 to 999: transitions 1.000 and 1.000" in picture.alt
