"""What a model's chat template puts around what is said, found by looking: once, not once a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmrec.errors import PromptFault

SAID, ANSWERED = "\ue000said\ue001", "\ue000answered\ue001"  # of Unicode's private use: no template knows them


@dataclass(frozen=True)
class Chat:
    """A conversation is `head`, the user's words, `tail`, the answer, `end`."""

    head: str
    tail: str
    end: str
    system: str | None = None
    """What the system says at the beginning of it; part of `head`."""

    def as_json(self) -> dict[str, Any]:
        """What somebody needs to take the user's words out of a prompt again."""
        return {"system": self.system, "head": self.head, "tail": self.tail}


def chat_of(tokenizer: Any, system: str | None, *, options: Mapping[str, Any] | None = None) -> Chat | None:
    """The chat of a transformers tokenizer, None where it has no chat template.

    A template that refuses a system's words gets them in front of the user's. Raises PromptFault where what is said
    does not come back as it was.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    said = [{"role": "user", "content": SAID}, {"role": "assistant", "content": ANSWERED}]
    told = [{"role": "system", "content": system}] if system else []
    try:
        whole = str(tokenizer.apply_chat_template([*told, *said], tokenize=False, **(options or {})))
    except Exception as fault:  # whatever a template raises
        if not told:
            raise PromptFault(f"the model's chat template cannot be used ({str(fault).splitlines()[0]}).") from None
        plain = chat_of(tokenizer, None, options=options)
        assert plain is not None
        return Chat(f"{plain.head}{system}\n\n", plain.tail, plain.end)
    if whole.count(SAID) != 1 or whole.count(ANSWERED) != 1 or whole.index(SAID) > whole.index(ANSWERED):
        raise PromptFault("the model's chat template changes what is said, or leaves it out; drop `chat`.")
    head, rest = whole.split(SAID)
    tail, end = rest.split(ANSWERED)
    return Chat(head, tail, end, system or None)
