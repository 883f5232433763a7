"""What a run took and what its rankers cost."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.report.costs import MANY, Point, front, plane, rankers, stages, timing
from llmrec.report.evidence import Evidence, read_evidence
from llmrec.report.pareto import pareto
from llmrec.report.report import write_report
from llmrec.report.tables import Cell, Table
from tests.report.runs import evaluated_again


@pytest.fixture
def evidence(full: Path) -> Evidence:
    return read_evidence(full)


def cell(table: Table | None, ranker: str, column: str) -> Cell:
    assert table is not None
    return next(row.cells[table.columns.index(column)] for row in table.rows if row.name == ranker)


def test_stages_add_up(finished: Path):
    (table,), total = stages(read_evidence(finished))
    assert [row.name for row in table.rows] == ["prepare", "retrieve", "pretrain", "train"]
    assert sum(row.cells[1].value or 0 for row in table.rows) == pytest.approx(1)
    assert total == "8 min 17 s"


def test_many_stages_are_summed_by_kind_first(run: Path):
    for n in range(MANY):
        (run / "train" / f"orpo-s{n}").mkdir()
        facts = {"stage": f"train/orpo-s{n}", "seconds": 10.0, "peak_rss_gb": 1.0 + n, "started": "2027"}
        (run / "train" / f"orpo-s{n}" / "stage.json").write_text(json.dumps(facts))
    kinds, every = stages(read_evidence(run))[0]
    assert [row.name for row in kinds.rows] == ["prepare", "retrieve", "pretrain", f"train ({MANY + 1})"]
    assert kinds.rows[-1].cells[0].value == 120 + 10 * MANY
    assert kinds.rows[-1].cells[2].value == MANY  # the highest of the peaks, not their sum
    assert len(every.rows) == MANY + 4


def test_rankers_come_in_the_order_of_the_tables(evidence: Evidence):
    table = rankers(evidence)
    assert table is not None
    names = [row.name for row in table.rows]
    assert names == ["popularity", "recent", "transitions", "retriever", "before", "orpo", "fused"]


def test_every_cost_that_was_measured_is_shown_with_its_exact_value(evidence: Evidence):
    table = rankers(evidence)
    expected = {
        "users/s": ("25", 25.0),
        "seconds for 1,000 users": ("16", 1000 / 61.5),  # in its best batch
        "p50": ("42 ms", 41.5),
        "p99": ("88 ms", 88.25),
        "best batch": ("62", 61.5),
        "tokens a user": ("72", 72.5),
        "model size": ("3.4 MB", 3_410_432),
        "peak memory": ("1.5 GB", 1.5),
        "parameters": ("1.2 M", 1_234_567),
    }
    for column, (text, value) in expected.items():
        found = cell(table, "orpo", column)
        assert (found.text, found.value) == (text, value), column
    assert cell(table, "orpo", "best batch").note == "batch 16"
    assert cell(table, "orpo", "tokens a user").note == "31 read, 12 asked"
    assert cell(table, "popularity", "p50").text == ""


def test_columns_that_nobody_measured_are_left_out(finished: Path):
    table = rankers(read_evidence(finished))
    assert table is not None
    assert table.columns == ["users/s", "seconds for 1,000 users", "parameters"]
    assert [column for column, _ in table.notes] == ["users/s", "seconds for 1,000 users"]


def test_seeds_of_one_arm_stand_as_one_ranker(run: Path):
    (run / "rankings" / "orpo" / "summary.json").unlink()
    for seed, speed, peak in ((7, 10.0, 1.5), (8, 30.0, 2.5)):
        folder = run / "rankings" / f"orpo-s{seed}"
        folder.mkdir()
        (folder / "summary.json").write_text(json.dumps({"users_per_second": speed}))
        facts = {"stage": f"rankings/orpo-s{seed}", "seconds": 1.0, "peak_rss_gb": peak}
        (folder / "stage.json").write_text(json.dumps(facts))
    table = rankers(read_evidence(run))
    assert cell(table, "orpo", "users/s").value == 20.0
    assert cell(table, "orpo", "peak memory").value == 2.5
    assert table is not None
    assert next(row.tags for row in table.rows if row.name == "orpo") == ["2 seeds"]


def test_a_run_that_recorded_nothing_has_no_cost(run: Path):
    for record in (*run.rglob("stage.json"), *run.rglob("summary.json")):
        record.unlink()
    evidence = read_evidence(run)
    assert rankers(evidence) is None
    assert stages(evidence) == ([], "")
    assert pareto(evidence) is None


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1, max_size=25))
def test_nobody_beats_the_front_and_the_front_beats_everybody_else(values: list[tuple[int, int]]):
    points = [Point(str(i), cost, quality, quality, quality) for i, (cost, quality) in enumerate(values)]

    def beats(a: Point, b: Point) -> bool:
        no_worse = a.seconds <= b.seconds and a.mean >= b.mean
        return no_worse and (a.seconds, a.mean) != (b.seconds, b.mean)

    best = front(points)
    assert not any(beats(other, point) for point in best for other in points)
    for point in points:
        as_good = any((b.seconds, b.mean) == (point.seconds, point.mean) for b in best)
        assert as_good or any(beats(b, point) for b in best)


def test_the_figure_says_in_words_who_is_on_the_front(evidence: Evidence):
    table, points = plane(evidence)
    assert table == "catalogue"
    assert [p.ranker for p in points] == ["popularity", "recent", "transitions", "retriever", "before", "orpo"]
    picture = pareto(evidence)
    assert picture is not None
    on, behind = picture.alt.split("On the front")[1].split("Behind it: ")
    assert "transitions (1.000" in on  # it knows every next film of the cinema
    assert "before (" in behind
    assert "orpo (" in behind
    for point in points:
        assert f">{point.ranker}</text>" in picture.svg


def changed(run: Path, ranker: str, **facts: object) -> None:
    """Other facts in a ranker's summary; None takes one away."""
    path = run / "rankings" / ranker / "summary.json"
    kept = {**json.loads(path.read_text()), **facts}
    path.write_text(json.dumps({key: value for key, value in kept.items() if value is not None}))


