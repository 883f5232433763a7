"""The one way from a history to tokens, for training and for scoring.

    encoder = Encoder(tokenizer, load_template("movies/lines"), larder.texts, budget=256, answer=recipe.answer)
    prompt = encoder.prompt(context)              # text, ids, and how many items of the context it kept
    ids = prompt.ids + encoder.answer_ids(item)   # what the trainer sees on the same row

A prompt that would take more than `budget` tokens loses its oldest items, whole, until it fits.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NoReturn

import numpy as np

from llmrec.errors import PromptFault
from llmrec.prompts.budget import Search
from llmrec.prompts.bulk import Bulk
from llmrec.prompts.chat import Chat, chat_of
from llmrec.prompts.frame import Frame
from llmrec.prompts.items import Candidate, Item, clean, defused
from llmrec.prompts.template import Template
from llmrec.prompts.tokens import Tokenizer, after, ids_of, with_bos, with_eos
from llmrec.recipe.sections import Answer

Codes = Sequence[int] | np.ndarray  # item codes
LETTERS = string.ascii_uppercase + string.ascii_lowercase
OPEN, CLOSE = "\ue000", "\ue001"  # around a title while it is looked for: of Unicode's private use
BATCH = 1024  # prompts tokenized in one call: enough to use every core, few enough to hold


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads before it answers."""

    text: str
    ids: list[int]
    """Its tokens, BOS included where the tokenizer has one; never more than the budget."""
    kept: int
    """Items of the context that it shows: the latest ones."""


