"""What is never rejected: the target, what the user took up, and what reads like either.

A guard takes draws out after they are made, so no stream knows what a user has touched. Each draw that is taken out
is counted under the first of `GUARDS` that it fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from llmrec.candidates.histories import readings
from llmrec.candidates.negatives.pool import Found, Pool
from llmrec.errors import DataFault
from llmrec.recipe.sections import Guard

TOUCHED, SAME_TITLE, NEAR_TEXT = GUARDS = ("touched", "same_title", "near_text")
"""The item itself was taken up; its text is that of one that was, or of another that is rejected; nearly so."""
FREE, MET, NEAR, BARRED = range(4)  # of a reading: untouched; touched; like a touched one; the target's, or given


@dataclass
class Marks:
    """What one query may be given: a mark a reading, and how many draws each guard took out."""

    of: np.ndarray  # (n_readings,) u8
    met: np.ndarray  # items that the user has touched
    target: int | None = None
    found: set[int] = field(default_factory=set)
    out: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GUARDS, 0))
    _met: set[int] | None = None

    @property
    def free(self) -> int:
        """Readings that may still be given, but for those of the user's own history."""
        return len(self.of) - int(np.count_nonzero(self.of))

    def count(self, item: int, mark: int, *, own: bool) -> None:
        """Counts a draw that was taken out; one that was given already is merely drawn again."""
        if item in self.found:
            return
        if self._met is None:
            self._met = set(self.met.tolist())
        touched = item == self.target or (item in self._met and not own)
        self.out[TOUCHED if touched else NEAR_TEXT if mark == NEAR else SAME_TITLE] += 1


class Guards:
    """The guards of a recipe, over one catalogue."""

    def __init__(self, pool: Pool, guard: Guard) -> None:
        self.pool, self.after, self.near = pool, guard.after, guard.near_text
        self.reads = readings(pool.larder.texts)  # (n_items,) i32
        self.n_readings = int(self.reads.max(initial=-1)) + 1
        self._alike: dict[int, np.ndarray] = {}
        if self.after:
            _ = pool.times

    def marks(self, user: int, position: int | None, time: int | None, target: int | None) -> Marks:
        """Where one query starts from."""
        met = self._touched(user, position, time)
        of = np.zeros(self.n_readings, dtype=np.uint8)
        if self.near is not None:
            for item in met.tolist():
                of[self._like(item)] = NEAR
        of[self.reads[met]] = MET
        if target is not None:
            if self.near is not None:
                of[self._like(target)] = NEAR
            of[self.reads[target]] = BARRED
        return Marks(of, met, target)

    def take(self, stream: Iterator[Found], count: int, marks: Marks, *, own: bool = False) -> list[Found]:
        """Up to `count` items of the stream that no guard takes out; marks them. `own`: touched ones may be given."""
        found: list[Found] = []
        refused = 0
        while len(found) < count:
            one = next(stream, None)
            if one is None:
                break
            mark = marks.of[self.reads[one[0]]]
            if mark == FREE or (own and mark == MET):
                self._give(one[0], marks)
                found.append(one)
                continue
            marks.count(one[0], mark, own=own)
            refused += 1
            if refused % 1024 == 0 and not marks.free and not own:
                break
        return found

    def _give(self, item: int, marks: Marks) -> None:
        marks.found.add(item)
        marks.of[self.reads[item]] = BARRED
        if self.near is not None:
            like = self._like(item)
            marks.of[like[marks.of[like] != BARRED]] = NEAR  # those of the own history too

    def _touched(self, user: int, position: int | None, time: int | None) -> np.ndarray:
        whole = self.pool.histories[user]
        if self.after is None:
            return whole
        if position is None:
            raise DataFault("pairs.guard.after: the queries have no positions to tell before from after by.")
        if self.after == 0:
            return whole[: position + 1]
        times = self.pool.times[user]
        later = times[position:] <= (times[position] if time is None else time) + self.after * self.pool.day
        return np.append(whole[:position], whole[position:][later])

    def _like(self, item: int) -> np.ndarray:
        """Readings of the items whose texts are nearly that of one."""
        reading = int(self.reads[item])
        if reading not in self._alike:
            items, cosines = self.pool.alike.to(item)
            self._alike[reading] = np.unique(self.reads[items[cosines >= self.near]])
        return self._alike[reading]
