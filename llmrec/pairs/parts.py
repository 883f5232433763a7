"""Pairs in parts: each is written once, by whoever gets to it, and the whole is the parts one behind another.

Where parts are cut depends on the queries alone, so that one process, several on one machine and several machines with
one folder write the same parts, and what a killed one left is taken up where it stopped.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from llmrec.columns import USER
from llmrec.errors import RunFault, UserError
from llmrec.files import replacing
from llmrec.pairs.build import PAIRS_SCHEMA
from llmrec.progress import track
from llmrec.ranking import write_parquet

PART = 1 << 14  # queries; a part ends where a user's queries do


@dataclass(frozen=True)
class Shard:
    """One of `of` processes that share the parts: it makes those whose number leaves `number - 1` when divided."""

    number: int = 1
    of: int = 1

    @classmethod
    def read(cls, words: str) -> Shard:
        """From `2/8`. Raises UserError where it is none.

        >>> Shard.read("2/8")
        Shard(number=2, of=8)
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", words.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--shard {words}: write i/n, from 1/n to n/n: --shard 1/4.")
        return cls(int(found[1]), int(found[2]))

    def has(self, number: int) -> bool:
        """Whether the part of this number is its to make."""
        return number % self.of == self.number - 1


def cut(queries: pl.DataFrame) -> list[pl.DataFrame]:
    """The queries in parts of PART or a few more: one user's consecutive queries stay together. Reads user."""
    users = queries[USER].to_numpy()
    begins = np.flatnonzero(np.r_[True, users[1:] != users[:-1]]) if len(users) else np.empty(0, dtype=int)
    cuts = begins[np.unique(np.minimum(np.searchsorted(begins, np.arange(PART, len(users), PART)), len(begins) - 1))]
    ends = [0, *cuts[cuts > 0].tolist(), len(users)]
    return [queries[a:b] for a, b in pairwise(ends) if b > a]


def write_parts(
    queries: pl.DataFrame,
    make: Callable[[pl.DataFrame], pl.DataFrame],
    folder: Path,
    shard: Shard,
) -> list[Path]:
    """Writes this shard's parts that are not there yet, each by `make`, from queries to pairs; returns all paths."""
    parts = cut(queries)
    paths = [folder / f"{number:06d}.parquet" for number in range(len(parts))]
    left = [n for n, path in enumerate(paths) if shard.has(n) and not path.is_file()]
    for n in track(left, "pairs"):
        write_parquet(make(parts[n]), paths[n])
    return paths


def put_together(paths: list[Path], out: Path) -> Path:
    """The pairs of the parts as one table, one group of rows a part; never more than a part in memory."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise RunFault(f"{missing[0]}: a part is not there. Run `llmrec pairs RECIPE` again, which makes it.")
    if not paths:
        return write_parquet(pl.DataFrame(schema=PAIRS_SCHEMA), out)
    columns = list(PAIRS_SCHEMA)  # what guards took out stands beside them, for the card
    first = pq.read_table(paths[0], columns=columns).schema
    with replacing(out) as partial, pq.ParquetWriter(partial, first, compression="zstd") as writer:
        for path in paths:
            writer.write_table(pq.read_table(path, columns=columns))
    return out


def forget(folder: Path) -> None:
    """Removes the parts, once the whole is there."""
    shutil.rmtree(folder, ignore_errors=True)
