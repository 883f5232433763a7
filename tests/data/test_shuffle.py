"""The one shuffle, held to the plainest way to say it, on any amount of memory and in pieces of any size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import opening
from llmrec.data.larder import Larder
from llmrec.data.prepare import prepare
from llmrec.errors import DataFault
from llmrec.recipe.sections import Behaviours, Data, Split

WORDS = ("buy", "view", "shown", "stolen")
ROW = st.tuples(
    st.sampled_from("abcdef"), st.sampled_from("uvwxyz"), st.integers(0, 5), st.integers(1, 5), st.sampled_from(WORDS)
)
SHOP = Behaviours(target=["buy"], context=["view"], exposed=["shown"])
TINY = 1e-9  # GB: everything waits on disk
TABLES = ("histories", "catalogue", "queries", "users", "declined", "rejected_rows")
Row = tuple[str, str, int, int, str]


def write(folder: Path, rows: list[Row]) -> Path:
    table = pl.DataFrame(rows, schema=["user", "item", "time", "rating", "behaviour"], orient="row")
    beside = pl.col("item") + " " + pl.col("item").shift(1, fill_value="q")
    table.with_columns(beside.alias("beside")).write_csv(folder / "log.csv")
    return folder / "log.csv"


def prepared(folder: Path, data: Data, split: Split, *, piece: int = opening.PIECE) -> dict[str, bytes] | str:
    """Every file of the stage, or what it refuses with."""
    out = folder / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "PIECE", piece)
        try:
            prepare(data, split, seed=7, here=folder, out=out)
        except DataFault as fault:
            return str(fault)
    found = {path.name: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    assert {*TABLES} == {name.removesuffix(".parquet") for name in found} - {"summary.json"}
    return found


DATA = st.builds(
    Data,
    path=st.just("log.csv"),
    text=st.just("{key}"),
    min_user=st.integers(1, 3),
    min_item=st.integers(1, 3),
    duplicates=st.sampled_from(["keep", "first", "last"]),
    min_rating=st.sampled_from([None, 3]),
    behaviours=st.sampled_from([None, SHOP]),
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(ROW, min_size=1, max_size=40),
    st.builds(
        lambda data, columns: data.model_copy(update={"columns": columns}),
        DATA,
        st.sampled_from([{}, {"shown": "beside"}]),
    ),
    st.sampled_from(["last", "time"]),
    st.integers(1, 40),
)
def test_neither_memory_nor_the_size_of_pieces_changes_a_byte(rows: list[Row], data: Data, method: str, piece: int):
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, rows)
        split = Split(method=method, quantile=0.7)  # type: ignore[arg-type]
        whole = prepared(folder, data, split)
        assert prepared(folder, data.model_copy(update={"memory": TINY}), split, piece=piece) == whole


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=40), DATA)
def test_histories_are_what_the_plain_way_makes(rows: list[Row], data: Data):
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, rows)
        found = prepared(folder, data, Split(method="last"))
        expected = plainly(rows, data)
        if isinstance(found, str):
            asked = [
                own for own in expected.values() if any(kind == "buy" or not data.behaviours for *_, kind in own[1:])
            ]
            assert len(expected) < 2 or not asked
            return
        larder = Larder.read(folder / "out")
        names, films = larder.users["key"], larder.catalogue["key"]
        assert {
            names[user]: [films[i] for i in own] for user, own in larder.histories.select("user", "items").iter_rows()
        } == {user: [item for item, *_ in own] for user, own in expected.items()}
        rejected = pl.read_parquet(folder / "out" / "rejected_rows.parquet")
        shown = larder.declined.filter(pl.col("reason") == "skipped").height
        assert sum(map(len, expected.values())) + rejected.height + shown == len(rows)


def plainly(rows: list[Row], data: Data) -> dict[str, list[tuple[str, int, int, str]]]:
    """Each user's interactions (item, time, line, behaviour), by loops."""
    known = set(WORDS) if data.behaviours is None else {"buy", "view"}
    own: dict[str, list[tuple[str, int, int, str]]] = {}
    for line, (user, item, time, rating, word) in enumerate(rows):
        if word in known and (data.min_rating is None or rating >= data.min_rating):
            own.setdefault(user, []).append((item, time, line, word))
    for user, mine in own.items():
        mine.sort(key=lambda one: one[1:3])
        if data.duplicates != "keep":
            turn = mine if data.duplicates == "first" else mine[::-1]
            first: dict[str, tuple[str, int, int, str]] = {}
            for one in turn:
                bought = data.behaviours is not None and one[3] == "buy" and first.get(one[0], one)[3] != "buy"
                if one[0] not in first or bought:
                    first[one[0]] = one
            own[user] = sorted(first.values(), key=lambda one: one[1:3])
    before = -1
    while before != (before := sum(map(len, own.values()))):
        own = {user: mine for user, mine in own.items() if len(mine) >= data.min_user}
        met = Counter(item for mine in own.values() for item, *_ in mine)
        own = {user: [one for one in mine if met[one[0]] >= data.min_item] for user, mine in own.items()}
    return {user: mine for user, mine in own.items() if mine}


def test_one_user_may_fall_with_an_item_and_pull_another_down(tmp_path: Path):
    # Item y falls first (one user), then b has one interaction left and falls, then x has a only.
    rows = [("a", "x", 1), ("a", "z", 2), ("b", "x", 3), ("b", "y", 4), ("c", "z", 5), ("c", "v", 6)]
    write(tmp_path, [(*row, 1, "buy") for row in rows])
    data = Data(path="log.csv", text="{key}", min_user=2, min_item=2)
    refused = prepared(tmp_path, data, Split(method="last"))
    assert "nothing is left of 6 interactions by 3 users" in refused
    assert "most active user has 2" in refused


def test_one_user_alone_cannot_be_compared(tmp_path: Path):
    write(tmp_path, [("a", "x", 1, 1, "buy"), ("a", "z", 2, 1, "buy"), ("b", "x", 3, 1, "buy")])
    refused = prepared(tmp_path, Data(path="log.csv", text="{key}", min_user=2), Split(method="last"))
    assert "only one user is left, 'a' with 2 interactions" in refused
