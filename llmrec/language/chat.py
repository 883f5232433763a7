"""A model's chat template, for texts that leave llmrec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llmrec.errors import PromptFault
from llmrec.language.load import load_tokenizer
from llmrec.prompts.chat import Chat, chat_of
from llmrec.recipe.sections import Model


def chat_with(name: str) -> Callable[[str | None], Chat]:
    """From a system's words (or None) to the chat of a model, by name or folder.

    Raises ModelFault where it cannot be loaded, PromptFault where its tokenizer has no chat template.
    """
    tokenizer = load_tokenizer(Model(name=name), here=Path())

    def chat(system: str | None) -> Chat:
        found = chat_of(tokenizer, system)
        if found is None:
            raise PromptFault(f"{name}: the tokenizer has no chat template. Name an instruction-tuned model.")
        return found

    return chat
