"""Rounds on the cinema: easy pairs, hard ones, then the adapter's own mistakes."""

from __future__ import annotations

import polars as pl
import pytest
from safetensors.torch import load_file

from tests.recipes.test_smoke import Done, llmrec

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("rounds")]
ROUNDS = "rounds=[{from: {uniform: 1}}, {from: {self_play: {share: 0.5, ranks: [1, 5], queries: 30}, uniform: 0.5}}]"
WORDS = [ROUNDS, "pairs.per_user=4", "name=rounds", "evaluate.rankers=[popularity, retriever, language]"]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return llmrec(tmp_path_factory.mktemp("rounds") / "runs", *WORDS, name="rounds")


def test_each_round_has_positions_of_its_own_the_earlier_ones_first(rounds: Done) -> None:
    one, two = (pl.read_parquet(rounds.folder / f"pairs/{part}/train.parquet") for part in ("round-1", "round-2/orpo"))
    asked = pl.read_parquet(rounds.folder / "retrieve/queries.parquet")
    assert sorted([*one["query"], *two["query"]]) == sorted(asked["query"])
    assert (one["round"].unique().to_list(), two["round"].unique().to_list()) == ([1], [2])
    last = one.join(asked, on="query").group_by("user").agg(pl.col("position").max().alias("last"))
    assert two.join(asked, on="query").join(last, on="user").select((pl.col("position") > pl.col("last")).all()).item()


def test_what_was_played_stands_in_the_pairs_with_the_rank_that_the_adapter_gave_it(rounds: Done) -> None:
    played = pl.read_parquet(rounds.folder / "rounds/1/rank/orpo/played.parquet").filter(pl.col("rank") <= 5)
    two = pl.read_parquet(rounds.folder / "pairs/round-2/orpo/train.parquet")
    rows = two.explode("rejected_items", "rejected_from", "rejected_rank", "rejected_score")
    own = rows.filter(rejected_from="self_play")
    assert own.height == played["query"].n_unique() == 30 < two.height  # one of two, for the queries that it ranked
    found = own.join(
        played,
        left_on=["query", "rejected_items", "rejected_rank", "rejected_score"],
        right_on=["query", "item", "rank", "score"],
    )
    assert found.height == own.height
    assert own.filter(pl.col("rejected_items") == pl.col("chosen_item")).height == 0


def test_the_last_round_goes_on_from_the_one_before(rounds: Done) -> None:
    one, two = (
        load_file(rounds.folder / f"{part}/adapter/adapter_model.safetensors")
        for part in ("rounds/1/train/orpo", "train/orpo")
    )
    change = sum(float((two[name] - one[name]).norm()) for name in one)
    size = sum(float(one[name].norm()) for name in one)
    assert 0 < change < size


def test_done_rounds_are_not_done_again(rounds: Done) -> None:
    again = llmrec(rounds.folder.parent, *WORDS, name="rounds")
    for stage in ("pairs/round-1", "rounds/1/train/orpo", "rounds/1/rank/orpo", "pairs/round-2/orpo", "train/orpo"):
        assert f"{stage}: done already\n" in again.err