class Encoder:
    """Prompts and answers of one template, tokenizer, catalogue and budget.

    `texts` are the items' texts by code; each is cleaned here, once: on one line, and with no special token of the
    tokenizer left in it. Raises PromptFault when the template does not ask for `answer.style`, when an item has no
    text, and when the tokenizer cannot end an answer that should be ended.
    """

    def __init__(self, tokenizer: Tokenizer, template: Template, texts: list[str], budget: int, answer: Answer) -> None:
        if answer.style not in template.styles:
            raise PromptFault(
                f"{template.where}: this template is for style {' and '.join(template.styles)}, and answer.style is "
                f"{answer.style}. Change one of the two."
            )
        special = list(tokenizer.all_special_tokens)
        self.texts = [defused(clean(text), special) for text in texts]
        empty = [code for code, text in enumerate(self.texts) if not text]
        if empty:
            raise PromptFault(f"item {empty[0]} has no text (nor have {len(empty) - 1:,} others): {texts[empty[0]]!r}.")
        self.tokenizer, self.template, self.budget, self.style, self.eos = (
            tokenizer, template, budget, answer.style, answer.eos,
        )  # fmt: skip
        self.chat = chat_of(tokenizer, template.system) if template.chat else None
        """What the model's chat template puts around a prompt; None where there is none, or the template is plain."""
        if self.chat is None and template.system:
            self.chat = Chat(f"{template.system}\n\n", "", "", template.system)
        # As long as the real ones, for templates that ask for more than a text: what is measured with them is a guess.
        self._some = {
            name: word for name, word in (("rating", "4"), ("ago", "3 days before")) if name in template.details
        }
        self._items: dict[int, Item] = {}
        self._costs: dict[int, int] = {}
        self._answers: dict[int, list[int]] = {}
        # A short prompt that ends as every prompt does: answers are tokenized behind it, once an item.
        self._anchor = min(range(len(texts)), key=lambda code: (len(self.texts[code]), code))
        shown = [Candidate("A", self.texts[self._anchor])] if template.lists_candidates else None
        self.specimen = self._render_with([self._anchor], shown)
        self.labels = self._labels() if self.style == "letter" else ""
        if self.eos:
            with_eos(tokenizer, [])

    def prompt(self, context: Codes, candidates: Codes | None = None) -> Prompt:
        """The prompt for one context (items, oldest first), listing `candidates` if the template lists any.

        Raises PromptFault when it does not fit the budget even with no history, or is empty altogether.
        """
        return self.prompts([context], None if candidates is None else [candidates])[0]

    def prompts(
        self,
        contexts: Sequence[Codes],
        candidates: Sequence[Codes] | None = None,
        details: Sequence[Sequence[Mapping[str, str]]] | None = None,
    ) -> list[Prompt]:
        """`prompt` for many contexts (and as many candidate lists) at once, which is much faster than one by one.

        `details` are what a template asks of each item of each context beside its text. Raises PromptFault without.
        """
        if self.template.details and details is None and any(len(context) for context in contexts):
            raise PromptFault(
                f"{self.template.where}: this template asks for {' and '.join(self.template.details)} of each item, "
                "and they were not given. Pass `details`, or take a template of titles."
            )
        made: list[Prompt] = []
        for start in range(0, len(contexts), BATCH):
            some = [list(map(int, context)) for context in contexts[start : start + BATCH]]
            offers: list[list[int] | None] = [None] * len(some)
            if candidates is not None:
                offers = [list(map(int, offer)) for offer in candidates[start : start + BATCH]]
            items = [[self._item(code) for code in context] for context in some]
            if details is not None and self.template.details:
                items = [
                    [Item(self.texts[code], **more) for code, more in zip(context, told, strict=True)]
                    for context, told in zip(some, details[start : start + BATCH], strict=True)
                ]
            made += self._fit([*zip(some, offers, strict=True)], items)
        return made

    @cached_property
    def bulk(self) -> Bulk | None:
        """The same prompts from pieces, many at once; None where this template or tokenizer does not allow it."""
        return Bulk.of(self)

    @cached_property
    def bare_size(self) -> int:
        """Tokens of a prompt without history (of a template that lists no candidates)."""
        return self._bases([None])[0]

    @cached_property
    def frame(self) -> Frame | None:
        """The template's frame, with what a chat template puts around it."""
        frame = self.template.frame
        if frame is None or self.chat is None:
            return frame
        return replace(frame, head=self.chat.head + frame.head, tail=frame.tail + self.chat.tail)

    @property
    def shows_marks(self) -> bool:
        """Whether a text has one of the marks in it that `title_spans` looks for."""
        return any(OPEN in text or CLOSE in text for text in self.texts)

    def expect_costs(self, costs: Mapping[int, int]) -> None:
        """Takes what items add to a prompt from somebody who has measured it: first guesses, as ever."""
        self._costs.update(costs)

    def title_spans(
        self,
        prompt: Prompt,
        context: Codes,
        candidates: Codes | None = None,
        details: Sequence[Mapping[str, str]] | None = None,
    ) -> list[int]:
        """Where the titles of the history stand in a prompt: start and end of each, in characters, one after another.

        Empty where the template does not show titles as they are.
        """
        shown = [*map(int, context[len(context) - prompt.kept :])]
        told = details[len(context) - prompt.kept :] if details and self.template.details else [{}] * len(shown)
        items = [Item(f"{OPEN}{self.texts[item]}{CLOSE}", **more) for item, more in zip(shown, told, strict=True)]
        offer = None if candidates is None else list(map(int, candidates))
        spans: list[int] = []
        plain = ""
        for part in re.split(f"([{OPEN}{CLOSE}])", self._text(items, self._shown(offer))):
            if part in (OPEN, CLOSE):
                spans.append(len(plain))
            else:
                plain += part
        return spans if plain == prompt.text else []

    def answer(self, item: int, candidates: Codes | None = None) -> str:
        """The answer's text: a space, then the item's text or the letter of its place among the candidates."""
        if self.style == "title":
            return f" {self.texts[item]}"
        if candidates is None:
            raise PromptFault("answer.style is letter: an answer is a candidate's letter; no candidates were given.")
        return f" {self._label(list(map(int, candidates)).index(item), len(candidates))}"

    def answer_ids(self, item: int, candidates: Codes | None = None) -> list[int]:
        """The answer's tokens, EOS included if `answer.eos`.

        Raises PromptFault where an answer would change the prompt's last tokens.
        """
        return self.answers_ids([item], candidates)[0]

    def answers_ids(self, items: Iterable[int], candidates: Codes | None = None) -> list[list[int]]:
        """`answer_ids` for many items at once."""
        items = [int(item) for item in items]
        if self.style == "letter":
            return [list(self._letter_ids[self.answer(item, candidates)]) for item in items]
        new = [item for item in dict.fromkeys(items) if item not in self._answers]
        if new:
            found = after(self.tokenizer, self.specimen, [self.answer(item) for item in new])
            self._answers.update(zip(new, map(self._ended, found), strict=True))
        return [list(self._answers[item]) for item in items]

    def verify(self, prompts: Sequence[Prompt], items: Codes, candidates: Sequence[Codes] | None = None) -> None:
        """Checks that prompt and answer tokenized together, as the trainer does, are prompt.ids + answer_ids.

        `answer_ids` are taken behind a short prompt; this compares whole texts, one item a prompt. Raises PromptFault
        at the first difference.
        """
        offers: Sequence[Codes | None] = candidates if candidates is not None else [None] * len(prompts)
        wholes = ids_of(
            self.tokenizer,
            [p.text + self.answer(i, offer) for p, i, offer in zip(prompts, items, offers, strict=True)],
        )
        for prompt, item, offer, whole in zip(prompts, items, offers, wholes, strict=True):
            ids = with_bos(self.tokenizer, whole)
            if self._ended(ids) != prompt.ids + self.answer_ids(item, offer):
                after(self.tokenizer, prompt.text, [self.answer(item, offer)])  # says where, if the boundary moved
                raise PromptFault(
                    f"the answer {self.answer(item, offer)!r} takes other tokens behind this prompt than behind a "
                    f"short one; the prompt ends in {prompt.text[-40:]!r}. This tokenizer cannot be used with "
                    f"{self.template.signature}."
                )

    def _fit(self, asked: list[tuple[list[int], list[int] | None]], items: list[list[Item]]) -> list[Prompt]:
        """The longest prompts within the budget, by real token counts, all searched side by side."""
        self._learn_costs(item for context, _ in asked for item in context)
        searches = [
            Search([self._costs[item] for item in context], base, self.budget)
            for (context, _), base in zip(asked, self._bases([offer for _, offer in asked]), strict=True)
        ]
        best: list[Prompt | None] = [None] * len(asked)
        pending = [*range(len(asked))]
        while pending:
            texts = [self._render(items[n], searches[n].tries, asked[n][1]) for n in pending]
            for n, text, ids in zip(pending, texts, ids_of(self.tokenizer, texts), strict=True):
                prompt = Prompt(text, with_bos(self.tokenizer, ids), kept=searches[n].tries)
                if searches[n].measured(len(prompt.ids)):
                    best[n] = prompt
            pending = [n for n in pending if not searches[n].found]
        if any(prompt is not None and not prompt.ids for prompt in best):
            raise PromptFault(
                f"{self.template.where}: the prompt is empty, and the tokenizer has no BOS token to begin with. Begin "
                "the template with a line of text."
            )
        return [prompt or self._too_long(*asked[n]) for n, prompt in enumerate(best)]

    def _too_long(self, context: list[int], candidates: list[int] | None) -> NoReturn:
        size = len(with_bos(self.tokenizer, ids_of(self.tokenizer, [self._render([], 0, candidates)])[0]))
        raise PromptFault(
            f"a prompt takes {size} tokens with no history at all, and prompt.budget is {self.budget}: shorten the "
            "template, list fewer candidates, or raise prompt.budget."
        )

    def _render(self, items: list[Item], kept: int, candidates: list[int] | None) -> str:
        return self._text(items[len(items) - kept :], self._shown(candidates))

    def _shown(self, candidates: list[int] | None) -> list[Candidate] | None:
        if not self.template.lists_candidates or candidates is None:
            return None
        letters = self.style == "letter"
        return [
            Candidate(self._label(n, len(candidates)) if letters else "", self.texts[item])
            for n, item in enumerate(candidates)
        ]

    def _item(self, code: int) -> Item:
        if code not in self._items:
            self._items[code] = Item(self.texts[code], **self._some)
        return self._items[code]

    def _render_with(self, items: Sequence[int], shown: list[Candidate] | None) -> str:
        return self._text([self._item(item) for item in items], shown)

    def _text(self, items: Sequence[Item], shown: list[Candidate] | None) -> str:
        said = self.template.render(items, shown)
        return said if self.chat is None else f"{self.chat.head}{said}{self.chat.tail}"

    def _learn_costs(self, items: Iterable[int]) -> None:
        """What each item adds to a prompt, measured alone: a first guess, so that few prompts are tokenized twice."""
        new = [item for item in dict.fromkeys(items) if item not in self._costs]
        if not new:
            return
        shown = [Candidate("A", self.texts[self._anchor])] if self.template.lists_candidates else None
        texts = [self._render_with([item, self._anchor], shown) for item in new]
        base, *found = map(len, ids_of(self.tokenizer, [self.specimen, *texts]))
        self._costs.update((item, size - base) for item, size in zip(new, found, strict=True))

    def _bases(self, offers: list[list[int] | None]) -> list[int]:
        """Tokens of each prompt without history."""
        differ = self.template.lists_candidates
        texts = [self._render([], 0, offer) for offer in (offers if differ else offers[:1])]
        sizes = [len(with_bos(self.tokenizer, ids)) for ids in ids_of(self.tokenizer, texts)]
        return sizes if differ else sizes * len(offers)

    def _ended(self, ids: list[int]) -> list[int]:
        return with_eos(self.tokenizer, ids) if self.eos else ids

    def expect_labels(self, count: int) -> None:
        """Raises PromptFault in letter style if `count` candidates cannot each have a letter."""
        if self.style == "letter" and count > len(self.labels):
            raise PromptFault(
                f"{count} candidates and {len(self.labels)} labels: this tokenizer has a token of its own for "
                f"{', '.join(self.labels) or 'no letter'}. List fewer candidates (candidates.count, pairs.rejected), "
                "or use answer.style: title."
            )

    def _label(self, place: int, count: int) -> str:
        self.expect_labels(count)
        return self.labels[place]

    def _labels(self) -> str:
        """The letters that are one token each behind the prompt, all different."""
        whole = ids_of(self.tokenizer, [self.specimen, *(f"{self.specimen} {letter}" for letter in LETTERS)])
        head, found = whole[0], dict[str, int]()
        for letter, ids in zip(LETTERS, whole[1:], strict=True):
            if len(ids) == len(head) + 1 and ids[:-1] == head and ids[-1] not in found.values():
                found[letter] = ids[-1]
        self._letter_ids = {f" {letter}": self._ended([token]) for letter, token in found.items()}
        return "".join(found)
