"""How items come by their fields and read."""

from __future__ import annotations

import polars as pl
import pytest

from llmrec.data.catalogue import Described, catalogue, described, first_texts, placeholders
from llmrec.data.dropped import Dropped
from llmrec.data.manifest import Table
from llmrec.data.readers import Rows
from llmrec.data.salvage import nothing_bad
from llmrec.errors import DataFault

CODES = pl.DataFrame({"key": ["1", "2"], "code": [1, 0]}, schema_overrides={"code": pl.Int32})


def items(dropped: Dropped | None = None, table: Table | None = None, **columns: list[object]) -> Described:
    frame = pl.DataFrame(columns)
    frame = frame.insert_column(0, pl.Series("line", range(2, frame.height + 2), dtype=pl.Int64))
    return described(
        Rows(frame, nothing_bad()), table or Table(file="items"), file="items", dropped=dropped or Dropped()
    )


def texts(found: Described, text: str) -> list[str]:
    return list(catalogue(CODES, found, text=text, where="items")[0]["text"])


def test_the_catalogue_is_in_the_order_of_codes_and_holds_only_items_that_were_met():
    table, untitled = catalogue(
        CODES, items(item=["1", "2", "3"], title=["Heat", "Up", "Big"]), text="{title}", where="i"
    )
    assert table.select("item", "key", "title", "text").rows() == [(0, "2", "Up", "Up"), (1, "1", "Heat", "Heat")]
    assert untitled == 0


def test_an_item_without_a_title_reads_as_its_key_and_is_counted():
    found = items(item=["1"], title=["  "], year=["1995"])
    table, untitled = catalogue(CODES, found, text="{title} ({year})", where="items")
    assert table["text"].to_list() == ["2", "1"]
    assert untitled == 2


def test_brackets_around_nothing_go():
    found = items(item=["1", "2"], title=["Heat", "Up"], year=["1995", None])
    assert texts(found, "{title} ({year})") == ["Up", "Heat (1995)"]


def test_titles_stay_on_one_line():
    found = items(item=["1", "2"], title=["Heat\nand \t Dust", "Up\x00\u2028again"])
    assert texts(found, "{title}") == ["Up again", "Heat and Dust"]


def test_a_key_may_be_the_text():
    assert texts(items(item=["1", "2"]), "item {key}") == ["item 2", "item 1"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{titel}", r"asks for \{titel\}, and items of items have title.*Did you mean \{title\}"),
        ("{title.__class__}", "no plain field name"),
        ("{title!r}", "no plain field name"),
        ("{title:>9}", "no plain field name"),
        ("{}", "no plain field name"),
        ("{title", "no format string"),
    ],
)
def test_a_text_that_cannot_be_filled_in(text: str, says: str):
    with pytest.raises(DataFault, match=says):
        texts(items(item=["1"], title=["Heat"]), text)


def test_doubled_braces_are_braces():
    assert placeholders("{{{title}}}") == ["title"]


def test_years_leave_titles_for_a_field_of_their_own():
    found = items(
        table=Table(file="i", year_from="title"),
        item=["1", "2", "3", "4"],
        title=["Heat (1995)", "Seven (Se7en) (1995)", "Up", "Dinosaurs III (1994) (V)"],
    )
    assert found.table.select("title", "year").rows() == [
        ("Heat", "1995"),
        ("Seven (Se7en)", "1995"),
        ("Up", None),
        ("Dinosaurs III", "1994"),
    ]


def test_a_year_of_its_own_counts_where_the_title_has_none_and_it_is_a_year():
    found = items(table=Table(file="i", year_from="title"), item=["1", "2"], title=["Heat", "Up"], year=["1995", "?"])
    assert found.table["year"].to_list() == ["1995", None]


def test_flags_and_lists_say_the_same_in_the_same_order():
    flags = items(
        table=Table(file="i", flags={"genres": ["War", "Drama"]}), item=["1", "2"], War=["1", "0"], Drama=["1", "0"]
    )
    lists = items(table=Table(file="i", lists={"genres": "|"}), item=["1", "2"], genres=["War|Drama", ""])
    assert flags.table.rows() == lists.table.rows() == [("1", "Drama, War"), ("2", None)]


def test_corrections_are_made():
    found = items(table=Table(file="i", replace={"title": {"unkonwn": "unknown"}}), item=["1"], title=["unkonwn"])
    assert found.table["title"].to_list() == ["unknown"]


def test_numbers_and_lists_become_text():
    found = items(item=["1", "2"], year=[1995.0, None], tags=[["a", "b"], []])
    assert found.table.select("key", "year", "tags").rows() == [("1", "1995", "a, b"), ("2", None, None)]


def test_items_listed_twice_or_without_an_id_are_left_out_and_said():
    dropped = Dropped()
    found = items(dropped, item=["1", "1", None], title=["Heat", "Heat 2", "?"])
    assert found.table["title"].to_list() == ["Heat"]
    assert dropped.counts() == {"no item": 1, "the same item again in the items file": 1}


def test_text_beside_interactions_is_the_first_that_is_not_empty():
    log = pl.DataFrame(
        {"line": [2, 3, 4], "user": ["a", "b", "c"], "item": ["1", "1", "2"], "title": ["", "Heat", "Up"]}
    )
    assert first_texts(log.select("item", "title"), "item").rows() == [("1", "Heat"), ("2", "Up")]


def test_a_field_of_ours_cannot_be_an_item_field():
    with pytest.raises(DataFault, match="cannot be called count"):
        texts(items(item=["1"], title=["Heat"], count=["3"]), "{title}")
