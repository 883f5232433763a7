"""Prompts by the hundred thousand: texts and token counts of `Encoder.prompts`, without rendering or tokenizing.

It holds where two things are so. The template is a `Frame`: a line an item, and text around them. And the tokenizer
cuts its text into words before it makes tokens of each, and always cuts where one line ends and the next begins: then
a line has the same tokens wherever it stands, a prompt has as many as its lines together, and how many of the latest
items fit a budget is a look into a running sum. Only the last line may share a word with what follows the list, so it
is counted together with it.

Whether the tokenizer cuts there is not believed but looked at, once a catalogue: every line is tokenized alone and
among others, in random order, and must have the same tokens with a cut on either side (`_apart`). Where it has not,
prompts are made one by one, as ever. Pairs still tokenize a sample of whole prompts (`check`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from llmrec.data.histories import in_lists
from llmrec.errors import PromptFault
from llmrec.prompts.tokens import ids_of, with_bos
from llmrec.rng import rng_for

if TYPE_CHECKING:
    from llmrec.prompts.encoding import Encoder

CHAIN = 32  # lines tokenized together when cuts are looked for
MANY = 1 << 10  # chains in one call of the tokenizer


@dataclass(frozen=True)
class Prompts:
    """Many prompts, as columns."""

    text: pl.Series
    kept: np.ndarray
    """Items that each shows: the latest ones."""
    tokens: np.ndarray
    """Tokens of each, BOS included."""
    titles: pl.Series
    """Where the history's titles stand: start and end of each, in characters, one after another."""


