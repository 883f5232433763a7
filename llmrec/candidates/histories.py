"""What a user has touched, and which items read the same: what draws of untouched items need to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmrec.columns import ITEMS, USER

if TYPE_CHECKING:
    from llmrec.data.larder import Larder


def whole_histories(larder: Larder) -> dict[int, np.ndarray]:
    """Each user's items, all of them: before and after any query, targets included. Views of one array, read-only."""
    items = larder.histories[ITEMS].explode(empty_as_null=False).to_numpy().astype(np.int32, copy=False)
    items.setflags(write=False)
    ends = np.cumsum(larder.histories[ITEMS].list.len().to_numpy(), dtype=np.int64).tolist()
    users = larder.histories[USER].to_list()
    return {user: items[start:end] for user, start, end in zip(users, [0, *ends[:-1]], ends, strict=True)}


def readings(texts: list[str]) -> np.ndarray:
    """A number an item, the same for items whose texts differ in white space at most: (n_items,) i32."""
    seen: dict[str, int] = {}
    return np.asarray([seen.setdefault(" ".join(text.split()), len(seen)) for text in texts], dtype=np.int32)
