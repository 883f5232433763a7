from __future__ import annotations

from pathlib import Path

import pytest

from llmrec.candidates.two_stage import two_stage
from llmrec.errors import RunFault
from llmrec.evaluate.audit import findings, unchecked
from llmrec.evaluate.of_run import case_of, mined_of, read_run
from llmrec.ranking import write_parquet
from tests.evaluate.club import club, listing, offered, placing

CLUB = club(members=30)
TABLE = offered(CLUB, 5)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with two seeds of one arm, a floor, and a ranker of somebody else's."""
    CLUB.write(tmp_path / "prepare")
    write_parquet(TABLE, tmp_path / "candidates" / "uniform.parquet")
    (tmp_path / "recipe.yaml").write_text(
        "name: club\nseed: 3\nsplit: {method: last}\narms: {raw: {objective: null}, orpo: {}}\nevaluate: {at: [1, 5]}\n"
    )
    for rank, folder in enumerate(("yours", "orpo-s3", "orpo-s4", "raw", "popularity"), start=1):
        ranking = placing(CLUB, TABLE, rank, ranker=folder)
        write_parquet(ranking, tmp_path / "rankings" / folder / "uniform.parquet")
        write_parquet(ranking, tmp_path / "rankings" / folder / "valid.parquet")
    write_parquet(listing(CLUB, 1, ranker="raw"), tmp_path / "rankings" / "raw" / "catalogue.parquet")
    return tmp_path


def test_a_run_comes_back_table_by_table(run: Path):
    held = read_run(run)
    assert list(held.rankings["uniform"]) == ["popularity", "raw", "orpo", "yours"]
    assert list(held.rankings["catalogue"]) == ["raw"]
    assert set(held.rankings) == {"uniform", "catalogue"}
    assert held.candidates["catalogue"] is None
    assert (held.method, held.arms, held.depth, held.seed) == ("last", ["raw", "orpo"], 5, 3)


def test_seeds_of_an_arm_are_one_ranker_in_their_order(run: Path):
    held = read_run(run)
    first, second = (ranking["ranker"][0] for ranking in held.rankings["uniform"]["orpo"])
    assert (first, second) == ("orpo-s3", "orpo-s4")


def test_seeds_are_counted_by_their_folders(run: Path):
    """A ranking in `orpo-s3` says that it is orpo's; fused has a folder for each seed, too."""
    recipe = (run / "recipe.yaml").read_text().replace("at: [1, 5]", "at: [1, 5], rankers: [fused, language]")
    (run / "recipe.yaml").write_text(recipe + "seeds: 2\n")
    for folder in ("orpo-s3", "orpo-s4", "fused-s3", "fused-s10"):
        ranker = folder.partition("-")[0]
        ranking = placing(CLUB, TABLE, 1 if folder == "fused-s3" else 2, ranker=ranker)
        write_parquet(ranking, run / "rankings" / folder / "uniform.parquet")
    case = case_of(run)
    assert case.expected == {"raw": 1, "orpo": 2, "fused": 2}
    assert [ranking.row(0)[1] == CLUB.queries["target"][0] for ranking in case.rankings["uniform"]["fused"]] == [
        True,
        False,
    ]
    assert not [finding for finding in findings(case) if finding.check == "missing-rankers"]
    (run / "rankings" / "orpo-s4" / "uniform.parquet").unlink()
    cut = [finding.what for finding in findings(case_of(run)) if finding.check == "missing-rankers"]
    assert cut == ["`orpo` is there with 1 of 2 seeds"]


def test_a_table_without_candidates_is_named(run: Path):
    (run / "candidates" / "uniform.parquet").unlink()
    with pytest.raises(RunFault, match=r"candidates/uniform\.parquet: missing"):
        read_run(run)


def test_what_the_retriever_offered_is_reranked_and_no_ranking_itself(run: Path):
    """As `llmrec rank` leaves a run with `candidates.two_stage`."""
    found = two_stage(listing(CLUB, 1, ranker="retriever"), 5, seed=3)
    for name in ("test_candidates", "valid_candidates"):
        write_parquet(found, run / "rankings" / "retriever" / f"{name}.parquet")
    for name in ("two_stage", "valid_two_stage"):
        ranking = placing(CLUB, found, 1, ranker="retriever")
        write_parquet(ranking, run / "rankings" / "retriever" / f"{name}.parquet")
    held = read_run(run)
    assert set(held.rankings) == {"uniform", "catalogue", "two_stage"}
    assert list(held.rankings["two_stage"]) == ["retriever"]
    offers = held.candidates["two_stage"]
    assert offers is not None
    assert offers.equals(found)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path):
    with pytest.raises(RunFault, match="is not a run folder"):
        read_run(tmp_path)


def test_a_run_without_rankings_says_what_to_do(run: Path):
    for path in run.glob("rankings/*/*.parquet"):
        path.unlink()
    with pytest.raises(RunFault, match="has no rankings yet; run `llmrec rank` first"):
        read_run(run)


def test_what_negatives_were_mined_from_is_there_where_it_is(run: Path):
    assert mined_of(run, CLUB) is None
    for name, table in (("queries", CLUB.queries), ("mined", listing(CLUB, 1, ranker="retriever"))):
        write_parquet(table, run / "retrieve" / f"{name}.parquet")
    assert mined_of(run, CLUB) is None  # cut off before validation was mined for
    write_parquet(listing(CLUB, 3, ranker="retriever"), run / "retrieve" / "mined_valid.parquet")
    mined = mined_of(run, CLUB)
    assert mined is not None
    assert (mined.asked.height, mined.held.height) == (30, 0)
    assert "in-fold-mining" not in unchecked(case_of(run))


def test_the_audit_sees_what_the_recipe_says_and_the_run_has(run: Path):
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(
        recipe.replace("at: [1, 5]", "at: [1, 5], primary: hit@5, rankers: [popularity, fused, language]")
        + "seeds: 2\n"
    )
    case = case_of(run)
    assert (case.method, case.primary, case.depth, case.seed) == ("last", "hit@5", 5, 3)
    assert case.expected == {"popularity": 1, "fused": 2, "raw": 1, "orpo": 2}
    assert case.offered.keys() == {"uniform"}
    assert unchecked(case).keys() == {"in-fold-mining"}
