"""From a file to the larder and back: the cinema, whose next film is known, and files that people really have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmrec.data.larder import Larder, before, training_queries
from llmrec.data.prepare import prepare
from llmrec.data.summary import Summary
from llmrec.errors import DataFault, RunFault
from llmrec.recipe import sections
from llmrec.recipe.sections import Data, Split
from tests.worlds import cinema, next_film, write_csv

LAST = Split(method="last")


def prepared(tmp_path: Path, data: Data, split: sections.Split = LAST, seed: int = 7) -> tuple[Larder, Summary]:
    summary = prepare(data, split, seed=seed, here=tmp_path, out=tmp_path / "out")
    return Larder.read(tmp_path / "out"), summary


@pytest.fixture
def larder(tmp_path: Path) -> Larder:
    write_csv(tmp_path)
    return prepared(tmp_path, Data(path="cinema.csv", text="{title} ({year})"))[0]


def test_every_target_is_the_film_that_comes_next(larder: Larder):
    keys = larder.catalogue["key"].to_list()
    for fold in ("valid", "test"):
        queries = larder.fold(fold)
        assert queries.height == 40
        for context, target in zip(larder.contexts(queries), queries["target"], strict=True):
            assert keys[target] == next_film(keys[context[-1]])


def test_training_ends_two_films_before_the_end_and_validation_context_is_training(larder: Larder):
    assert [len(prefix) for prefix in larder.training()] == [7] * 40
    for prefix, context in zip(larder.training(), larder.contexts(larder.fold("valid")), strict=True):
        assert np.array_equal(prefix, context)
    assert [len(c) for c in larder.contexts(larder.fold("test"))] == [8] * 40


def test_the_catalogue_reads_as_asked_and_counts_training_only(larder: Larder):
    heist = larder.catalogue.row(by_predicate=pl.col("key") == "heist-01", named=True)
    assert heist["text"] == larder.texts[heist["item"]] == "The First Heist (1950)"
    assert larder.catalogue["count"].sum() == 7 * 40
    met = np.bincount(np.concatenate(larder.training()), minlength=larder.n_items)
    assert larder.catalogue["count"].to_list() == met.tolist()


def test_what_is_written_is_what_is_read(larder: Larder, tmp_path: Path):
    larder.write(tmp_path / "again")
    again = Larder.read(tmp_path / "again")
    for name in ("histories", "catalogue", "queries", "users"):
        assert getattr(again, name).equals(getattr(larder, name))


def test_tables_have_the_columns_and_types_of_the_house(larder: Larder):
    assert larder.histories.schema == {
        "user": pl.Int32,
        "items": pl.List(pl.Int32),
        "times": pl.List(pl.Int64),
        "train": pl.Int32,
    }
    assert larder.queries.schema == {
        "query": pl.Int64,
        "user": pl.Int32,
        "position": pl.Int32,
        "time": pl.Int64,
        "target": pl.Int32,
        "fold": pl.String,
    }
    assert dict(larder.catalogue.schema) == {
        "item": pl.Int32,
        "key": pl.String,
        "title": pl.String,
        "year": pl.String,
        "text": pl.String,
        "count": pl.Int64,
    }
    assert larder.histories["user"].to_list() == larder.users["user"].to_list() == list(range(40))
    assert larder.catalogue["item"].to_list() == list(range(larder.n_items))


def test_no_larder_before_prepare(tmp_path: Path):
    with pytest.raises(RunFault, match="run `llmrec prepare` first"):
        Larder.read(tmp_path)


def test_training_queries_are_the_latest_training_positions(larder: Larder):
    queries = training_queries(larder, 3)
    assert queries.schema == larder.queries.schema
    assert queries["position"].to_list() == [4, 5, 6] * 40
    assert set(queries["fold"]) == {"train"}
    keys = larder.catalogue["key"].to_list()
    for context, target in zip(larder.contexts(queries), queries["target"], strict=True):
        assert keys[target] == next_film(keys[context[-1]])


def test_training_queries_leave_a_context_and_keep_their_numbers(larder: Larder):
    many, few = training_queries(larder, 100), training_queries(larder, 2)
    assert many.group_by("user").len()["len"].unique().to_list() == [6]  # the first of seven has nothing before it
    assert many.join(few, on=["query", "user", "position"]).height == few.height == 80
    assert not set(many["query"]) & set(larder.queries["query"])
    assert many["query"].n_unique() == many.height


def test_what_mines_has_not_seen_the_positions_that_it_mines_for(larder: Larder):
    queries = training_queries(larder, 3).filter(pl.col("user") != 5)
    fitted = before(larder, queries)
    assert [len(prefix) for prefix in fitted] == [7 if user == 5 else 4 for user in range(40)]
    assert np.array_equal(fitted[0], larder.training()[0][:4])


def test_a_moment_in_the_middle_finds_everybody_in_the_middle(tmp_path: Path):
    write_csv(tmp_path)
    larder, summary = prepared(tmp_path, Data(path="cinema.csv"), Split(quantile=0.8, target="first"))
    assert summary.moments is not None
    assert set(larder.histories["train"]) <= {5, 6}
    for fold, moment in summary.moments.items():
        asked = larder.fold(fold)
        assert asked["time"].min() >= moment  # type: ignore[operator]
        assert all(own[0] < moment for own in larder.histories["times"])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_where_times_differ(tmp_path: Path, shuffler: object):
    rows = list(range(cinema().height))
    shuffler.shuffle(rows)  # type: ignore[attr-defined]
    write_csv(tmp_path, cinema(), "sorted.csv")
    write_csv(tmp_path, cinema()[rows], "shuffled.csv")
    first, _ = prepared(tmp_path, Data(path="sorted.csv"))
    again, _ = prepared(tmp_path, Data(path="shuffled.csv"))
    for name in ("histories", "catalogue", "queries", "users"):
        assert getattr(first, name).equals(getattr(again, name))


def test_codes_say_nothing_about_the_order_in_which_items_came(tmp_path: Path):
    larder_codes = prepared_codes(tmp_path, seed=7)
    assert larder_codes != prepared_codes(tmp_path, seed=8)
    first_seen = [larder_codes[key] for key in cinema()["item"].unique(maintain_order=True)]
    assert abs(np.corrcoef(first_seen, range(len(first_seen)))[0, 1]) < 0.35


def prepared_codes(tmp_path: Path, seed: int) -> dict[str, int]:
    write_csv(tmp_path)
    larder, _ = prepared(tmp_path, Data(path="cinema.csv"), seed=seed)
    return dict(larder.catalogue.select("key", "item").iter_rows())


def messy(tmp_path: Path, *lines: bytes) -> Data:
    head = b"user,item,time,title\n"
    (tmp_path / "log.csv").write_bytes(head + b"\n".join(lines) + b"\n")
    return Data(path="log.csv", min_user=2)


FINE = (b"a,1,1,Heat", b"a,2,2,Up", b"a,3,3,Big", b"b,2,1,Up", b"b,1,2,Heat", b"b,3,5,Big")


def test_every_row_is_in_a_history_or_in_dropped_with_a_reason(tmp_path: Path):
    faulty = (b",1,1,Heat", b"b,nan,1,?", b"b,4,soon,Jaws", b"b,4,4,J\xe4ws", b"c,1,1,Heat", b"b,4")
    larder, summary = prepared(tmp_path, messy(tmp_path, *FINE, b"a,1,9,Heat", *faulty))
    dropped = pl.read_parquet(tmp_path / "out" / "rejected_rows.parquet")
    assert dropped.select("line", "reason").rows() == [
        (8, "the same item again (duplicates: first)"),
        (9, "no user"),
        (10, "no item"),
        (11, "time cannot be read"),
        (12, "not UTF-8"),
        (13, "a user with fewer than 2 interactions"),
        (14, "time cannot be read"),
    ]
    assert summary.read == 13 == summary.interactions + dropped.height
    assert sum(summary.dropped.values()) == dropped.height
    assert larder.histories["items"].list.len().to_list() == [3, 3]


def test_what_was_left_out_is_written_even_where_nothing_is_left(tmp_path: Path):
    data = messy(tmp_path, b"a,1,1,Heat", b"b,1,1,Heat")
    with pytest.raises(DataFault, match="nothing is left of 2 interactions by 2 users"):
        prepared(tmp_path, data)
    assert pl.read_parquet(tmp_path / "out" / "rejected_rows.parquet").height == 2
    assert not (tmp_path / "out" / "histories.parquet").exists()


def test_empty_titles_are_counted_and_read_as_keys(tmp_path: Path):
    data = messy(tmp_path, *(line.replace(b"Up", b"") for line in FINE))
    larder, summary = prepared(tmp_path, data)
    assert summary.untitled == 1
    assert sorted(larder.texts) == ["2", "Big", "Heat"]


def test_titles_that_several_items_share_are_counted(tmp_path: Path):
    _, summary = prepared(tmp_path, messy(tmp_path, *(line.replace(b"Up", b"Heat") for line in FINE)))
    assert summary.duplicate_texts == {"items": 2, "share": 2 / 3}


def test_ties_are_counted(tmp_path: Path):
    _, summary = prepared(tmp_path, messy(tmp_path, *FINE[:5], b"b,3,2,Big"))
    assert summary.ties == {"neighbours": 1 / 4, "last_two": 1 / 2}


def test_a_file_without_times_goes_by_its_order(tmp_path: Path):
    (tmp_path / "log.csv").write_text("user,item\n" + "".join(f"{u},{i}\n" for i in "123" for u in "ab"))
    larder, summary = prepared(tmp_path, Data(path="log.csv", text="{key}", min_user=3))
    assert larder.histories["times"].to_list() == [None, None]
    assert larder.histories.schema["times"] == pl.List(pl.Int64)
    assert summary.ties is None
    assert training_queries(larder, 3).height == 0  # of three, one is for training, and it has nothing before it
    assert [[larder.texts[i] for i in own] for own in larder.histories["items"]] == [["1", "2", "3"]] * 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"path": "gone.csv"}, "there is no such file"),
        ({"path": "log.csv", "columns": {"user": "who"}}, "no column 'who' .for user.; found user, item, time, title"),
        ({"path": "log.csv", "columns": {"time": "when"}}, "no column 'when' .for time."),
        ({"path": "log.csv", "min_user": 50}, "nothing is left of 6 interactions"),
        ({"path": "log.csv", "min_rating": 3}, "no rating column"),
        ({"path": "log.csv", "text": "{titel}"}, r"asks for \{titel\}"),
        ({"path": "log.csv", "items": {"path": "items.csv"}}, "there is no such file"),
        ({"path": "log.csv", "items": {"path": "log.csv", "columns": {"title": "name"}}}, "no column 'name'"),
        ({"dataset": "moovielens"}, "no shipped dataset of that name"),
        ({"dataset": "sample", "columns": {"user": "reader"}}, "go with data.path"),
    ],
)
def test_one_message_for_each_fault(tmp_path: Path, data: dict[str, object], says: str):
    messy(tmp_path, *FINE)
    with pytest.raises(DataFault, match=says) as fault:
        prepared(tmp_path, Data.model_validate({"min_user": 2} | data))
    assert "\n" not in str(fault.value)


def test_an_items_file_gives_the_text(tmp_path: Path):
    messy(tmp_path, *FINE)
    (tmp_path / "items.jsonl").write_text('{"id": 1, "name": "Heat"}\n{"id": 2, "name": null}\n', encoding="utf-8")
    items = sections.Items(path="items.jsonl", columns={"item": "id", "title": "name"})
    larder, summary = prepared(tmp_path, Data(path="log.csv", min_user=2, items=items))
    assert sorted(larder.texts) == ["2", "3", "Heat"]
    assert summary.untitled == 2


def test_the_sample_goes_through(tmp_path: Path):
    larder, summary = prepared(tmp_path, Data(dataset="sample", text="{title} ({year})", min_rating=4), Split())
    assert summary.users == larder.users.height > 100
    assert summary.untitled == 1
    assert summary.dropped.keys() == {"rated below 4", "a user with fewer than 5 interactions"}
    assert summary.queries["test"] > 30
    assert Summary.read_from(tmp_path / "out" / "summary.json") == summary


def test_duplicates_may_be_kept(tmp_path: Path):
    data = messy(tmp_path, *FINE, b"a,1,9,Heat").model_copy(update={"duplicates": "keep"})
    larder, _ = prepared(tmp_path, data)
    assert sorted(larder.histories["items"].list.len().to_list()) == [3, 4]


def test_shuffled_titles_leave_who_did_what_as_it_was(larder: Larder):
    dealt = larder.shuffled(7)
    assert sorted(dealt.texts) == sorted(larder.texts)
    assert dealt.texts != larder.texts
    assert dealt.texts == larder.shuffled(7).texts != larder.shuffled(8).texts
    assert dealt.histories.equals(larder.histories)
    assert dealt.catalogue.drop("text").equals(larder.catalogue.drop("text"))
