"""A log of interactions by the million whose users and items follow power laws, the same for one seed everywhere.

    python benchmarks/powerlaw.py FOLDER [--interactions 25000000] [--seed 7]

FOLDER gets `interactions.parquet` (user, item: i64 ids in no order; time: i64 seconds, a row later than the one before)
and `items.parquet` (item, title, year), written a million rows at a time. 25,000,000 interactions have 160,000 users
and 60,000 items. Fewer have as many fewer users and the same items, so that what a user does is alike at every size.

A row draws a user in proportion to (rank + users / 800)^-0.9 and an item to (rank + items / 1200)^-0.9: at
full size the most active user has 13,239 interactions, the median 60, and the most popular item 48,421, which is near
MovieLens-25M. Nothing keeps a user from drawing an item again: 9% of the rows do, and `data.duplicates: first` leaves
them out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

USERS, ITEMS, FULL = 160_000, 60_000, 25_000_000
EXPONENT = 0.9
PIECE = 1_000_000  # rows at once
BEGINS, LASTS = 1_500_000_000, 5 * 365 * 86_400  # seconds: five years from July 2017
ADJECTIVES = ["Quiet", "Last", "Golden", "Broken", "Hidden", "Second", "Silent", "Burning", "Distant", "Winter"]
NOUNS = ["River", "Garden", "Station", "Letter", "Harbour", "Mountain", "Orchestra", "Stranger", "Island", "Window"]
PLACES = ["Vienna", "Lisbon", "Dover", "Bergen", "Tangier", "Kyoto", "Quebec", "Dakar", "Lima", "Perth"]


def write_log(folder: Path, interactions: int = FULL, *, seed: int = 7) -> tuple[Path, Path]:
    """The two files, (interactions, items)."""
    users, items = sizes(interactions)
    rng = np.random.default_rng(seed)
    user_ids, item_ids = rng.permutation(users) + 1, rng.permutation(items) + 1
    by_user, by_item = _shares(users, users / 800), _shares(items, items / 1200)
    folder.mkdir(parents=True, exist_ok=True)
    log, catalogue = folder / "interactions.parquet", folder / "items.parquet"
    schema = pa.schema([("user", pa.int64()), ("item", pa.int64()), ("time", pa.int64())])
    with pq.ParquetWriter(log, schema) as out:
        for start in range(0, interactions, PIECE):
            rows = min(PIECE, interactions - start)
            moments = BEGINS + np.sort(rng.random(rows) * rows + start) / interactions * LASTS
            columns = [
                user_ids[np.searchsorted(by_user, rng.random(rows))],
                item_ids[np.searchsorted(by_item, rng.random(rows))],
                moments.astype(np.int64),
            ]
            out.write_table(pa.table(columns, schema=schema))
    pl.DataFrame({"item": np.sort(item_ids), **_titles(items)}).write_parquet(catalogue)
    return log, catalogue


def sizes(interactions: int) -> tuple[int, int]:
    """How many users and items go with so many interactions."""
    return max(2, round(USERS * interactions / FULL)), max(50, min(ITEMS, interactions // 10))


def _shares(count: int, shift: float) -> np.ndarray:
    """Cumulative shares of ranks 0 .. count - 1."""
    upto = np.cumsum((np.arange(count) + shift) ** -EXPONENT)
    return upto / upto[-1]


def _titles(items: int) -> dict[str, list[str]]:
    """No two alike: the number at the end counts the rounds through all words."""
    titles = []
    for number in range(items):
        turn, words = divmod(number, len(ADJECTIVES) * len(NOUNS) * len(PLACES))
        rest, first = divmod(words, len(ADJECTIVES))
        third, second = divmod(rest, len(NOUNS))
        part = f" {turn + 1}" if turn else ""
        titles.append(f"{ADJECTIVES[first]} {NOUNS[second]} of {PLACES[third]}{part}")
    return {"title": titles, "year": [str(1950 + number * 7 % 70) for number in range(items)]}


def main() -> None:
    """Writes the log and says how large it came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--interactions", type=int, default=FULL)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    began = time.monotonic()
    log, _ = write_log(asked.folder, asked.interactions, seed=asked.seed)
    users, items = sizes(asked.interactions)
    size = {"interactions": asked.interactions, "users": users, "items": items, "bytes": log.stat().st_size}
    print(json.dumps(size | {"seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main()
