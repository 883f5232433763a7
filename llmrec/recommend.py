"""Recommendations from a finished run, for a user of its data or after a history typed by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmrec.columns import COUNT, ITEM, KEY, TEXT, USER
from llmrec.data.larder import Larder
from llmrec.errors import DataFault, RunFault
from llmrec.progress import note

if TYPE_CHECKING:
    from llmrec.retriever.model import Retriever
    from llmrec.retriever.states import State

TITLE = "title"
ARTICLES = "the|a|an|les?|la|il|el|der|die|das"


@dataclass(frozen=True)
class Recommendation:
    """One recommended item: its place from 1, the owner's id, how it reads, and the score that put it there."""

    rank: int
    key: str
    text: str
    score: float


def recommend(
    run: Path, *, user: str | None = None, history: str | None = None, k: int = 10, state: Path | None = None
) -> list[Recommendation]:
    """The run's retriever's first `k` items after everything that the user did, or after a history of titles.

    `history` is titles between semicolons, oldest first; a title is found by its exact text, then whatever its case,
    year and leading article. Items already seen are never recommended. With `state`, a file, what the retriever
    remembers is kept there: a history goes on from it where it exists, and it is replaced by what is remembered now.
    Raises RunFault where the run has no retriever yet, DataFault on an unknown user or title, with the nearest titles,
    ModelFault on a state that is damaged or of other weights.
    """
    if (user is None) == (history is None):
        raise RunFault("recommend: give either a user (--user ID) or a history (--history 'A; B; C').")
    if k < 1:
        raise RunFault(f"recommend: k is {k}; ask for at least one item.")
    if not run.is_dir():
        raise RunFault(f"{run}: no such run folder. `llmrec run RECIPE` makes one.")
    larder = Larder.read(run / "prepare")
    if user is not None:
        context, times = of_user(larder, user)
    else:
        context = of_titles(larder, str(history))
        times = np.full(len(context), np.nan)  # when, nobody said
    retriever = _retriever(run, larder)
    if state is not None and state.exists() and user is None:
        now = retriever.follow(retriever.load_state(state), context, times)
    else:
        now = retriever.state([context], [times])
    if state is not None:
        now.save(state)
        note(f"{state}: remembers {len(now.seen[0]):,} items, {len(context):,} of them from now")
    return first(retriever, larder, now, k)


def first(retriever: Retriever, larder: Larder, state: State, k: int) -> list[Recommendation]:
    """The first `k` items for one user's state, those they have seen left out; equal scores go to the lower code."""
    found = retriever.best_from(state, k)
    items, scores = found.items[:k], found.scores[:k]
    rows = larder.catalogue[items.tolist()].select(KEY, TEXT).iter_rows()
    return [
        Recommendation(rank, str(key), str(text), float(score))
        for rank, ((key, text), score) in enumerate(zip(rows, scores, strict=True), 1)
    ]


def of_user(larder: Larder, user: str) -> tuple[np.ndarray, np.ndarray]:
    """Everything that a user did, oldest first: item codes, and when in seconds (nan where the data do not say).

    Raises DataFault on a user who is not in the run.
    """
    found = larder.users.filter(pl.col(KEY).cast(pl.String) == user)
    if not found.height:
        some = ", ".join(map(str, larder.users[KEY].head(3)))
        raise DataFault(f"recommend: no user {user!r} among the run's {larder.users.height:,}; ids read like {some}.")
    return larder.whole(int(found[USER][0]))


def of_titles(larder: Larder, history: str) -> np.ndarray:
    """Titles between semicolons as item codes. Raises DataFault naming every title that the catalogue does not have."""
    asked = [title.strip() for title in history.split(";") if title.strip()]
    if not asked:
        raise DataFault("recommend: the history is empty; give titles between semicolons, as in 'Heat; Alien; Up'.")
    columns = [*([TITLE] if TITLE in larder.catalogue.columns else []), TEXT]
    by_text: list[dict[str, int]] = [{}, {}]
    # The most watched item last, so that it is the one that an ambiguous title means.
    for row in larder.catalogue.sort(COUNT, ITEM, descending=[False, True]).select(ITEM, *columns).iter_rows():
        for text in filter(None, row[1:]):
            by_text[0][text] = by_text[1][plain(text)] = row[0]
    found = [by_text[0].get(title, by_text[1].get(plain(title))) for title in asked]
    unknown = [title for title, item in zip(asked, found, strict=True) if item is None]
    if unknown:
        raise DataFault("\n".join(f"recommend: no item {title!r}{_near(title, by_text)}" for title in unknown))
    items = [item for item in found if item is not None]
    note("after: " + "; ".join(larder.texts[item] for item in items))
    return np.asarray(items, dtype=np.int32)


def plain(title: str) -> str:
    """A title without what people leave out: case, year and article. `Matrix, The (1999)` is `matrix`."""
    title = re.sub(r"\s*\(\d{4}\)\s*$", "", title).strip().casefold()
    bare = re.sub(rf"^({ARTICLES}) (?=\S)|, ({ARTICLES})$", "", title)
    return bare.strip()


def _near(title: str, by_text: list[dict[str, int]]) -> str:
    full = {plain(text): text for text in by_text[0]}
    likely = get_close_matches(plain(title), full, n=3, cutoff=0.6)
    likely += [name for name in full if plain(title) in name and name not in likely][: 3 - len(likely)]
    return f"; did you mean {' or '.join(full[name] for name in likely)}?" if likely else " in the catalogue."


def _retriever(run: Path, larder: Larder) -> Retriever:
    from llmrec.retriever.model import Retriever  # torch: after what can go wrong without it

    folder = run / "retrieve" / "model"
    if not folder.is_dir():
        raise RunFault(f"{folder}: the run has no retriever yet; `llmrec retrieve RECIPE` fits one.")
    return Retriever.load(folder, n_items=larder.n_items)