class Bulk:
    """What an encoder's prompts are made of: each item's line, its tokens in a list, its tokens at the list's end."""

    def __init__(self, encoder: Encoder, middle: np.ndarray, pieces: Pieces, cut: int) -> None:
        assert encoder.frame is not None
        self.encoder, self.frame = encoder, encoder.frame
        self.middle = middle
        """Tokens of each item's line, where another one follows."""
        texts, frame = encoder.texts, self.frame
        self.texts = pl.Series([f" {text}" for text in texts], dtype=pl.String)
        """Each item's answer."""
        self._pieces, self._cut = pieces, cut
        self._last, self._answer = (np.full(len(texts), -1, dtype=np.int64) for _ in range(2))
        self._text = pa.array([*_lines(encoder), frame.head, frame.tail], type=pa.large_string())
        self._letters = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        encoder.expect_costs(dict(enumerate(middle.tolist())))

    @classmethod
    def of(cls, encoder: Encoder) -> Bulk | None:
        """The encoder's pieces, or None where its prompts have to be made one by one."""
        frame, backend = encoder.frame, getattr(encoder.tokenizer, "backend_tokenizer", None)
        if frame is None or backend is None or encoder.style != "title" or encoder.shows_marks:
            return None
        ids_of(encoder.tokenizer, [frame.head])  # leaves no truncation or padding of somebody else's in the backend
        pieces = Pieces(backend)
        found = _apart(pieces, _lines(encoder), frame.head, frame.tail)
        return None if found is None else cls(encoder, found[0], pieces, found[1])

    def answers(self, codes: np.ndarray) -> np.ndarray:
        """Tokens of the items' answers, with the end token where answers end in it; the shape of `codes`.

        Raises PromptFault where an answer would change the prompt's last tokens.
        """
        new = np.unique(codes)
        new = new[self._answer[new] < 0]
        if len(new):
            self._answer[new] = self._learn_answers(new)
        found: np.ndarray = self._answer[codes]
        return found

    def prompts(self, items: np.ndarray, first: np.ndarray, stop: np.ndarray) -> Prompts:
        """The prompts of contexts `items[first:stop]`, oldest first, within the encoder's budget.

        Raises PromptFault as `Encoder.prompts` does.
        """
        kept, tokens = self._fit(items, first, stop)
        # Piece numbers of every prompt, one prompt after another: head, lines, tail.
        sizes = kept + 2
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        at = np.arange(total) - np.repeat(ends - sizes, sizes) - 1  # place in the prompt; the head is -1
        source = np.repeat(stop - kept, sizes) + at
        codes = items[np.clip(source, 0, max(len(items) - 1, 0))].astype(np.int64) if len(items) else at * 0
        codes[ends - sizes] = len(self._letters)
        codes[ends - 1] = len(self._letters) + 1
        # Taken pieces lie one behind another: a prompt is everything from its head's start to its tail's end.
        taken = self._text.take(pa.array(codes))
        offsets = np.frombuffer(taken.buffers()[1], dtype=np.int64)[: total + 1]
        bounds = np.concatenate([offsets[:1], offsets[ends]])
        whole = pa.LargeStringArray.from_buffers(len(kept), pa.py_buffer(bounds), taken.buffers()[2])
        return Prompts(pl.Series(pl.from_arrow(whole)), kept, tokens, self._titles(codes, ends, sizes, kept))

    def check(self, made: Prompts, contexts: Sequence[np.ndarray], targets: Sequence[int], rows: Sequence[int]) -> None:
        """Makes some of the prompts as `Encoder.prompts` does, and their pairs as the trainer tokenizes them.

        `contexts` and `targets` are those of `rows`. Raises PromptFault at the first difference.
        """
        shown = [
            context[max(0, len(context) - int(made.kept[row]) - 1) :]
            for context, row in zip(contexts, rows, strict=True)
        ]
        prompts = self.encoder.prompts(shown)
        for prompt, row in zip(prompts, rows, strict=True):
            told = (made.text[row], int(made.kept[row]), int(made.tokens[row]))
            if told != (prompt.text, prompt.kept, len(prompt.ids)):
                raise PromptFault(
                    f"{self.encoder.template.where}: a prompt put together from its lines has {told[2]} tokens and "
                    f"{told[1]} items, and {len(prompt.ids)} and {prompt.kept} when it is tokenized whole: it ends in "
                    f"{prompt.text[-40:]!r}. Please report this tokenizer and template."
                )
        self.encoder.verify(prompts, targets)

    def _learn_last(self, codes: np.ndarray) -> np.ndarray:
        """Tokens of prompts that show one item each."""
        tokenizer, head, tail = self.encoder.tokenizer, self.frame.head, self.frame.tail
        start = len(with_bos(tokenizer, ids_of(tokenizer, [head])[0]))
        rest = self._pieces.sizes([tail[self._cut :]])[0]
        ends = [f"{self.frame.before}{self.encoder.texts[code]}{self.frame.after}{tail[: self._cut]}" for code in codes]
        return np.asarray(start + self._pieces.sizes(ends) + rest)

    def _learn_answers(self, codes: np.ndarray) -> np.ndarray:
        """Tokens of answers behind the prompt's last words, where those have the same tokens without the others."""
        tokenizer, specimen = self.encoder.tokenizer, self.encoder.specimen
        whole = ids_of(tokenizer, [specimen])[0]
        tails = [specimen[n:] for n in range(len(specimen) - 2, 0, -1) if specimen[n] in " \n"][:8]
        read = zip(tails, ids_of(tokenizer, tails), strict=True)
        tail, ids = next((one for one in read if one[1] and whole[-len(one[1]) :] == one[1]), (specimen, whole))
        answers = [f"{tail} {self.encoder.texts[code]}" for code in codes]
        end = tokenizer.eos_token_id if self.encoder.eos else None
        sizes = []
        for some, counts in self._pieces([answers[n : n + CHAIN] for n in range(0, len(answers), CHAIN)]):
            flat, ends = np.array(some, dtype=np.int64), np.cumsum(counts)
            heads = flat[(ends - counts)[:, None] + np.arange(len(ids))] if counts.min() > len(ids) else None
            if heads is None or (heads != np.array(ids)).any():
                self.encoder.answers_ids(codes)  # says which answer and where
                raise PromptFault(f"{self.encoder.template.where}: answers take other tokens behind {tail!r}.")
            sizes.append(counts - len(ids) + (0 if end is None else flat[ends - 1] != end))
        return np.concatenate(sizes)

    def _fit(self, items: np.ndarray, first: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many of the latest items each prompt keeps, and its tokens."""
        low, high = (int(first.min()), int(stop.max())) if len(first) else (0, 0)
        upto = np.concatenate([[0], np.cumsum(self.middle[items[low:high]])])
        at, before_last = first - low, np.maximum(stop - low - 1, 0)
        none = stop <= first
        closing = items[stop[~none] - 1]
        new = np.unique(closing)
        new = new[self._last[new] < 0]
        self._last[new] = self._learn_last(new)
        last = np.zeros(len(first), dtype=np.int64)
        last[~none] = self._last[closing]
        room = self.encoder.budget - last
        begin = np.maximum(np.searchsorted(upto, upto[before_last] - room, side="left"), at)
        kept = np.where(none | (room < 0), 0, stop - low - begin)
        bare = len(self.encoder.prompt([]).ids) if len(kept) and not kept.all() else 0
        if bare == 0 and len(kept) and self.encoder.bare_size > self.encoder.budget:
            self.encoder.prompt([])  # says that nothing fits
        return kept, np.where(kept > 0, upto[before_last] - upto[np.minimum(begin, before_last)] + last, bare)

    def _titles(self, codes: np.ndarray, ends: np.ndarray, sizes: np.ndarray, kept: np.ndarray) -> pl.Series:
        frame = self.frame
        letters = np.concatenate([self._letters, [len(frame.head) - len(frame.before) - len(frame.after), 0]])[codes]
        upto = np.cumsum(letters + len(frame.before) + len(frame.after))
        # Cumulative over all prompts; what came before this prompt's head is taken off again.
        begun = np.repeat(np.concatenate([[0], upto[ends[:-1] - 1]]) if len(ends) else ends, sizes)
        stops = upto - begun - len(frame.after)
        shown = np.ones(len(codes), dtype=bool)
        shown[ends - sizes] = shown[ends - 1] = False
        spans = np.stack([stops - letters, stops], axis=1)[shown].astype(np.int32)
        return in_lists(pl.Series(spans.ravel()), np.append(0, np.cumsum(2 * kept)))


class Pieces:
    """Texts tokenized each alone, many in one call of the backend, which is much cheaper than a call or a text each."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def __call__(self, groups: list[list[str]]) -> list[tuple[list[int], np.ndarray]]:
        """For each group the tokens of its pieces, one after another, and how many each piece has."""
        made = self.backend.encode_batch(groups, is_pretokenized=True, add_special_tokens=False)
        return [
            (one.ids, np.bincount(np.array(one.word_ids, dtype=np.int64), minlength=len(group)))
            for one, group in zip(made, groups, strict=True)
        ]

    def sizes(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of each text: (n,) i64."""
        groups = [list(texts[start : start + CHAIN]) for start in range(0, len(texts), CHAIN)]
        return np.concatenate([np.empty(0, dtype=np.int64), *(sizes for _, sizes in self(groups))])


def _lines(encoder: Encoder) -> list[str]:
    frame = encoder.frame
    assert frame is not None
    return [f"{frame.before}{text}{frame.after}" for text in encoder.texts]


def _apart(pieces: Pieces, lines: list[str], head: str, tail: str) -> tuple[np.ndarray, int] | None:
    """Tokens of each line, and how many letters of the tail the last line has to be tokenized with.

    None unless every line has, among others in random order, the tokens that it has alone, with a cut before and after.
    """
    order = rng_for(0, "joints", len(lines)).permutation(len(lines)).tolist()
    order += order[:1]  # so that a catalogue of one has a joint, too
    chains = [order[start : start + CHAIN + 1] for start in range(0, len(order) - 1, CHAIN)]  # ends overlap
    middle, ends = np.zeros(len(lines), dtype=np.int64), []
    for start in range(0, len(chains), MANY):
        some = chains[start : start + MANY]
        groups = [[head, *(lines[code] for code in chain[:-1]), lines[chain[-1]] + tail] for chain in some]
        wholes = pieces.backend.encode_batch(["".join(group) for group in groups], add_special_tokens=False)
        for chain, whole, (ids, sizes) in zip(some, wholes, pieces(groups), strict=True):
            joints, words = np.cumsum(sizes)[:-1], np.array(whole.word_ids, dtype=np.int64)
            if whole.ids != ids or (words[joints - 1] == words[joints])[joints > 0].any():
                return None
            middle[chain[:-1]] = sizes[1:-1]
            ends.append(int(sizes[-1]))
    closing = [lines[chain[-1]] for chain in chains]
    return middle, _enough(pieces, closing, np.array(ends), tail)


def _enough(pieces: Pieces, lines: list[str], ends: np.ndarray, tail: str) -> int:
    """How many letters of the tail a last line is counted with: those before a space, if the rest never differs."""
    cut = tail.find(" ", 1)
    if cut > 0:
        rest = pieces.sizes([tail[cut:]])[0]
        if (pieces.sizes([line + tail[:cut] for line in lines]) + rest == ends).all():
            return cut
    return len(tail)
