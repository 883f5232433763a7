"""Other people's files, audited as far as they go."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from llmrec.errors import DataFault, RankingFault
from llmrec.evaluate.audit import findings, unchecked
from llmrec.evaluate.case import Case
from llmrec.evaluate.foreign import read_case
from tests.evaluate.audited import of

PEOPLE = 60
SONGS = [f"song {number}" for number in range(20)]


class Shop:
    """A benchmark of somebody else: 60 people, each asked once for the song after the one they heard last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queries = pl.DataFrame(
            {
                "query": [f"q{n}" for n in range(PEOPLE)],
                "user": [f"ann{n}" for n in range(PEOPLE)],
                "target": [SONGS[n % 20] for n in range(PEOPLE)],
                "time": [1000 + n for n in range(PEOPLE)],
            }
        )
        # The target stands in a slot of its own, as if it had seeded the shuffle; its neighbours fill the others.
        self.offers = pl.DataFrame(
            {
                "query": self.queries["query"],
                "items": [[SONGS[(n + slot - n % 20 * 3 % 5) % 20] for slot in range(5)] for n in range(PEOPLE)],
            }
        )
        self.training = pl.DataFrame(
            {
                "user": [f"ann{n}" for n in range(PEOPLE) for _ in range(2)] + ["somebody else"],
                "item": [SONGS[(n + 10 + turn) % 20] for n in range(PEOPLE) for turn in range(2)] + [SONGS[0]],
                "time": [n * 2 + turn for n in range(PEOPLE) for turn in range(2)] + [500],
            }
        )

    def write(self, name: str, table: pl.DataFrame) -> Path:
        path = self.folder / name
        if path.suffix == ".parquet":
            table.write_parquet(path)
        elif path.suffix == ".jsonl":
            table.write_ndjson(path)
        else:
            table.write_csv(path)
        return path

    def ranking(self, name: str = "model.csv") -> Path:
        rows = self.offers.explode("items").rename({"items": "item"})
        return self.write(name, rows.with_columns(rank=pl.int_range(1, pl.len() + 1).over("query")))

    def case(self, *rankings: Path, **files: Path) -> Case:
        return read_case(rankings, self.write("queries.csv", self.queries), **files)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.mark.parametrize("name", ["offers.jsonl", "offers.parquet", "offers.csv", "slots.csv"])
def test_slots_that_follow_the_target_are_found_in_anybodys_candidates(shop: Shop, name: str):
    table = shop.offers
    if name.endswith(".csv"):
        table = table.explode("items").rename({"items": "item"})
    if name == "slots.csv":  # in any order of rows
        table = table.with_columns(slot=pl.int_range(pl.len()).over("query")).sample(fraction=1, shuffle=True, seed=1)
    case = shop.case(candidates=shop.write(name, table))
    [(level, what)] = of(findings(case), "slot-follows-target")
    assert level == "disqualifies"
    assert "a rule that knows only slots and popularity gets HR@1" in what


def test_what_was_not_given_is_not_checked_and_named(shop: Shop):
    left = unchecked(shop.case(shop.ranking()))
    assert left["slot-follows-target"] == ["candidate sets in slot order (--candidates)"]
    assert left["cold-targets"] == ["the training interactions (--training, or a run folder)"]
    assert left["twin-titles"] == ["titles (--items, or a run folder)"]
    assert not {"few-users", "ties", "copied-order", "repeated-queries"} & left.keys()


def test_a_file_of_training_interactions_brings_history_and_clock(shop: Shop):
    case = shop.case(training=shop.write("training.csv", shop.training))
    assert "split-overlap" not in unchecked(case)
    assert not of(findings(case), "split-overlap")
    assert not of(findings(case), "future-training")
    assert not of(findings(case), "target-in-history")


def test_a_target_that_was_fitted_on_is_found_by_user_item_and_time(shop: Shop):
    asked = shop.queries.head(6).select("user", pl.col("target").alias("item"), "time")
    case = shop.case(training=shop.write("training.csv", pl.concat([shop.training, asked])))
    assert of(findings(case), "split-overlap") == [
        ("disqualifies", "6 targets (10 %) are training interactions of their own user")
    ]


def test_interactions_after_the_first_target_are_told_whoever_split(shop: Shop):
    late = shop.training.with_columns(time=pl.col("time") + pl.when(pl.col("user") == "ann3").then(5000).otherwise(0))
    case = shop.case(training=shop.write("training.csv", late))
    [(level, what)] = of(findings(case), "future-training")
    assert level == "warns"
    assert what.startswith("2 training interactions (1.7 %), of 1 users, are later than the first target")


def test_a_target_that_the_user_has_met_is_found_without_times(shop: Shop):
    asked = shop.queries.head(6).select("user", pl.col("target").alias("item"), "time")
    training = pl.concat([shop.training, asked]).drop("time")
    case = shop.case(training=shop.write("training.csv", training))
    assert {"split-overlap", "future-training", "id-order"} <= unchecked(case).keys()
    assert of(findings(case), "target-in-history") == [("warns", "6 targets (10 %) are already in the user's history")]


