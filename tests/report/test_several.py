"""Several runs as one comparison."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml

from llmrec.errors import RankingFault
from llmrec.ranking import read_ranking, write_parquet
from llmrec.report.costs import rankers
from llmrec.report.evidence import read_evidence
from llmrec.report.report import write_page
from llmrec.report.results import results
from llmrec.report.several import several
from tests.report.runs import RECIPE, evaluated_again


@pytest.fixture
def pair(finished: Path, tmp_path: Path) -> list[Path]:
    """Two runs of the same data, the second's `orpo` worse: it answers as `before` does."""
    one, two = (Path(shutil.copytree(finished, tmp_path / name)) for name in ("one", "two"))
    for table in ("catalogue", "uniform"):
        worse = read_ranking(two / "rankings" / "before" / f"{table}.parquet")
        write_parquet(worse.with_columns(ranker=pl.lit("orpo")), two / "rankings" / "orpo" / f"{table}.parquet")
    evaluated_again(two)
    return [one, two]


def recoded(run: Path) -> None:
    """Gives every item and every query of a run another number, as another seed would."""

    def other(item: pl.Expr) -> pl.Expr:
        return ((item + 7) % 60).cast(pl.Int32)

    def rewrite(path: Path, **columns: pl.Expr) -> None:
        table = pl.read_parquet(path)
        query = {"query": (pl.lit(1000) - pl.col("query")).cast(pl.Int64)} if "query" in table.columns else {}
        write_parquet(table.with_columns(**query, **columns), path)

    for path in run.glob("rankings/*/*.parquet"):
        rewrite(path, item=other(pl.col("item")))
    rewrite(run / "candidates" / "uniform.parquet", items=pl.col("items").list.eval(other(pl.element())))
    rewrite(run / "prepare" / "queries.parquet", target=other(pl.col("target")))
    rewrite(run / "prepare" / "catalogue.parquet", item=other(pl.col("item")))


def test_rankers_of_one_name_are_told_apart_by_their_run_and_what_is_the_same_counts_once(pair: list[Path]):
    evidence, weighed = several(pair, bootstrap=50)
    names = list(evidence.tables["catalogue"]["rankers"])
    assert names == ["popularity", "recent", "transitions", "retriever", "before", "one/orpo", "two/orpo"]
    assert len(weighed["catalogue"].comparisons) == 7 * 6 // 2
    assert evidence.kind("two/orpo") == "language"
    assert evidence.look("before") == "untuned"


def test_the_numbers_are_those_that_each_run_has_alone(pair: list[Path]):
    evidence, _ = several(pair, bootstrap=50)
    for table in ("catalogue", "uniform"):
        together = evidence.tables[table]["rankers"]
        for run in pair:
            alone = read_evidence(run).tables[table]["rankers"]
            assert together[f"{run.name}/orpo"]["ndcg@10"]["mean"] == alone["orpo"]["ndcg@10"]["mean"]
            assert together["retriever"]["ndcg@10"]["mean"] == alone["retriever"]["ndcg@10"]["mean"]


def test_runs_whose_codes_differ_are_joined_by_their_owners_ids(pair: list[Path]):
    straight, _ = several(pair, bootstrap=50)
    recoded(pair[1])
    crossed, _ = several(pair, bootstrap=50)
    assert list(crossed.tables) == ["catalogue", "uniform"]
    assert crossed.metrics["tables"] == straight.metrics["tables"]


def test_a_third_partys_ranker_of_one_run_keeps_its_name(pair: list[Path]):
    shutil.copytree(pair[0] / "rankings" / "recent", pair[1] / "rankings" / "theirs")
    evidence, _ = several(pair, bootstrap=50)
    assert "theirs" in evidence.tables["uniform"]["rankers"]


def test_other_users_are_named(pair: list[Path]):
    users = pl.read_parquet(pair[1] / "prepare" / "users.parquet")
    strange = users.with_columns(key=pl.when(pl.col("key") == users["key"][0]).then(pl.lit("zoe")).otherwise("key"))
    write_parquet(strange, pair[1] / "prepare" / "users.parquet")
    with pytest.raises(RankingFault, match=r"1 only `one` asks and not `two`, the first of user"):
        several(pair)


def test_another_target_of_the_same_user_is_named(pair: list[Path]):
    path = pair[1] / "prepare" / "queries.parquet"
    queries = pl.read_parquet(path)
    other = pl.when(pl.col("fold") == "test").then((pl.col("target") + 1) % 60).otherwise("target").cast(pl.Int32)
    write_parquet(queries.with_columns(target=other), path)
    with pytest.raises(
        RankingFault, match=r"40 of 40 queries differ, .* is asked for item .* in `one` and for .*`two`"
    ):
        several(pair)


def test_another_catalogue_is_named(pair: list[Path]):
    path = pair[1] / "prepare" / "catalogue.parquet"
    catalogue = pl.read_parquet(path)
    queries = pl.read_parquet(pair[1] / "prepare" / "queries.parquet").filter(pl.col("fold") == "test")
    never = next(item for item in catalogue["item"] if item not in set(queries["target"]))
    renamed = pl.when(pl.col("item") == never).then(pl.lit("never heard of")).otherwise("key")
    write_parquet(catalogue.with_columns(key=renamed), path)
    with pytest.raises(RankingFault, match="the catalogues differ: 1 items are in `one` and not in `two`"):
        several(pair)


