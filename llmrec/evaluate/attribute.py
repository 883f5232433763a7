"""The attribute by which a catalogue's items are alike or not: genres, or what stands for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.columns import ITEM

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

ATTRIBUTES = ("genres", "genre", "categories", "category", "tags")
MOST = 512  # values; of more, two items hardly ever share one, and a history of some items is no mixture
BETWEEN = r"\s*[|,;]\s*"  # `Action|Comedy` of a file, `Action, Comedy` of our catalogues

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Attribute:
    """Each item's values of one text field, as codes; an item without any has a value of its own kind: unknown."""

    codes: Ints
    """The values of item after item."""
    starts: Ints
    """Where each item's begin, and the end: (items + 1,)."""
    count: int
    """Different values."""

    @classmethod
    def of(cls, larder: Larder) -> Attribute | None:
        """The first of ATTRIBUTES that the catalogue has; None without one, or with one value, or over MOST."""
        name = next((name for name in ATTRIBUTES if name in larder.catalogue.columns), None)
        if name is None:
            return None
        text = larder.catalogue.sort(ITEM)[name].cast(pl.String).fill_null("")
        values = text.str.replace_all(BETWEEN, "|").str.split("|").list.unique(maintain_order=True)
        kinds, codes = np.unique(values.explode().to_numpy(), return_inverse=True)
        starts = np.concatenate([[0], np.cumsum(values.list.len().to_numpy().astype(np.int64))])
        return cls(codes, starts, len(kinds)) if 2 <= len(kinds) <= MOST else None

    @property
    def each(self) -> Ints:
        """How many values each item has."""
        return np.diff(self.starts)

    def mixed(self, rows: Ints, items: Ints, n: int) -> Floats:
        """How much of each value the items of each row make up, (n, values): an item counts 1, shared by its values."""
        many = self.each[items]
        ends = np.cumsum(many)
        at = np.arange(int(many.sum())) + np.repeat(self.starts[items] - (ends - many), many)
        cells = np.repeat(rows, many) * self.count + self.codes[at]
        flat = np.bincount(cells, weights=np.repeat(1 / many, many), minlength=n * self.count)
        return flat.astype(np.float64, copy=False).reshape(n, self.count)

    def bits(self) -> npt.NDArray[np.uint64]:
        """Each item's values as a set of bits, (items, words)."""
        words = np.zeros((len(self.starts) - 1, -(-self.count // 64)), dtype=np.uint64)
        owner = np.repeat(np.arange(len(words)), self.each)
        np.bitwise_or.at(words, (owner, self.codes // 64), np.uint64(1) << (self.codes % 64).astype(np.uint64))
        return words