@pytest.fixture
def lettered(full: Path, tmp_path: Path) -> Path:
    """A run whose `orpo` answers with letters, and mixes with the retriever; `before` writes titles."""
    run = Path(shutil.copytree(full, tmp_path / "run"))
    changed(run, "before", slots=None, search={"rule": "sum"})
    changed(run, "orpo", search=None)
    changed(run, "fused", users_per_second=20.0)
    for path in ("two_stage", "uniform"):
        shutil.copy(run / "rankings" / "before" / f"{path}.parquet", run / "rankings" / "fused" / f"{path}.parquet")
    shutil.copy(run / "rankings" / "before" / "catalogue.parquet", run / "rankings" / "fused" / "catalogue.parquet")
    (run / "rankings" / "orpo" / "catalogue.parquet").unlink()
    evaluated_again(run)
    return run


def test_whoever_was_timed_on_candidates_is_not_drawn_on_the_catalogue(lettered: Path):
    evidence = read_evidence(lettered)
    table, points = plane(evidence)
    assert table == "catalogue"
    assert "fused" in evidence.tables["catalogue"]["rankers"]
    assert [p.ranker for p in points] == ["popularity", "recent", "transitions", "retriever", "before"]
    assert timing(evidence).startswith("Timed from a query to the first k of the full catalogue")
    assert timing(evidence).endswith("timed on something else: fused, orpo.")
    picture = pareto(evidence)
    assert picture is not None
    assert timing(evidence) in picture.alt


def test_the_table_of_costs_says_whose_seconds_are_of_candidates(lettered: Path):
    table = rankers(read_evidence(lettered))
    assert table is not None
    note = dict(table.notes)["seconds for 1,000 users"]
    assert note.endswith("; fused, orpo: of drawn candidates; fused: both of its sides")


def test_where_drawn_candidates_are_judged_those_who_were_timed_on_them_are_drawn(lettered: Path):
    evidence = read_evidence(lettered)
    alone = {"uniform": evidence.metrics["tables"]["uniform"]}
    table, points = plane(replace(evidence, metrics={**evidence.metrics, "tables": alone}))
    assert (table, [p.ranker for p in points]) == ("uniform", ["orpo", "fused"])


def test_a_mix_of_titles_is_timed_on_the_catalogue(lettered: Path):
    changed(lettered, "fused", language="before-s7")  # a seed: the folder that was mixed
    (lettered / "rankings" / "before").rename(lettered / "rankings" / "before-s7")
    assert "fused" in [p.ranker for p in plane(read_evidence(lettered))[1]]


def test_a_page_tells_what_was_timed(lettered: Path):
    write_report(lettered, None, lettered / "report", name="cinema")
    for page in ("index.html", "report.md"):
        assert "timed on something else: fused, orpo." in (lettered / "report" / page).read_text()
