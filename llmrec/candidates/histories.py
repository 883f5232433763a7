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
    """Each user's entries in a list column of the histories, oldest first: views of one flat array, read-only."""
    table = larder.histories
    flat = table[column].explode(empty_as_null=False).to_numpy()
    flat.setflags(write=False)
    ends = np.cumsum(table[column].list.len().to_numpy(), dtype=np.int64).tolist()
    starts = [0, *ends[:-1]]
    return {user: flat[start:end] for user, start, end in zip(table[USER].to_list(), starts, ends, strict=True)}


def readings(texts: list[str]) -> np.ndarray:
    """A number an item, the same for items whose texts differ in white space at most: (n_items,) i32."""
    seen: dict[str, int] = {}
    return np.asarray([seen.setdefault(" ".join(text.split()), len(seen)) for text in texts], dtype=np.int32)
