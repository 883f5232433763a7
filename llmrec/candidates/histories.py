"""What a user has touched, and which items read the same: what draws of untouched items need to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmrec.columns import ITEMS, USER

if TYPE_CHECKING:
    from llmrec.data.larder import Larder


def whole_histories(larder: Larder) -> dict[int, np.ndarray]:
    """Each user's items, all of them: before and after any query, targets included."""
    return by_user(larder, ITEMS)


def by_user(larder: Larder, column: str) -> dict[int, np.ndarray]:
    """Each user's entries in a list column of the histories, oldest first. The arrays are views of one flat array."""
    table = larder.histories
    flat = table[column].explode(empty_as_null=False).to_numpy()
    ends = np.cumsum(table[column].list.len().to_numpy().astype(np.int64))
    return dict(zip(table[USER].to_list(), np.split(flat, ends[:-1]), strict=True)) if table.height else {}


def readings(texts: list[str]) -> np.ndarray:
    """A number an item, the same for items whose texts differ in white space at most: (n_items,) i32."""
    seen: dict[str, int] = {}
    return np.asarray([seen.setdefault(" ".join(text.split()), len(seen)) for text in texts], dtype=np.int32)
