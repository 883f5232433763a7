"""The cinema: a small world whose next film is known.

Forty people each work through one genre in order. A genre has twelve films; everyone starts at a film of their own and
goes on from there, round the end to the beginning, so every film is about as popular as any other and popularity is a
poor guess, while whoever knows the order knows the answer.

>>> world = cinema()
>>> world["user"].n_unique(), world["item"].n_unique()
(40, 60)
>>> next_film("heist-12")
'heist-01'
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

GENRES = ("heist", "western", "musical", "mystery", "voyage")
PLACES = (
    "First", "Second", "Third", "Fourth", "Fifth", "Sixth",
    "Seventh", "Eighth", "Ninth", "Tenth", "Eleventh", "Twelfth",
)  # fmt: skip
PEOPLE = 40
WATCHED = 9  # of the twelve, so nobody meets a film twice
OPENED = 880_000_000  # seconds since 1970: November 1997
DAY = 86_400


def film(genre: int, place: int) -> str:
    """The key of a genre's film; places go round, so place 12 is place 0."""
    return f"{GENRES[genre]}-{place % len(PLACES) + 1:02d}"


def next_film(key: str) -> str:
    """The film that anybody who has just seen this one sees next."""
    genre, place = key.rsplit("-", 1)
    return film(GENRES.index(genre), int(place))


def cinema(people: int = PEOPLE, watched: int = WATCHED) -> pl.DataFrame:
    """Interactions: user, item (both keys), time in seconds, title, year; sorted by time.

    Everybody sees one film a day, from the same day on, each at their own minute: no two interactions share a moment,
    and a moment in the middle finds everybody in the middle.
    """
    catalogue = {row["item"]: row for row in films().iter_rows(named=True)}
    rows = []
    for person in range(people):
        genre, turn = person % len(GENRES), person // len(GENRES)
        start = turn * len(PLACES) // -(-people // len(GENRES))
        for day in range(watched):
            key = film(genre, start + day)
            seen = {"user": f"p{person:02d}", "item": key, "time": OPENED + day * DAY + person * 60}
            rows.append(seen | {name: catalogue[key][name] for name in ("title", "year")})
    return pl.DataFrame(rows).sort("time")


def films() -> pl.DataFrame:
    """The catalogue: item (a key), title, year, genre."""
    return pl.DataFrame(
        {
            "item": film(g, p),
            "title": f"The {PLACES[p]} {GENRES[g].title()}",
            "year": 1950 + 12 * g + p,
            "genre": GENRES[g],
        }
        for g in range(len(GENRES))
        for p in range(len(PLACES))
    )


def item_texts() -> dict[str, str]:
    """What each film reads as: `{"heist-01": "The First Heist (1950)", ...}`."""
    return {key: f"{title} ({year})" for key, title, year in films().select("item", "title", "year").iter_rows()}


def write_csv(folder: Path, table: pl.DataFrame | None = None, name: str = "cinema.csv") -> Path:
    """The cinema, or another table, as a CSV with a header; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    (cinema() if table is None else table).write_csv(path)
    return path
