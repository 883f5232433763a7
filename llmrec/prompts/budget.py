"""How much of a history fits: a search over the number of items kept that measures as few real prompts as it can."""

from __future__ import annotations

PATIENCE = 3  # guesses from costs before the search halves what is left


class Search:
    """The most items, counted from the latest, whose prompt takes at most `budget` tokens.

    Prompts are measured by whoever searches: render `tries` items, count tokens, tell `measured`, until `found`.

    `costs` is what each item, oldest first, should add to a prompt, and `base` what a prompt should take without any:
    first guesses, which make the search short. What is found was measured: `fits` items did fit (-1: not even none).
    """

    def __init__(self, costs: list[int], base: int, budget: int) -> None:
        self.costs, self.base, self.budget = costs, base, budget
        self.fits, self.over, self._rounds = -1, len(costs) + 1, 0
        self.tries = self._guess(0, budget - base)

    @property
    def found(self) -> bool:
        """Whether one more item than `fits` is known not to fit."""
        return self.over - self.fits <= 1

    def measured(self, size: int) -> bool:
        """Notes the size of the prompt with `tries` items; says whether it fits, and sets the next `tries`."""
        kept, room = self.tries, self.budget - size
        if room < 0:
            self.over = kept
        else:
            self.fits = kept
            # Costs that have been right to the token for all the items shown are believed about the next one, too.
            exact = size == self.base + sum(self.costs[len(self.costs) - kept :])
            if exact and kept < len(self.costs) and self.costs[-kept - 1] > room:
                self.over = kept + 1
        self._rounds += 1
        aimed = self._guess(kept, room) if self._rounds <= PATIENCE else (self.fits + self.over) // 2
        self.tries = min(max(aimed, self.fits + 1), self.over - 1)
        return room >= 0

    def _guess(self, kept: int, room: int) -> int:
        """How many items should fit, if `kept` of them leave `room` tokens (less than 0: they are too many)."""
        while room < 0 and kept > 0:
            room += self.costs[-kept]
            kept -= 1
        while kept < len(self.costs) and self.costs[-kept - 1] <= room:
            kept += 1
            room -= self.costs[-kept]
        return kept
