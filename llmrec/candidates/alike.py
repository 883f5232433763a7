"""Which texts read alike: cosines of character trigrams, each weighed by how rare it is."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

FEW = 50  # texts that a trigram may stand in whatever the size of the catalogue
COMMON = 0.01  # share of the texts from which a trigram says nothing: " th", "195", and most of the cost


class Alike:
    """Texts by their trigrams; compares one of them with all others on demand.

    Case, punctuation and white space do not count. Trigrams that stand in more than 1% of the texts (and in more than
    50) are left out, which keeps a comparison with a large catalogue short: 0.4 ms with 60,000 made-up titles.
    The weight of a trigram in a text is (1 + log count) log(1 + n / texts that have it); texts have unit length. A text
    that has no trigram left is like none.
    """

    def __init__(self, texts: list[str]) -> None:
        self.n = len(texts)
        counted = [Counter(trigrams(text)) for text in texts]
        spread = Counter(gram for grams in counted for gram in grams)
        limit = max(FEW, COMMON * self.n)
        number = {gram: n for n, gram in enumerate(g for g, many in spread.items() if many <= limit)}
        kept = [[(number[g], c) for g, c in grams.items() if g in number] for grams in counted]
        sizes = np.asarray([len(row) for row in kept], dtype=np.int64)
        flat = np.asarray([cell for row in kept for cell in row], dtype=np.int64).reshape(-1, 2)
        text = np.repeat(np.arange(self.n), sizes)
        held = np.bincount(flat[:, 0], minlength=len(number))
        weight = (1 + np.log(flat[:, 1])) * np.log1p(self.n / held[flat[:, 0]])
        weight /= np.sqrt(np.bincount(text, weight**2, minlength=self.n))[text]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._grams, self._weights = flat[:, 0], weight
        order = np.argsort(flat[:, 0], kind="stable")
        self._texts, self._theirs = text[order], weight[order]  # by trigram
        self._first = np.concatenate([[0], np.cumsum(held)])

    def to(self, text: int) -> tuple[np.ndarray, np.ndarray]:
        """The other texts that share a trigram with this one, and their cosines: most alike first, then by number."""
        mine = slice(self._starts[text], self._starts[text + 1])
        spans = [slice(self._first[gram], self._first[gram + 1]) for gram in self._grams[mine]]
        if not spans:
            return np.empty(0, dtype=np.int64), np.empty(0)
        others = np.concatenate([self._texts[span] for span in spans])
        parts = np.concatenate([self._theirs[s] * w for s, w in zip(spans, self._weights[mine], strict=True)])
        found, place = np.unique(others, return_inverse=True)
        cosines = np.bincount(place, parts).round(6)  # equal texts come to 1, not to 0.9999999999999998
        cosines[found == text] = -1
        order = np.lexsort((found, -cosines))[:-1]
        return found[order], cosines[order]


def trigrams(text: str) -> list[str]:
    """The character trigrams of a text's words, each word between spaces.

    >>> trigrams("The Up!")
    [' th', 'the', 'he ', ' up', 'up ']
    """
    words = re.findall(r"\w+", text.lower())
    return [f" {word} "[at : at + 3] for word in words for at in range(len(word))]
