"""Recommendations for somebody who watches a series in order: the next part comes first, what was seen never."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmrec.data.larder import Larder
from llmrec.errors import DataFault, RunFault
from llmrec.recommend import first, of_titles, of_user, plain, recommend

TITLES = ["Matrix, The (1999)", "Heat (1995)", "Alien (1979)", "Aliens (1986)", "Alien (2030)"]


@pytest.fixture
def larder() -> Larder:
    """Five films and two people; the second Alien has been watched more often."""
    catalogue = pl.DataFrame(
        {
            "item": range(5),
            "key": [f"f{n}" for n in range(5)],
            "title": [title[:-7] for title in TITLES],
            "text": TITLES,
            "count": [9, 5, 3, 2, 1],
        }
    )
    histories = pl.DataFrame({"user": [0, 1], "items": [[2, 3], [1]], "times": [None, None], "train": [1, 1]})
    users = pl.DataFrame({"user": [0, 1], "key": ["ada", "17"]})
    return Larder(histories.cast({"items": pl.List(pl.Int32)}), catalogue, pl.DataFrame(), users)


class NextCode:
    """Expects the item after the last one, then the one after that, and so on around."""

    name = "next"

    def scores(self, contexts: Sequence[np.ndarray], times: np.ndarray | None = None) -> np.ndarray:
        return np.stack([-((np.arange(5) - context[-1] - 1) % 5).astype(np.float32) for context in contexts])


def test_the_next_part_comes_first_and_the_seen_never(larder: Larder) -> None:
    found = first(NextCode(), larder, np.array([0, 1]), k=10)
    assert [one.text for one in found] == ["Alien (1979)", "Aliens (1986)", "Alien (2030)"]
    assert [one.rank for one in found] == [1, 2, 3]
    assert found[0].key == "f2"


def test_k_is_how_many(larder: Larder) -> None:
    assert len(first(NextCode(), larder, np.array([0]), k=2)) == 2


def test_a_user_is_everything_that_they_did(larder: Larder) -> None:
    assert of_user(larder, "ada").tolist() == [2, 3]
    assert of_user(larder, "17").tolist() == [1]


def test_an_unknown_user_is_told_how_ids_read(larder: Larder) -> None:
    with pytest.raises(DataFault, match=r"no user 'bob' among the run's 2; ids read like ada, 17"):
        of_user(larder, "bob")


@pytest.mark.parametrize(
    ("typed", "item"),
    [
        ("Heat (1995)", 1),
        ("Heat", 1),
        ("heat", 1),
        ("HEAT (1995)", 1),
        ("The Matrix", 0),
        ("matrix", 0),
        ("Matrix, The", 0),
        ("matrix, the (1999)", 0),
        ("Alien (2030)", 4),
    ],
)
def test_titles_are_found_as_people_type_them(larder: Larder, typed: str, item: int) -> None:
    assert of_titles(larder, typed).tolist() == [item]


def test_an_ambiguous_title_is_the_most_watched(larder: Larder) -> None:
    assert of_titles(larder, "alien").tolist() == [2]


def test_a_history_keeps_its_order(larder: Larder) -> None:
    assert of_titles(larder, "Aliens; Heat ;Alien;").tolist() == [3, 1, 2]


def test_all_unknown_titles_are_named_with_the_nearest(larder: Larder) -> None:
    with pytest.raises(DataFault) as caught:
        of_titles(larder, "Haet; Alien; zzz")
    assert str(caught.value).splitlines() == [
        "recommend: no item 'Haet'; did you mean Heat (1995)?",
        "recommend: no item 'zzz' in the catalogue.",
    ]


def test_an_empty_history_is_refused(larder: Larder) -> None:
    with pytest.raises(DataFault, match="the history is empty"):
        of_titles(larder, " ; ")


def test_a_run_without_a_retriever_says_which_stage_is_missing(larder: Larder, tmp_path: Path) -> None:
    larder.write(tmp_path / "prepare")
    with pytest.raises(RunFault, match="no retriever yet; `llmrec retrieve RECIPE`"):
        recommend(tmp_path, user="ada")


def test_either_a_user_or_a_history(tmp_path: Path) -> None:
    with pytest.raises(RunFault, match="either"):
        recommend(tmp_path)
    with pytest.raises(RunFault, match="either"):
        recommend(tmp_path, user="ada", history="Heat")
    with pytest.raises(RunFault, match="no such run folder"):
        recommend(tmp_path / "nowhere", user="ada")


def test_plain_titles() -> None:
    assert plain("Les Misérables (1998)") == plain("Misérables, Les (1998)") == plain("misérables") == "misérables"
    assert plain("A") == "a"
    assert plain("2001: A Space Odyssey (1968)") == "2001: a space odyssey"
