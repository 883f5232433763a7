"""A shop whose log says who was shown, looked at and bought what: only purchases are asked for."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml
from pydantic import ValidationError

from llmrec.data.larder import Larder, training_queries
from llmrec.data.prepare import prepare
from llmrec.data.summary import Summary
from llmrec.errors import DataFault
from llmrec.recipe.sections import Behaviours, Data, Split

ROOT = Path(__file__).parents[2]
SHOP = Behaviours(target=["buy"], context=["view"], exposed=["shown"])
LOG = """\
user,item,behaviour,time
ann,cup,view,1
ann,cup,buy,2
ann,hat,shown,3
ann,pen,view,4
ann,hat,view,5
ann,bag,buy,6
ann,pen,buy,7
ann,map,shown,8
ann,map,shown,9
ann,key,view,10
bob,hat,buy,1
bob,cup,view,2
bob,map,buy,3
bob,key,buy,4
bob,bag,stolen,5
bob,pen,shown,6
bob,elf,shown,7
cat,cup,shown,1
"""


def prepared(folder: Path, split: Split, log: str = LOG, **data: object) -> tuple[Larder, Summary]:
    (folder / "log.csv").write_text(log)
    asked = Data.model_validate({"path": "log.csv", "text": "{key}", "min_user": 2, "behaviours": SHOP} | data)
    summary = prepare(asked, split, seed=7, here=folder, out=folder / "out")
    return Larder.read(folder / "out"), summary


def story(larder: Larder, user: str) -> list[tuple[str, str]]:
    """What a user did: (item, behaviour)."""
    row = larder.histories.row(larder.users["key"].to_list().index(user), named=True)
    return [(larder.texts[i], SHOP.names[kind]) for i, kind in zip(row["items"], row["behaviours"], strict=True)]


def asked(larder: Larder, queries: pl.DataFrame) -> set[tuple[str, str, int]]:
    keys = larder.users["key"]
    return {(keys[u], larder.texts[i], p) for u, i, p in queries.select("user", "target", "position").iter_rows()}


def test_histories_hold_purchases_and_looks_and_what_was_bought_is_there_as_bought_only(tmp_path: Path):
    larder, _ = prepared(tmp_path, Split(method="last"))
    assert story(larder, "ann") == [("cup", "buy"), ("hat", "view"), ("bag", "buy"), ("pen", "buy"), ("key", "view")]
    assert story(larder, "bob") == [("hat", "buy"), ("cup", "view"), ("map", "buy"), ("key", "buy")]
    assert larder.histories.schema["behaviours"] == pl.List(pl.UInt8)


def test_only_purchases_are_asked_for(tmp_path: Path):
    larder, summary = prepared(tmp_path, Split(method="last"))
    assert asked(larder, larder.fold("test")) == {("ann", "pen", 3), ("bob", "key", 3)}
    assert asked(larder, larder.fold("valid")) == {("ann", "bag", 2), ("bob", "map", 2)}
    assert sorted(map(len, larder.training())) == [2, 2]  # up to the validation purchase, looks included
    assert summary.behaviours == {"target": ["buy"], "context": ["view"], "counts": {"buy": 6, "view": 3}}


@pytest.mark.parametrize(
    ("target", "test"),
    [
        ("first", {("ann", "bag", 2), ("bob", "key", 3)}),
        ("last", {("ann", "pen", 3), ("bob", "key", 3)}),
        ("all", {("ann", "bag", 2), ("ann", "pen", 3), ("bob", "key", 3)}),
    ],
)
def test_a_split_by_time_asks_for_purchases_only(tmp_path: Path, target: str, test: set[tuple[str, str, int]]):
    # The moments: of nine times 1 2 2 3 4 5 6 7 10 the .5 quantile is 4, and of those before it, 2.
    larder, summary = prepared(tmp_path, Split(quantile=0.5, target=target))  # type: ignore[arg-type]
    assert summary.moments == {"valid": 2, "test": 4}
    assert asked(larder, larder.fold("test")) == test
    assert asked(larder, larder.fold("valid")) == {("bob", "map", 2)}  # ann's first has nothing before it


def test_pairs_are_made_of_purchases_only(tmp_path: Path):
    more = LOG + "".join(f"bob,i{n},{'view' if n % 2 else 'buy'},{10 + n}\n" for n in range(8))
    larder, _ = prepared(tmp_path, Split(method="last"), more, min_user=2)
    queries = training_queries(larder, 2)
    bought = {("bob", "i0", 4), ("bob", "i2", 6)}
    assert {one for one in asked(larder, queries) if one[0] == "bob"} == bought
    wider = training_queries(larder, 3)
    assert {one for one in asked(larder, wider) if one[0] == "bob"} == bought | {("bob", "key", 3)}
    assert wider.join(queries, on=["query", "user", "position"]).height == queries.height


def test_what_was_shown_and_never_taken_is_declined(tmp_path: Path):
    larder, summary = prepared(tmp_path, Split(method="last"))
    keys = larder.users["key"]
    found = {(keys[u], larder.texts[i], t, why) for u, i, t, why, _ in larder.declined.iter_rows()}
    assert found == {("ann", "map", 8, "skipped"), ("ann", "map", 9, "skipped"), ("bob", "pen", 6, "skipped")}
    assert larder.declined.select("user", "time").rows() == sorted(larder.declined.select("user", "time").rows())
    rejected = pl.read_parquet(tmp_path / "out" / "rejected_rows.parquet")
    assert rejected.select("line", "user", "item", "reason").rows() == [
        (2, "ann", "cup", "the same item again (duplicates: first)"),
        (4, "ann", "hat", "shown, and the user took it"),
        (5, "ann", "pen", "the same item again (duplicates: first)"),
        (16, "bob", "bag", "a behaviour that data.behaviours does not name"),
        (18, "bob", "elf", "shown, and its item is left out"),
        (19, "cat", "cup", "shown, and its user is left out"),
    ]
    assert summary.read == summary.interactions + sum(summary.dropped.values()) + summary.declined["skipped"] == 18


def test_without_behaviours_every_row_is_an_interaction(tmp_path: Path):
    larder, summary = prepared(tmp_path, Split(method="last"), behaviours=None, min_user=1)
    assert "behaviours" not in larder.histories.columns
    assert summary.behaviours is None
    assert summary.interactions + sum(summary.dropped.values()) == 18


def test_behaviours_want_a_column(tmp_path: Path):
    with pytest.raises(DataFault, match=r"there is no behaviour column\. Map it with data.columns"):
        prepared(tmp_path, Split(method="last"), LOG.replace("behaviour", "what"))


def test_a_log_of_nothing_but_impressions_says_so(tmp_path: Path):
    log = "user,item,behaviour\nann,cup,shown\nbob,cup,shown\nbob,,buy\n"
    with pytest.raises(DataFault, match=r"left of 3: 2 tell only what was shown; left out: 1 no item"):
        prepared(tmp_path, Split(method="last"), log)


def test_a_log_without_the_target_asks_for_its_word(tmp_path: Path):
    log = "user,item,behaviour\nann,cup,view\nann,hat,view\nbob,cup,view\nbob,hat,view\n"
    with pytest.raises(DataFault, match=r"nobody has a target behaviour after .* Are the words in data.behaviours"):
        prepared(tmp_path, Split(method="last"), log)


def test_behaviours_that_pandas_made_floats_are_whole_again(tmp_path: Path):
    kinds = Behaviours(target=["1"], context=["0"])
    table = pl.DataFrame({"user": list("aaabbb"), "item": list("xyzxyz"), "behaviour": [1.0, 0, 1, 1, 1, None]})
    table.write_parquet(tmp_path / "log.parquet")
    asked = Data(path="log.parquet", text="{key}", min_user=2, behaviours=kinds)
    summary = prepare(asked, Split(method="last"), seed=7, here=tmp_path, out=tmp_path / "out")
    assert summary.behaviours == {"target": ["1"], "context": ["0"], "counts": {"1": 4, "0": 1}}
    assert sum(summary.dropped.values()) == 1


def test_a_behaviour_is_one_thing():
    with pytest.raises(ValidationError, match="view is named twice"):
        Behaviours(target=["view"], context=["view"])


RATED = """\
user,item,rating,time
ann,cup,5,1
ann,hat,1,2
ann,pen,4,3
ann,pen,2,4
ann,map,1,5
bob,cup,,1
bob,hat,4.5,2
bob,pen,5,3
"""


def test_histories_have_ratings_where_the_log_has(tmp_path: Path):
    larder, _ = prepared(tmp_path, Split(method="last"), RATED, behaviours=None)
    assert larder.histories.schema["ratings"] == pl.List(pl.Float32)
    found = dict(zip(larder.users["key"], larder.histories["ratings"].to_list(), strict=True))
    assert found == {"ann": [5.0, 1.0, 4.0, 1.0], "bob": [None, 4.5, 5.0]}


def test_items_that_somebody_rated_low_are_declined(tmp_path: Path):
    larder, summary = prepared(tmp_path, Split(method="last"), RATED, behaviours=None, min_rating=3)
    keys = larder.users["key"]
    found = [(keys[u], larder.texts[i], t, why, rating) for u, i, t, why, rating in larder.declined.iter_rows()]
    assert found == [("ann", "hat", 2, "low_rated", 1.0)]  # pen she rated high once; map is in nobody's history
    assert summary.dropped == {"rated below 3": 3, "rating is no number": 1}
    assert summary.declined == {"low_rated": 1}


def test_a_log_of_sessions_has_sessions_for_users(tmp_path: Path):
    log = "session_id,item,time\n" + "".join(f"s{n // 3},i{n % 3},{n}\n" for n in range(12))
    larder, _ = prepared(tmp_path, Split(method="last"), log, behaviours=None, columns={"user": "session_id"})
    assert sorted(larder.users["key"]) == ["s0", "s1", "s2", "s3"]


FRONT_PAGE = pl.DataFrame(
    {
        "user": ["ann", "ann", "ann", "bob", "bob", "bob", "cat"],
        "item": ["cup", "hat", "pen", "hat", "map", "cup", "cup"],
        "time": [1, 2, 3, 4, 5, 6, 7],
        "screen": [["cup", "map"], [], ["map", "hat", "elf", "map"], None, ["pen", "bag"], ["cup", "hat"], ["hat"]],
    }
)


def as_text(separator: str) -> pl.DataFrame:
    return FRONT_PAGE.with_columns(pl.col("screen").list.join(separator))


@pytest.mark.parametrize(
    ("name", "page", "more"),
    [
        ("log.parquet", FRONT_PAGE, {}),
        ("log.jsonl", FRONT_PAGE, {}),
        ("log.csv", as_text(" "), {}),
        ("log.csv", as_text("|"), {"shown_separator": "|"}),
        ("log.parquet", as_text(" "), {"memory": 1e-9}),
    ],
)
def test_what_stood_beside_the_chosen_one_is_declined(
    tmp_path: Path, name: str, page: pl.DataFrame, more: dict[str, object]
):
    write = {"parquet": page.write_parquet, "jsonl": page.write_ndjson, "csv": page.write_csv}[name.split(".")[1]]
    write(tmp_path / name)
    asked = {"path": name, "text": "{key}", "min_user": 2, "columns": {"shown": "screen"}} | more
    summary = prepare(Data.model_validate(asked), Split(method="last"), seed=7, here=tmp_path, out=tmp_path / "out")
    larder = Larder.read(tmp_path / "out")
    keys = larder.users["key"]
    found = [(keys[u], larder.texts[i], t, why, rating) for u, i, t, why, rating in larder.declined.iter_rows()]
    assert sorted(found) == [  # of what was shown, ann took the hat, nobody the elf or the bag, and cat is left out
        ("ann", "map", 1, "skipped", None),
        ("ann", "map", 3, "skipped", None),
        ("bob", "pen", 5, "skipped", None),
    ]
    assert summary.listed == {"its item is left out": 2, "its user is left out": 1, "the user took it": 2}
    assert (summary.read, summary.interactions, sum(summary.dropped.values())) == (7, 6, 1)
    assert "screen" not in larder.catalogue.columns
    assert "shown" not in larder.catalogue.columns


def test_a_row_of_low_rating_tells_what_was_shown_too_and_of_its_own_item_once(tmp_path: Path):
    log = "user,item,rating,time,shown\nann,cup,5,1,\nann,hat,1,2,hat pen\nbob,hat,4,1,\nbob,pen,5,2,cup\n"
    larder, _ = prepared(
        tmp_path, Split(method="last"), log, behaviours=None, min_rating=3, min_user=1, columns={"shown": "shown"}
    )
    keys = larder.users["key"]
    found = [(keys[u], larder.texts[i], why, rating) for u, i, _, why, rating in larder.declined.iter_rows()]
    expected = [("ann", "hat", "low_rated", 1.0), ("ann", "pen", "skipped", None), ("bob", "cup", "skipped", None)]
    assert sorted(found) == expected


MIND = """\
1\tU1\t11/15/2019 8:55:22 AM\tN9 N8\tN1-1 N2-0 N3-1
2\tU1\t11/16/2019 8:55:22 PM\t\tN2-0 N4-1
3\tU2\t11/16/2019 9:55:22 PM\tN1\tN2-1 N4-0
4\tU2\t11/17/2019 9:55:22 PM\tN1\tN1-1
5\tU2\tlast week\tN1\tN1-1
"""


def test_what_the_docs_say_of_minds_impressions_prepares_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("behaviors.tsv").write_text(MIND)
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    exec(page.split("```python\n")[1].split("```")[0], {"pl": pl})
    recipes = [block.split("```")[0] for block in page.split("```yaml\n")[1:]]
    asked = yaml.safe_load(next(recipe for recipe in recipes if "mind.parquet" in recipe))
    data = Data.model_validate(asked["data"] | {"min_user": 2, "text": "{key}"})
    summary = prepare(data, Split(method="last"), seed=7, here=tmp_path, out=tmp_path / "out")
    larder = Larder.read(tmp_path / "out")
    keys = larder.users["key"]
    assert sorted((keys[u], larder.texts[i]) for u, i, *_ in larder.declined.iter_rows()) == [
        *[("U1", "N2")] * 3,  # once for each click beside it
        ("U2", "N4"),
    ]
    assert (summary.interactions, summary.dropped, summary.time_unit) == (5, {"time cannot be read": 1}, "s")


@pytest.mark.parametrize(
    ("column", "says"),
    [(["[a b]", None], r"in square brackets that is no JSON list .* '\[a b\]'"), ([[["a"]], []], "has lists of List")],
)
def test_lists_that_are_none_are_refused(tmp_path: Path, column: list[object], says: str):
    table = pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "shown": pl.Series(column)})
    table.write_parquet(tmp_path / "log.parquet")
    asked = Data(path="log.parquet", text="{key}", columns={"shown": "shown"})
    with pytest.raises(DataFault, match=says):
        prepare(asked, Split(method="last"), seed=7, here=tmp_path, out=tmp_path / "out")
