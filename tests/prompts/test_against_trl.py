"""The tokens that the trainer trains on are those that we score: TRL's own `tokenize_row`, on the same rows."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from llmrec.prompts.encoding import Encoder
from llmrec.prompts.template import load_template
from llmrec.prompts.tokens import encode
from llmrec.recipe.sections import Answer
from tests.prompts import readers
from tests.prompts.readers import TITLES

pytestmark = pytest.mark.oracle
READERS = {"lines": readers.lines, "chat": readers.chat, "pieces": readers.pieces}
HISTORIES = [[0, 2, 5], [7, 1, 12, 3, 9, 8, 4, 11], [6]]


@pytest.fixture(scope="module")
def tokenize_row() -> Callable[[PreTrainedTokenizerFast, dict[str, str]], dict[str, Any]]:
    """TRL's method, on an object that has just what it reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the trainer is experimental, and whatever its imports deprecate
        from trl.experimental.orpo import ORPOTrainer

    def row(tokenizer: PreTrainedTokenizerFast, feature: dict[str, str]) -> dict[str, Any]:
        trainer = SimpleNamespace(is_encoder_decoder=False, processing_class=tokenizer, max_length=4096)
        trainer.build_tokenized_answer = functools.partial(ORPOTrainer.build_tokenized_answer, trainer)
        made: dict[str, Any] = ORPOTrainer.tokenize_row(trainer, feature)
        return made

    return row


@pytest.mark.parametrize("budget", [400, 160])
@pytest.mark.parametrize(
    ("reader", "template", "style"),
    [
        ("lines", "movies/lines", "title"),
        ("lines", "movies/next-title", "title"),
        ("chat", "movies/lines", "title"),
        ("chat", "movies/next-title", "title"),
        ("chat", "movies/pick-letter", "letter"),
        ("pieces", "movies/next-title", "title"),
        ("pieces", "movies/pick-letter", "letter"),
    ],
)
def test_prompt_and_answer_are_what_the_trainer_tokenizes(
    reader: str, template: str, style: Any, budget: int, tokenize_row: Callable[..., dict[str, Any]]
):
    tokenizer = READERS[reader]()
    reads = Encoder(tokenizer, load_template(template), TITLES, budget, Answer(style=style))
    for context in HISTORIES:
        chosen, rejected = 10, 4
        offered = [chosen, 2, rejected]
        prompt = reads.prompt(context, offered)
        answers = {"chosen": reads.answer(chosen, offered), "rejected": reads.answer(rejected, offered)}
        row = tokenize_row(tokenizer, {"prompt": prompt.text, **answers})
        for side, item in (("chosen", chosen), ("rejected", rejected)):
            ours = reads.answer_ids(item, offered)
            assert row[f"{side}_input_ids"] == prompt.ids + ours
            assert row[f"{side}_labels"] == [-100] * len(prompt.ids) + ours
            assert encode(tokenizer, prompt.text, answers[side], eos=True) == (prompt.ids, ours)
        assert row["prompt_input_ids"] == prompt.ids


def test_without_an_end_token_ours_is_the_trainers_row_less_its_last_token(tokenize_row: Callable[..., dict[str, Any]]):
    """TRL always appends EOS; whoever trains letters takes it off again: `encode(..., eos=False)` says what stays."""
    tokenizer = readers.chat()
    reads = Encoder(tokenizer, load_template("movies/pick-letter"), TITLES, 400, Answer(style="letter", eos=False))
    prompt = reads.prompt([3, 4], [5, 6])
    row = tokenize_row(tokenizer, {"prompt": prompt.text, "chosen": " B", "rejected": " A"})
    assert row["chosen_input_ids"] == [*prompt.ids, *reads.answer_ids(6, [5, 6]), tokenizer.eos_token_id]
    read, answered = encode(tokenizer, prompt.text, " B", eos=False)
    assert read + answered == row["chosen_input_ids"][:-1]