def test_candidates_that_were_drawn_otherwise_stay_out_with_a_note(pair: list[Path]):
    path = pair[1] / "candidates" / "uniform.parquet"
    table = pl.read_parquet(path)
    fewer = table.with_columns(pl.col("items").list.head(10), pl.col("source").list.head(10))
    write_parquet(fewer, path)
    evidence, _ = several(pair, bootstrap=50)
    assert list(evidence.tables) == ["catalogue"]
    assert evidence.findings[-1]["what"] == "is not compared here: `two` offered other candidates"


def test_runs_without_a_candidate_set_in_common_are_refused(pair: list[Path]):
    for file in (*pair[0].glob("rankings/*/uniform.parquet"), *pair[1].glob("rankings/*/catalogue.parquet")):
        file.unlink()
    with pytest.raises(RankingFault, match="no candidate set in common: `catalogue` .* `two` does not rank it"):
        several(pair)


def test_runs_that_decide_by_different_metrics_need_one(pair: list[Path]):
    recipe = {**RECIPE, "evaluate": {"primary": "mrr@10"}}
    (pair[1] / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(RankingFault, match=r"`one` by ndcg@10, `two` by mrr@10\. Choose one with --primary"):
        several(pair)
    assert several(pair, primary="hit@1", bootstrap=50)[0].primary == "hit@1"


def test_items_already_touched_are_spoken_of_only_where_all_runs_agree(pair: list[Path]):
    def seen(*sections: str) -> str | None:
        for run, section in zip(pair, sections, strict=True):
            (run / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "evaluate": {"seen": section}}))
        return several(pair, bootstrap=50)[0].seen

    assert [seen("ranked", "ranked"), seen("masked", "ranked")] == ["ranked", None]


def test_a_run_that_is_given_twice_is_refused(pair: list[Path]):
    with pytest.raises(RankingFault, match="is given twice"):
        several([pair[0], pair[0]])


def test_runs_of_one_name_are_told_apart_by_their_folders(pair: list[Path], tmp_path: Path):
    moved = [shutil.move(run, tmp_path / place / "run") for run, place in zip(pair, ("a", "b"), strict=True)]
    evidence, _ = several([Path(m) for m in moved], bootstrap=50)
    assert {"a-run/orpo", "b-run/orpo"} < set(evidence.tables["catalogue"]["rankers"])


def test_findings_and_costs_keep_their_run(pair: list[Path]):
    (pair[1] / "rankings" / "orpo" / "summary.json").write_text(json.dumps({"users_per_second": 5.0}))
    facts = {"stage": "rankings/orpo", "seconds": 3.0, "peak_rss_gb": 2.25}
    (pair[1] / "rankings" / "orpo" / "stage.json").write_text(json.dumps(facts))
    evidence, _ = several(pair, bootstrap=50)
    assert {str(f["where"]).split(":")[0] for f in evidence.findings} == {"one", "two"}
    table = rankers(evidence)
    assert table is not None
    speed, peak = table.columns.index("users/s"), table.columns.index("peak memory")
    rows = {row.name: row for row in table.rows}
    assert rows["one/orpo"].cells[speed].value == 123.4
    assert rows["two/orpo"].cells[speed].value == 5.0
    assert rows["two/orpo"].cells[peak].value == 2.25
    assert {"one: prepare", "two: prepare"} <= {s["stage"] for s in evidence.cost["stages"]}


def test_the_page_has_results_slices_cost_and_audit_and_is_the_same_every_time(pair: list[Path], tmp_path: Path):
    evidence, _ = several(pair, bootstrap=50)
    for name in ("x.html", "y.html"):
        write_page(evidence, tmp_path / name, name="one and two")
    html = (tmp_path / "x.html").read_text()
    assert html == (tmp_path / "y.html").read_text()
    for part in (
        'id="results"',
        'id="cost"',
        'id="audit"',
        "two/<wbr>orpo",
        "For whom it works",
        "Quality against cost",
    ):
        assert part in html
    assert len(results(evidence)) == 2


def test_the_page_names_runs_by_name_and_fingerprint_and_tells_nobody_where_they_lie(pair: list[Path], tmp_path: Path):
    (pair[1] / "evaluate" / "stage.json").write_text(
        json.dumps({"stage": "evaluate", "fingerprint": "0123456789abcdef"})
    )
    evidence, _ = several(pair, bootstrap=50)
    html = write_page(evidence, tmp_path / "x.html", name="one and two").read_text()
    assert str(tmp_path) not in html
    assert evidence.manifest == {"run one": "no fingerprint", "run two": "0123456789abcdef"}


def test_seeds_of_runs_keep_their_run(pair: list[Path]):
    for run in pair:
        (run / "rankings" / "orpo").rename(run / "rankings" / "orpo-s7")
    evidence, _ = several(pair, bootstrap=50)
    assert {"one/orpo-s7", "two/orpo-s7"} < set(evidence.cost["rankers"])
    assert evidence.folders["two/orpo"] == ["two/orpo-s7"]


def test_a_two_stage_set_of_several_runs_has_its_ceiling(full: Path, tmp_path: Path):
    runs = [Path(shutil.copytree(full, tmp_path / name)) for name in ("one", "two")]
    evidence, _ = several(runs, bootstrap=50)
    assert (
        evidence.tables["two_stage"]["composed"]["ceiling"]
        == read_evidence(full).tables["two_stage"]["composed"]["ceiling"]
    )
    assert "fused" in evidence.tables["two_stage"]["rankers"]
