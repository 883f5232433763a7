"""Each protocol on the cinema: who is asked, what is left out, how many stand beside the target."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrec.data.larder import Larder
from llmrec.ranking import read_ranking
from llmrec.recipe.loader import load_recipe
from llmrec.recipe.presets import PRESETS
from llmrec.stages import run_stage
from tests.worlds import PEOPLE, WATCHED, films, write_csv

pytestmark = pytest.mark.xdist_group("protocols")  # one worker: each run is made once

FILMS = films().height
BEFORE = WATCHED - 1  # films that everybody has seen when they are asked for their last
AFTER = 36  # people whose last film comes after the moment, nine tenths into all interactions
RECIPE = """\
name: {name}
protocol: {name}
data: {{path: cinema.csv, columns: {{title: title}}}}
candidates: {{two_stage: 20}}
retriever: {{layers: 1, d_model: 8, headdim: 8, epochs: 1}}
model: {{name: none}}
objective: null
arms: {{none: {{objective: null}}}}
evaluate: {{rankers: [popularity, retriever], bootstrap: 200{at}}}
"""


@dataclass(frozen=True)
class Run:
    folder: Path

    @property
    def larder(self) -> Larder:
        return Larder.read(self.folder / "prepare")

    def ranking(self, ranker: str, table: str) -> pl.DataFrame:
        return read_ranking(self.folder / "rankings" / ranker / f"{table}.parquet")

    def json(self, file: str) -> Any:
        return json.loads((self.folder / "evaluate" / file).read_text(encoding="utf-8"))

    def seen(self, listed: pl.DataFrame) -> int:
        """How many (query, item) rows are of an item that the query's user had seen."""
        test = self.larder.fold("test")
        contexts = pl.DataFrame(
            {"query": test["query"], "item": [c.tolist() for c in self.larder.contexts(test)]},
            schema_overrides={"item": pl.List(pl.Int32)},
        )
        return listed.join(contexts.explode("item"), on=["query", "item"]).height


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("protocols")
    write_csv(folder)
    for name in PRESETS:
        path = folder / f"{name}.yaml"
        whole = "" if name == "sdpo-hr1-all" else f", at: [1, 10, {FILMS}]"
        path.write_text(RECIPE.format(name=name, at=whole), encoding="utf-8")
        for verb in ("prepare", "retrieve", "rank", "evaluate"):
            run_stage(verb, load_recipe(path), runs=folder / "runs")
    return {name: Run(folder / "runs" / name) for name in PRESETS}


@pytest.mark.parametrize("name", ["sasrec-loo", "recbole-loo", "llamarec-composed"])
def test_where_the_last_is_left_out_everybody_is_asked_for_it(runs: dict[str, Run], name: str) -> None:
    larder = runs[name].larder
    test, valid = larder.fold("test"), larder.fold("valid")
    assert (test.height, test["user"].n_unique(), set(test["position"])) == (PEOPLE, PEOPLE, {BEFORE})
    assert (valid.height, set(valid["position"])) == (PEOPLE, {BEFORE - 1})
    assert {len(items) for items in larder.training()} == {BEFORE - 1}


@pytest.mark.parametrize("name", ["time", "sdpo-hr1-all"])
def test_by_time_those_are_asked_who_came_after_the_moment(runs: dict[str, Run], name: str) -> None:
    larder = runs[name].larder
    test, trained = larder.fold("test"), larder.training_moments()
    assert (test.height, test["user"].n_unique()) == (AFTER, AFTER)
    assert trained is not None
    assert max(moments.max() for moments in trained if len(moments)) < test["time"].min()


