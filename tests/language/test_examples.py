"""Pairs become the tokens that ranking reads; pairs that cannot be learned from are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import PreTrainedTokenizerFast

from llmrec.errors import LlmrecError, TrainingFault
from llmrec.language.examples import collate, examples
from llmrec.language.tokenizer import build_tokenizer
from llmrec.language.trainer import ORPOTrainer

TITLES = ["Heat (1995)", "Alien (1979)", "Up (2009)", "Big (1988)"]
PAIR = {"prompt": " Heat (1995)\n", "chosen": " Alien (1979)", "rejected": [" Up (2009)", " Big (1988)"]}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer([f" {t}" for t in TITLES], 290)


def read(folder: Path, tokenizer: Any, *pairs: Any, eos: bool = True, budget: int = 64, **asked: Any) -> Any:
    pl.DataFrame([*pairs]).write_parquet(folder / "train.parquet")
    return examples(folder / "train.parquet", tokenizer, eos=eos, budget=budget, **asked)


@pytest.mark.parametrize("title", TITLES[2:])
def test_tokens_are_those_of_trls_row(title: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    class Row(ORPOTrainer):
        def __init__(self) -> None:
            self.processing_class, self.is_encoder_decoder, self.max_length = tokenizer, False, 256

    (mine,) = read(tmp_path, tokenizer, {**PAIR, "rejected": [f" {title}"]})
    theirs = Row().tokenize_row({**PAIR, "rejected": f" {title}"})
    assert mine["prompt_ids"] + mine["answers"][0] == theirs["chosen_input_ids"]
    assert mine["prompt_ids"] + mine["answers"][1] == theirs["rejected_input_ids"]


@pytest.mark.parametrize("eos", [True, False])
def test_answers_end_as_the_recipe_says(eos: bool, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    (row,) = read(tmp_path, tokenizer, PAIR, eos=eos)
    assert {answer[-1] == tokenizer.eos_token_id for answer in row["answers"]} == {eos}


def test_a_row_a_rejected_answer_is_read_too(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    rows = read(tmp_path, tokenizer, *({**PAIR, "rejected": one} for one in PAIR["rejected"]))
    assert [len(row["answers"]) for row in rows] == [2, 2]


def test_a_pair_may_be_read_with_fewer_rejected_answers(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    whole, some = (read(tmp_path, tokenizer, PAIR, rejected=n)[0]["answers"] for n in (None, 1))
    assert some == whole[:2]
    assert len(whole) == 3


def test_only_as_many_are_read_as_asked_for(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    assert len(read(tmp_path, tokenizer, PAIR, PAIR, PAIR, at_most=2)) == 2


def test_tokens_of_the_historys_titles_are_told_from_others(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    prompt = "Seen: Heat (1995), Big (1988). Next:"
    spans = [
        n for title in ("Heat (1995)", "Big (1988)") for n in (prompt.index(title), prompt.index(title) + len(title))
    ]
    (row,) = read(tmp_path, tokenizer, {**PAIR, "prompt": prompt, "titles": spans}, titles=True)
    own = tokenizer.decode([one for one, is_own in zip(row["prompt_ids"], row["titles"], strict=True) if is_own])
    assert own.replace(" ", "") == "Heat(1995)Big(1988)"
    assert not row["titles"][0]  # BOS


def test_pairs_that_do_not_say_where_titles_stand_are_refused(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    for pair in (PAIR, {**PAIR, "titles": []}, {**PAIR, "titles": [1]}, {**PAIR, "titles": "1"}):
        with pytest.raises(TrainingFault, match="column titles"):
            read(tmp_path, tokenizer, pair, titles=True)


def test_a_batch_says_how_many_rows_it_has(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    made = collate([*read(tmp_path, tokenizer, PAIR, PAIR)])
    assert len(made["pairs"]) == len(made["rows"]) == 2
    assert made["pairs"].reference is None


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"rejected": []}, "row 1 has no rejected answer"),
        ({"rejected": None}, "row 1 has no rejected answer"),
        ({"rejected": [" Up (2009)", " Alien (1979)"]}, "row 1 rejects the answer that it chose"),
        ({"rejected": [" Up (2009)", " "]}, "row 1 has an empty answer"),
        ({"chosen": ""}, "row 1 has an empty answer"),
        ({"chosen": None}, "row 1 has an empty answer"),
        ({"prompt": None}, "row 1 has no prompt"),
        ({"prompt": " Heat (1995)\n" * 9}, r"row 1's prompt takes \d+ tokens, and prompt.budget is 24"),
    ],
)
def test_a_pair_that_cannot_be_learned_from_is_named(
    second: dict[str, Any], said: str, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    with pytest.raises(TrainingFault, match=said):
        read(tmp_path, tokenizer, PAIR, {**PAIR, **second}, budget=24)


def test_columns_of_another_kind_are_named(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    for field, value in (("chosen", 7), ("prompt", 7), ("rejected", [7, 8])):
        with pytest.raises(TrainingFault, match=f"{field} is (List\\()?Int64"):
            read(tmp_path, tokenizer, {**PAIR, field: value})


def test_a_missing_column_is_named(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    with pytest.raises(TrainingFault, match="no column chosen; found prompt, rejected"):
        read(tmp_path, tokenizer, {name: PAIR[name] for name in ("prompt", "rejected")})


def test_a_file_that_is_none_is_named(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    for name in ("bad.parquet", "missing.parquet"):
        with pytest.raises(TrainingFault, match=f"{name}: no pairs that can be read"):
            examples(tmp_path / name, tokenizer, eos=True, budget=64)


def test_an_empty_file_is_named(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    pl.DataFrame([PAIR]).clear().write_parquet(tmp_path / "none.parquet")
    with pytest.raises(TrainingFault, match="no pairs to learn from"):
        examples(tmp_path / "none.parquet", tokenizer, eos=True, budget=64)


def test_an_answer_that_would_change_its_prompt_is_refused(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    glued = {"prompt": " Heat (1995)\n Ali", "chosen": "en (1979)", "rejected": [" Up (2009)"]}
    with pytest.raises(LlmrecError, match="boundary"):
        read(tmp_path, tokenizer, glued)
