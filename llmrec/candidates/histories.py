"""What a user has touched, and which items read the same: what draws of untouched items need to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmrec.columns import ITEMS, USER

if TYPE_CHECKING:
    from llmrec.data.larder import Larder


def whole_histories(larder: Larder) -> dict[int, np.ndarray]:
    """Each user's items, all of them: before and after any query, targets included."""
    table = larder.histories
    return {
        user: np.asarray(items, dtype=np.int32)
        for user, items in zip(table[USER].to_list(), table[ITEMS].to_list(), strict=True)
    }


def readings(texts: list[str]) -> np.ndarray:
    """A number an item, the same for items whose texts differ in white space at most: (n_items,) i32."""
    seen: dict[str, int] = {}
    return np.asarray([seen.setdefault(" ".join(text.split()), len(seen)) for text in texts], dtype=np.int32)
