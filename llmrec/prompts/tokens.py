"""Text to tokens, once for training and scoring alike: `bos + prompt` and `answer + eos`, as TRL's ORPOTrainer has it.

TRL tokenizes prompt and answer together without special tokens, puts BOS in front where the tokenizer has one and the
prompt does not begin with it, and appends EOS to an answer that does not end in it. The same rules are written here,
with one difference: where the tokens of the two together are not those of the prompt followed by others, TRL moves the
boundary back into the prompt, and llmrec refuses (a prompt's tokens would depend on its answer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from llmrec.errors import PromptFault


class Tokenizer(Protocol):
    """What llmrec asks of a transformers tokenizer."""

    @property
    def bos_token_id(self) -> Any:
        """The token that prompts begin with; None where there is none."""

    @property
    def eos_token_id(self) -> Any:
        """The token that answers end in; None where there is none."""

    @property
    def pad_token_id(self) -> Any:
        """What fills short rows, masked."""

    @property
    def all_special_tokens(self) -> Sequence[str]:
        """Texts that stand for tokens with a meaning of their own."""

    def __call__(
        self,
        text: list[str],
        /,
        *,
        add_special_tokens: bool = ...,
        return_token_type_ids: bool | None = ...,
        return_attention_mask: bool | None = ...,
        verbose: bool = ...,
    ) -> Any:
        """Under `input_ids`, one list of ids a text."""


def ids_of(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Each text's tokens, without special ones added."""
    if not texts:
        return []
    # `verbose` is off because budgets, not the tokenizer's own idea of a longest text, say what is too long.
    encoded = tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )
    return [list(ids) for ids in encoded["input_ids"]]


def with_bos(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """A prompt's tokens, begun as the trainer begins them."""
    bos = tokenizer.bos_token_id
    return ids if bos is None or ids[:1] == [bos] else [bos, *ids]


def with_eos(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """An answer's tokens, ended as the trainer ends them. PromptFault for a tokenizer without an end token."""
    eos = tokenizer.eos_token_id
    if eos is None:
        raise PromptFault("the tokenizer has no end token: set answer.eos: false, or give it one (eos_token).")
    return ids if ids[-1:] == [eos] else [*ids, eos]


def after(tokenizer: Tokenizer, prompt: str, answers: Sequence[str]) -> list[list[int]]:
    """The tokens that each answer adds to those of the prompt, without special ones.

    Raises PromptFault where an answer changes the prompt's own tokens, which says where the boundary went.
    """
    head, *wholes = ids_of(tokenizer, [prompt, *(prompt + answer for answer in answers)])
    for answer, whole in zip(answers, wholes, strict=True):
        if whole[: len(head)] != head or len(whole) == len(head):
            same = next((n for n, (a, b) in enumerate(zip(head, whole, strict=False)) if a != b), len(whole))
            raise PromptFault(
                f"the prompt ends in {prompt[-20:]!r} and the answer is {answer!r}: together they take other tokens "
                f"from token {same} of {len(head)} on, so the boundary between them would move. Let the prompt end "
                "without white space (or in a newline that is a token of its own) and the answer begin with a space."
            )
    return [whole[len(head) :] for whole in wholes]


def encode(tokenizer: Tokenizer, prompt: str, answer: str, *, eos: bool) -> tuple[list[int], list[int]]:
    """The prompt's tokens (with BOS where the tokenizer has one) and the answer's (with EOS if asked for).

    What `Encoder` gives for the same texts, for those who have a table of pairs and no catalogue: put together they
    are what the trainer sees. Raises PromptFault where the boundary between the two would move.
    """
    (prompt_ids,) = ids_of(tokenizer, [prompt])
    (answer_ids,) = after(tokenizer, prompt, [answer])
    return with_bos(tokenizer, prompt_ids), with_eos(tokenizer, answer_ids) if eos else answer_ids