def test_a_catalogue_brings_titles_and_says_what_is_made_up(shop: Shop):
    titles = pl.DataFrame({"item": SONGS, "title": ["Help!", "help", *SONGS[2:]]})
    mine = shop.ranking()
    with mine.open("a") as file:
        file.write("q0,a song that nobody wrote,6\n")
    found = findings(shop.case(mine, items=shop.write("items.csv", titles)))
    assert of(found, "near-twin-titles")
    assert of(found, "unknown-items") == [
        ("notes", "1 rows of `model` (0.33 %) list items that are not in the catalogue")
    ]


def test_numbers_in_the_order_of_time_are_found_in_ids(shop: Shop):
    """Songs are numbered as they come out: whoever has heard song 12 is asked for song 13."""
    shop.queries = shop.queries.with_columns(target=pl.Series([f"song {n + 2}" for n in range(PEOPLE)]))
    rows = [(f"ann{n}", f"song {n + turn}", n * 2 + turn) for n in range(PEOPLE) for turn in range(2)]
    training = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    titles = pl.DataFrame({"item": [f"song {n}" for n in range(PEOPLE + 2)]}).with_columns(title=pl.col("item"))
    case = shop.case(training=shop.write("training.csv", training), items=shop.write("items.csv", titles))
    [(level, what)] = of(findings(case), "id-order")
    assert level == "warns"
    assert "Spearman's rho with the first interaction is +1.00" in what
    assert "100 % of targets have the number after the largest" in what


def test_a_supplier_that_is_named_disqualifies(shop: Shop):
    mined = shop.offers.with_columns(
        source=pl.Series(
            [
                ["target" if song == target else "sasrec" for song in songs]
                for songs, target in zip(shop.offers["items"], shop.queries["target"], strict=True)
            ]
        )
    )
    found = findings(shop.case(candidates=shop.write("offers.jsonl", mined)))
    assert of(found, "supplied-candidates") == [("disqualifies", "candidates were supplied by `sasrec` (240)")]
    assert "supplied-candidates" in unchecked(shop.case(candidates=shop.write("offers.jsonl", shop.offers)))


def refused(shop: Shop, *rankings: Path, **files: Path) -> str:
    with pytest.raises((RankingFault, DataFault)) as fault:
        shop.case(*rankings, **files)
    return str(fault.value)


def test_candidates_that_do_not_hold_are_refused(shop: Shop):
    offers = shop.offers
    assert "offers nothing" in refused(shop, candidates=shop.write("a.parquet", offers.head(0)))
    assert "needs columns query or user, and items (a list) or item" in refused(
        shop, candidates=shop.write("b.jsonl", offers.rename({"items": "songs"}))
    )
    assert "the candidate table ranks 59 queries of 60" in refused(
        shop, candidates=shop.write("c.jsonl", offers.filter(pl.col("query") != "q7"))
    )
    assert "none of the 60 queries has candidates: its first query is 'x', theirs is 'q0'" in refused(
        shop, candidates=shop.write("d.jsonl", offers.with_columns(query=pl.lit("x")))
    )
    twice = offers.with_columns(items=pl.concat_list("items", pl.col("items").list.first()))
    assert "60 candidate sets hold an item twice" in refused(shop, candidates=shop.write("e.jsonl", twice))
    assert "e.nowhere: no such file" in refused(shop, candidates=shop.folder / "e.nowhere")


def test_a_ranking_of_other_candidates_is_refused(shop: Shop):
    other = shop.offers.with_columns(items=pl.col("items").list.head(4))
    words = refused(shop, shop.ranking(), candidates=shop.write("other.jsonl", other))
    assert "`model` ranks 60 items that were not candidates, first item song 4 for query q0" in words


def test_training_and_items_that_do_not_hold_are_refused(shop: Shop):
    assert "none of its users asks a query: its first user is 'bob', theirs is 'ann0'" in refused(
        shop, training=shop.write("a.csv", shop.training.with_columns(user=pl.lit("bob")))
    )
    assert "121 rows lack user or item or time" in refused(
        shop, training=shop.write("b.csv", shop.training.with_columns(item=pl.lit("")))
    )
    songs = pl.DataFrame({"item": SONGS, "title": SONGS})
    assert "lacks 3 of the queries' targets. Give the whole catalogue" in refused(
        shop, items=shop.write("c.csv", songs.head(19))
    )
    assert "2 rows give an item again, first 'song 0'" in refused(
        shop, items=shop.write("d.csv", pl.concat([songs, songs.head(1)]))
    )


def test_candidates_in_lists_of_lists_are_refused(shop: Shop):
    nested = shop.offers.with_columns(items=pl.col("items").list.eval(pl.concat_list(pl.element())))
    assert nested.schema["items"] == pl.List(pl.List(pl.String))
    words = refused(shop, candidates=shop.write("nested.jsonl", nested))
    assert "nested.jsonl: column item holds List(String) in 300 rows. Write one value a row." in words
