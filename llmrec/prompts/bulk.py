"""Prompts by the hundred thousand: texts and token counts of `Encoder.prompts`, without rendering or tokenizing.

It holds where two things are so. The template is a `Frame`: a line an item, and text around them. And the tokenizer
cuts its text into words before it makes tokens of each, and always cuts where one line ends and the next begins: then
a line has the same tokens wherever it stands, a prompt has as many as its lines together, and how many of the latest
items fit a budget is a look into a running sum. Only the last line may share a word with what follows the list, so it
is counted together with it.

Whether the tokenizer cuts there is not believed but looked at, once a catalogue: every line is tokenized alone and
among others, in random order, and must have the same tokens with a cut on either side (`Bulk.of`). Where it has not,
prompts are made one by one, as ever. Pairs still tokenize a sample of whole prompts (`check`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from llmrec.errors import PromptFault
from llmrec.prompts.tokens import ids_of, with_bos, with_eos
from llmrec.rng import rng_for

if TYPE_CHECKING:
    from llmrec.prompts.encoding import Encoder

CHAIN = 32  # lines tokenized together when cuts are looked for
PIECES = 1 << 16  # texts in one call of the tokenizer


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

    def __init__(self, encoder: Encoder, middle: np.ndarray, last: np.ndarray, answers: np.ndarray) -> None:
        assert encoder.template.frame is not None
        self.encoder, self.frame = encoder, encoder.template.frame
        self.middle, self.last = middle, last
        self.answers = answers
        """Tokens of each item's answer."""
        texts, frame = encoder.texts, self.frame
        self.texts = pl.Series([f" {text}" for text in texts], dtype=pl.String)
        """Each item's answer."""
        self._pieces = pa.array(
            [*(f"{frame.before}{text}{frame.after}" for text in texts), frame.head, frame.tail], type=pa.large_string()
        )
        self._letters = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        encoder.expect_costs(dict(enumerate(middle.tolist())))

    @classmethod
    def of(cls, encoder: Encoder) -> Bulk | None:
        """The encoder's pieces, or None where its prompts have to be made one by one."""
        frame, backend = encoder.template.frame, getattr(encoder.tokenizer, "backend_tokenizer", None)
        if frame is None or backend is None or encoder.style != "title" or encoder.shows_marks:
            return None
        lines = [f"{frame.before}{text}{frame.after}" for text in encoder.texts]
        head = _ids(backend, [frame.head])[0] if frame.head else []
        alone = _ids(backend, lines)
        ends = _ids(backend, [line + frame.tail for line in lines]) if frame.tail else alone
        if not _cut(backend, frame.head, frame.tail, lines, head, alone, ends):
            return None
        answers = _answers(encoder)
        if answers is None:
            return None
        start = len(with_bos(encoder.tokenizer, head)) if head else int(encoder.tokenizer.bos_token_id is not None)
        return cls(encoder, _sizes(alone), start + _sizes(ends), answers)

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
        taken = self._pieces.take(pa.array(codes))
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

    def _fit(self, items: np.ndarray, first: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many of the latest items each prompt keeps, and its tokens."""
        low, high = (int(first.min()), int(stop.max())) if len(first) else (0, 0)
        upto = np.concatenate([[0], np.cumsum(self.middle[items[low:high]])])
        at, before_last = first - low, np.maximum(stop - low - 1, 0)
        none = stop <= first
        last = np.where(none, 0, self.last[items[np.maximum(stop - 1, 0)]] if len(items) else 0)
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
        return listed(pl.Series(spans.ravel()), 2 * kept)


def listed(flat: pl.Series, lengths: np.ndarray) -> pl.Series:
    """The values as lists of the given lengths, one after another.

    >>> listed(pl.Series([1, 2, 3]), np.array([2, 0, 1])).to_list()
    [[1, 2], [], [3]]
    """
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    return pl.Series(pl.from_arrow(pa.LargeListArray.from_arrays(offsets, flat.to_arrow())))


def _ids(backend: Any, texts: Sequence[str]) -> list[list[int]]:
    found: list[list[int]] = []
    for start in range(0, len(texts), PIECES):
        found += [one.ids for one in backend.encode_batch(texts[start : start + PIECES], add_special_tokens=False)]
    return found


def _cut(
    backend: Any,
    head: str,
    tail: str,
    lines: list[str],
    head_ids: list[int],
    alone: list[list[int]],
    ends: list[list[int]],
) -> bool:
    """Whether every line has the tokens that it has alone, with a cut before and after it, among random others."""
    order = rng_for(0, "joints", len(lines)).permutation(len(lines)).tolist()
    order += order[:1]  # so that a catalogue of one has a joint, too
    chains = [
        order[start : start + CHAIN + 1] for start in range(0, len(order) - 1, CHAIN)
    ]  # ends overlap: every joint
    for start in range(0, len(chains), PIECES // CHAIN):
        some = chains[start : start + PIECES // CHAIN]
        texts = [head + "".join(lines[code] for code in chain) + tail for chain in some]
        for chain, whole in zip(some, backend.encode_batch(texts, add_special_tokens=False), strict=True):
            expected, joints = list(head_ids), []
            for code in chain[:-1]:
                joints.append(len(expected))
                expected += alone[code]
            joints.append(len(expected))
            expected += ends[chain[-1]]
            words = whole.word_ids
            if whole.ids != expected or any(n and words[n - 1] == words[n] for n in joints):
                return False
    return True


def _answers(encoder: Encoder) -> np.ndarray | None:
    """Tokens of each item's answer, tokenized behind the prompt's last words; None where no cut stands before them."""
    tokenizer, specimen = encoder.tokenizer, encoder.specimen
    whole = ids_of(tokenizer, [specimen])[0]
    starts = [n for n in range(len(specimen) - 1, 0, -1) if specimen[n] in " \n"][1:8]
    tails = [specimen[n:] for n in starts]
    read = zip(tails, ids_of(tokenizer, tails), strict=True)
    tail, ids = next((one for one in read if one[1] and whole[-len(one[1]) :] == one[1]), (specimen, whole))
    answers = [encoder.answer(code) for code in range(len(encoder.texts))]
    backend: Any = tokenizer.backend_tokenizer  # type: ignore[attr-defined]
    found = _ids(backend, [tail + answer for answer in answers])
    if any(one[: len(ids)] != ids for one in found):
        return None
    own = [one[len(ids) :] for one in found]
    return _sizes([with_eos(tokenizer, one) for one in own] if encoder.eos else own)


def _sizes(ids: Sequence[list[int]]) -> np.ndarray:
    return np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
