"""Recommendations for somebody who watches a series in order: the next part comes first, what was seen never."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
import torch

from llmrec.data.larder import Larder
from llmrec.errors import DataFault, ModelFault, RunFault
from llmrec.recipe.sections import Retriever as Section
from llmrec.recommend import first, of_titles, of_user, plain, recommend
from llmrec.retriever.fit import fit
from llmrec.retriever.model import Retriever

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


def watcher() -> Retriever:
    """Expects the film after the last one, then the one after that, and so on around."""
    torch.manual_seed(0)
    histories = [np.arange(start, start + 12) % 5 for start in range(5)]
    section = Section(d_model=16, layers=1, d_state=4, headdim=8, dropout=0, learning_rate=0.02, epochs=30)
    with TemporaryDirectory() as folder:
        return fit(histories, 5, section, valid=None, seed=7, out=Path(folder))


WATCHER = watcher()


def after(larder: Larder, *films: int, k: int = 10) -> list[str]:
    return [one.text for one in first(WATCHER, larder, WATCHER.state([np.array(films)]), k)]


def test_the_next_part_comes_first_and_the_seen_never(larder: Larder) -> None:
    assert after(larder, 0, 1)[0] == "Alien (1979)"
    assert sorted(after(larder, 0, 1)) == sorted(TITLES[2:])
    best = first(WATCHER, larder, WATCHER.state([np.array([0, 1])]), 10)
    assert [one.rank for one in best] == [1, 2, 3]
    assert best[0].key == "f2"


def test_k_is_how_many(larder: Larder) -> None:
    assert len(after(larder, 0, k=2)) == 2


def test_a_user_is_everything_that_they_did(larder: Larder) -> None:
    assert of_user(larder, "ada")[0].tolist() == [2, 3]
    assert of_user(larder, "17")[0].tolist() == [1]


@pytest.fixture
def run(larder: Larder, tmp_path: Path) -> Path:
    larder.write(tmp_path / "run" / "prepare")
    WATCHER.save(tmp_path / "run" / "retrieve" / "model")
    return tmp_path / "run"


def test_a_viewer_who_comes_back_is_remembered(run: Path, tmp_path: Path) -> None:
    kept = tmp_path / "viewer.state"
    recommend(run, history="The Matrix; Heat", state=kept)
    back = recommend(run, history="Alien (1979)", state=kept)
    whole = recommend(run, history="The Matrix; Heat; Alien (1979)")
    assert [one.key for one in back] == [one.key for one in whole] == ["f3", "f4"]
    assert [one.score for one in back] == pytest.approx([one.score for one in whole], abs=1e-4)


def test_a_user_of_the_run_is_kept_as_they_are_and_never_twice(run: Path, tmp_path: Path) -> None:
    kept = tmp_path / "ada.state"
    assert recommend(run, user="ada", state=kept) == recommend(run, user="ada", state=kept)
    assert WATCHER.load_state(kept).seen[0].tolist() == [2, 3]


def test_a_state_of_other_weights_is_refused_and_left_as_it_was(run: Path, tmp_path: Path) -> None:
    kept = tmp_path / "viewer.state"
    Retriever(5, WATCHER.section).eval().state([np.array([1])]).save(kept)
    before = kept.read_bytes()
    with pytest.raises(ModelFault, match="States do not outlive a refit"):
        recommend(run, history="Heat", state=kept)
    assert kept.read_bytes() == before


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