@pytest.mark.parametrize(
    ("name", "asked", "listed"),
    [
        ("time", AFTER, FILMS - BEFORE),
        ("sasrec-loo", PEOPLE, FILMS - BEFORE),
        ("recbole-loo", PEOPLE, FILMS),
        ("llamarec-composed", PEOPLE, FILMS - BEFORE),
    ],
)
@pytest.mark.parametrize("ranker", ["popularity", "retriever"])
def test_seen_films_are_ranked_where_the_protocol_says_so_and_nowhere_else(
    runs: dict[str, Run], name: str, asked: int, listed: int, ranker: str
) -> None:
    catalogue = runs[name].ranking(ranker, "catalogue")
    assert catalogue.group_by("query").len()["len"].to_list() == [listed] * asked
    assert runs[name].seen(catalogue) == (asked * BEFORE if name == "recbole-loo" else 0)


def test_what_was_seen_stands_in_the_way_of_the_target_and_never_helps_it(runs: dict[str, Run]) -> None:
    for ranker in ("popularity", "retriever"):
        masked, ranked = (
            pl.read_parquet(runs[name].folder / "evaluate/per_query.parquet")
            .filter(table="catalogue", ranker=ranker)
            .sort("query")
            for name in ("sasrec-loo", "recbole-loo")
        )
        assert (ranked["above"] >= masked["above"]).all()
        assert ranked["above"].sum() > masked["above"].sum()


def test_the_audit_holds_seen_films_against_nobody_where_all_rank_them(runs: dict[str, Run]) -> None:
    for name, run in runs.items():
        said = [finding["what"] for finding in run.json("audit.json")["findings"]]
        assert not [words for words in said if "already met" in words or "lists fewer" in words], name


def test_the_retriever_s_first_twenty_are_reranked_and_no_target_is_put_in(runs: dict[str, Run]) -> None:
    run = runs["llamarec-composed"]
    offered = pl.read_parquet(run.folder / "rankings/retriever/test_candidates.parquet")
    assert offered["items"].list.len().to_list() == [20] * PEOPLE
    assert set(offered["source"].explode()) == {"retrieved"}
    first = run.ranking("retriever", "catalogue").filter(pl.col("rank") <= 20)
    held = offered.join(run.larder.fold("test"), on="query").filter(pl.col("items").list.contains(pl.col("target")))
    assert (
        held.height
        == first.join(run.larder.fold("test"), left_on=["query", "item"], right_on=["query", "target"]).height
    )
    assert held.height < PEOPLE  # one epoch finds some
    tables = run.json("metrics.json")["tables"]
    of = {table: tables[table]["rankers"]["retriever"] for table in ("two_stage", "catalogue")}
    assert of["two_stage"]["hit@10"]["mean"] == of["catalogue"]["hit@10"]["mean"]
    assert of["two_stage"][f"hit@{FILMS}"]["mean"] == held.height / PEOPLE


@pytest.mark.parametrize("name", ["sasrec-loo", "recbole-loo"])
def test_what_is_reranked_is_what_the_retriever_lists_under_the_protocol(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    first = run.ranking("retriever", "catalogue").filter(pl.col("rank") <= 20)
    assert run.ranking("retriever", "two_stage").select("query", "item").equals(first.select("query", "item"))
    offered = pl.read_parquet(run.folder / "rankings/retriever/test_candidates.parquet")
    listed = offered.select("query", pl.col("items").alias("item")).explode("item")
    assert (run.seen(listed) > 0) == (name == "recbole-loo")


def test_one_in_twenty_is_the_target_and_only_the_first_counts(runs: dict[str, Run]) -> None:
    run = runs["sdpo-hr1-all"]
    test = run.larder.fold("test")
    offered = pl.read_parquet(run.folder / "candidates/uniform.parquet").join(test, on="query")
    assert offered["items"].list.len().to_list() == [20] * AFTER
    assert all(sorted(sources) == ["target"] + ["uniform"] * 19 for sources in offered["source"].to_list())
    assert run.seen(offered.select("query", pl.col("items").alias("item")).explode("item")) == 0
    measured = run.json("metrics.json")
    assert measured["primary"] == "hit@1"
    assert measured["tables"]["uniform"]["queries"] == AFTER  # all rows: nobody's answer is left out as invalid
    assert measured["tables"]["uniform"]["chance"]["hit@1"] == pytest.approx(1 / 20)
