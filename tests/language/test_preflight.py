"""What a step will take, and what is said where that is more than there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import Gemma3TextConfig, Mamba2Config, MambaConfig

from llmrec.errors import TrainingFault
from llmrec.language import preflight
from llmrec.language.preflight import estimate, refuse_too_large
from llmrec.recipe.sections import Recipe

GEMMA = Gemma3TextConfig(
    vocab_size=262_144, hidden_size=640, intermediate_size=2048, num_hidden_layers=18, num_attention_heads=4,
    num_key_value_heads=1, head_dim=256,
)  # fmt: skip


def recipe(**sections: Any) -> Recipe:
    base = {"name": "r", "data": {"path": "x.csv"}, "model": {"name": "x"}, "prompt": {"template": "movies/lines"}}
    return Recipe.model_validate({**base, "lora": {"r": 8}, **sections})


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Prompts of 187 tokens, a chosen and seven rejected answers of 7."""
    table = pl.DataFrame({"rejected": [["a"] * 7] * 2, "prompt_tokens": [100, 187], "longest": [107, 194]})
    table.write_parquet(tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


STEPS = {"k1": (796, 52, 2.82), "k7": (940, 196, 3.18), "all": (796, 796, 3.64), "letters": (756, 4, 2.70)}


@pytest.mark.parametrize(("tokens", "asked_for", "took"), STEPS.values(), ids=STEPS.keys())
def test_it_is_near_what_steps_took(tokens: int, asked_for: int, took: float) -> None:
    """benchmarks/orpo_step.py --model gemma3-270m, float32, four pairs."""
    assert estimate(recipe(), GEMMA, tokens, asked_for).total / 1e9 == pytest.approx(took, rel=0.1)


def test_fewer_bits_weigh_less() -> None:
    sizes = [
        estimate(recipe(model={"name": "x", **model}), GEMMA, 800, 60).weights
        for model in ({}, {"dtype": "bfloat16"}, {"dtype": "bfloat16", "quantize": "nf4"})
    ]
    assert sizes[0] == 2 * sizes[1] > 2 * sizes[2]


def test_checkpointing_keeps_less() -> None:
    kept = [estimate(recipe(train={"activation_checkpointing": on}), GEMMA, 800, 60).kept for on in (False, True)]
    assert kept[1] < 0.15 * kept[0]


def test_a_batch_that_adapts_holds_gradients_against_each_other() -> None:
    plain, steps, grows = (
        estimate(recipe(train={"adaptive": own}), GEMMA, 800, 60).adapter
        for own in (None, {"step": "dowg"}, {"batch": "norm"})
    )
    assert plain == steps
    assert grows == pytest.approx(plain * 13 / 4)


def test_a_near_thing_is_noted(
    pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for free, said in ((64e9, False), (6e9, True)):
        monkeypatch.setattr(preflight, "_free", lambda free=free: (free, "this machine"))
        refuse_too_large(recipe(), GEMMA, pairs)
        assert ("a step takes about" in capsys.readouterr().err) == said


def test_what_does_not_fit_is_refused_with_what_to_change(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_free", lambda: (3.1e9, "this machine"))
    with pytest.raises(
        TrainingFault, match=r"has 3\.1 GB free\. Take train\.per_device_train_batch_size: 2 with "
    ) as fault:
        refuse_too_large(recipe(train={"per_device_train_batch_size": 8}), GEMMA, pairs)
    for way in ("gradient_accumulation_steps: 4", "activation_checkpointing: true", "quantize: nf4", "bfloat16"):
        assert way in str(fault.value)


def test_whole_sequences_hold_a_prompt_for_every_answer(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_free", lambda: (0.0, "this machine"))
    said = []
    for config in (Mamba2Config(num_hidden_layers=4), MambaConfig(num_hidden_layers=4, hidden_size=4096)):
        with pytest.raises(TrainingFault) as fault:
            refuse_too_large(recipe(train={"per_device_train_batch_size": 32}), config, pairs)
        said.append(float(str(fault.value).split("layers ")[1].split(",")[0]))
    assert said[1] > 4 * said[0]


def test_pairs_that_do_not_say_how_long_they_are_are_left_to_others(tmp_path: Path) -> None:
    pl.DataFrame({"prompt": ["a"], "rejected": ["b"]}).write_parquet(tmp_path / "bare.parquet")
    for name in ("bare.parquet", "missing.parquet"):
        refuse_too_large(recipe(), GEMMA, tmp_path / name)


def test_prompts_that_are_learned_from_need_logits(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [0.0]
    monkeypatch.setattr(preflight, "_free", lambda: (free[0], "this machine"))
    said = []
    for nll_on in ("branch", "all"):
        with pytest.raises(TrainingFault) as fault:
            refuse_too_large(recipe(objective={"nll_on": nll_on}), GEMMA, pairs)
        said.append(float(str(fault.value).split("logits ")[1].split(")")[0]))
    assert said[1] > 3 * said[0]


def test_what_is_free_is_a_number_of_bytes() -> None:
    free, where = preflight._free()
    assert 1e6 < free < 1e15
    assert where in ("the GPU", "this machine")
