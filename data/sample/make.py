"""Makes the sample: 200 invented readers of 120 invented books, with an order in what they read.

Every series has its order, and most readers who begin one go on with it; between series they turn to what many read. So
the last book says much about the next, popularity says something, and nothing is certain. `python data/sample/make.py`
writes the two files again, byte for byte.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

SEED = 1
READERS = 200
SERIES = 15
VOLUMES = 8
FAITHFUL = 0.75  # how often a reader goes on with the series
OPENED = 1_600_000_000  # September 2020
DAY = 86_400

PLACES = (
    "Harbour", "Orchard", "Lantern", "Mill", "Observatory", "Quarry", "Ferry", "Abbey", "Station", "Garden", "Tower",
    "Bridge", "Archive", "Lighthouse", "Market",
)  # fmt: skip
THINGS = ("Key", "Letter", "Winter", "Map", "Guest", "Promise", "Fire", "Return")
KINDS = ("mystery", "adventure", "romance", "history", "fantasy")


def books() -> list[dict[str, str]]:
    """The catalogue, a row a book; one has no title, as happens."""
    rows = []
    for series in range(SERIES):
        for volume in range(VOLUMES):
            rows.append(
                {
                    "book_id": f"B{series:02d}{volume}",
                    "title": f"The {PLACES[series]} {THINGS[volume]}",
                    "year": str(1990 + series + volume),
                    "kind": KINDS[series % len(KINDS)],
                }
            )
    rows[-1]["title"] = ""
    return rows


def readings() -> list[tuple[str, str, int, int]]:
    """(reader, book, stars, seconds since 1970), in the order in which they were written down."""
    draw = random.Random(SEED)
    liked = [1 / (1 + series) ** 0.7 for series in range(SERIES)]
    rows = []
    for reader in range(READERS):
        moment = OPENED + draw.randrange(500 * DAY)
        series, volume, read = 0, VOLUMES, set[str]()
        for _ in range(draw.randint(6, 24)):
            volume += 1
            if volume >= VOLUMES or draw.random() > FAITHFUL:
                series = draw.choices(range(SERIES), weights=liked)[0]
                volume = draw.choice((0, 0, 0, draw.randrange(VOLUMES)))
            book = f"B{series:02d}{volume}"
            if book in read:
                continue
            read.add(book)
            moment += draw.randrange(1, 10 * DAY)
            rows.append((f"R{reader:03d}", book, draw.choice((3, 4, 4, 5)), moment))
    return sorted(rows, key=lambda row: row[3])


def main() -> None:
    """Writes readings.csv and books.csv beside this file."""
    here = Path(__file__).parent
    with (here / "readings.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("reader", "book", "stars", "moment"))
        writer.writerows(readings())
    with (here / "books.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ("book_id", "title", "year", "kind"), lineterminator="\n")
        table.writeheader()
        table.writerows(books())


if __name__ == "__main__":
    main()
