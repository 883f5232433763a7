"""What the audit says, and what a check is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from llmrec.evaluate.case import Case

Level = Literal["disqualifies", "warns", "notes"]
LEVELS: tuple[Level, ...] = ("disqualifies", "warns", "notes")
Part = Literal[
    "rankings", "candidates", "sources", "met", "training", "times", "moments", "split", "titles", "catalogue", "mined"
]  # fmt: skip
# What a check looks at, and where it comes from where nobody has a run.
_TIMES = "times of the queries and of the training interactions (a column `time` in both)"
PARTS: dict[Part, str] = {
    "rankings": "rankings",
    "candidates": "candidate sets in slot order (--candidates)",
    "sources": "who supplied each candidate (a column `source` in --candidates)",
    "met": "what users had met before (--training, or a run folder)",
    "training": "the training interactions (--training, or a run folder)",
    "times": _TIMES,
    "moments": _TIMES,  # or places in the user's history
    "split": _TIMES,  # or the recipe's word on how it was split
    "titles": "titles (--items, or a run folder)",
    "catalogue": "the whole catalogue (--items, or a run folder)",
    "mined": "rankings that negatives were mined from (a run with `retrieved` in pairs.from)",
}


@dataclass(frozen=True)
class Finding:
    """One thing the audit found. `disqualifies`: the numbers do not mean what they say; `warns`: they may not."""

    level: Level
    check: str
    """The check's name, as in docs/audit.md."""
    where: str
    """A table of rankings, `split`, `catalogue` or `rankings`."""
    what: str
    """The evidence, with numbers."""
    why: str
    remedy: str


@dataclass(frozen=True)
class Check:
    """One question to a comparison; `why` and `remedy` are the same whatever it finds."""

    name: str
    needs: tuple[Part, ...]
    why: str
    remedy: str
    look: Callable[[Case], Iterator[tuple[Level, str, str]]]
    """Yields level, where and what."""

    def __call__(self, case: Case) -> Iterator[Finding]:
        for level, where, what in self.look(case):
            yield Finding(level, self.name, where, what, self.why, self.remedy)

    def lacks(self, case: Case) -> list[Part]:
        """What it would have to see, and the case does not have."""
        return [part for part in self.needs if not case.has(part)]


Look = Callable[["Case"], Iterator[tuple[Level, str, str]]]


def check(name: str, *needs: Part, why: str, remedy: str) -> Callable[[Look], Check]:
    """Makes a check out of a function that looks at a case."""
    return lambda look: Check(name, needs, why, remedy, look)


def share(part: float, whole: float) -> str:
    """A share as people read it: 12 %, 0.3 %."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"
