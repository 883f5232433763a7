"""Models in 4, 8 and 16 bits on a CPU: loaded, tuned by the usual trainer, and ranked as they were tuned."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmrec.errors import ModelFault
from llmrec.language.load import load_model, load_tokenizer
from llmrec.language.lora import adapted, tuned, with_adapter
from llmrec.language.tokenizer import build_tokenizer
from llmrec.language.tuning import train
from llmrec.prompts.encoding import Encoder
from llmrec.prompts.template import load_template
from llmrec.rank.titles import TitleRanker
from llmrec.recipe.sections import Answer, Model, Recipe
from tests.language.families import small
from tests.rank.library import library, offered

TITLES = ["Heat (1995)", "Alien (1979)", "Up (2009)", "Big (1988)", "Jaws (1975)", "Tron (1982)"]
IDS = torch.tensor([[1, 40, 50, 60, 270]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, and pairs: who saw a film is offered the next in the list, and refuses the two after it."""
    return made(tmp_path, "llama")


def made(folder: Path, family: str) -> Path:
    small(family).save_pretrained(folder / "model")
    build_tokenizer([f" {title}" for title in TITLES], 290).save_pretrained(folder / "model")
    turns = [[f" {TITLES[(n + j) % len(TITLES)]}" for j in range(4)] for n in range(24)]
    rows = [{"prompt": f"{seen}\n", "chosen": right, "rejected": wrong} for seen, right, *wrong in turns]
    for fold, count in (("train", 24), ("valid", 6)):
        pl.DataFrame(rows[:count]).write_parquet(folder / f"{fold}.parquet")
    return folder


def section(**fields: object) -> Model:
    return Model.model_validate({"name": "model", **fields})


def go(folder: Path, model: PreTrainedModel, asked: Model) -> list[dict[str, float]]:
    """One ORPO run, two epochs with an evaluation after each; its log."""
    recipe = Recipe.model_validate({
        "name": "tiny", "data": {"path": "x.csv"}, "model": asked.model_dump(), "lora": {"r": 4, "lora_alpha": 8},
        "prompt": {"template": "movies/lines", "budget": 64},
        "train": {
            "learning_rate": 1e-2, "num_train_epochs": 2, "per_device_train_batch_size": 8, "logging_steps": 1,
        },
    })  # fmt: skip
    train(recipe, model, load_tokenizer(asked, here=folder), folder, seed=7, here=folder, out=folder / "arm")
    return [json.loads(line) for line in (folder / "arm" / "train_log.jsonl").read_text().splitlines()]


def ranking(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> pl.DataFrame:
    """Three people's candidates, by the sum of their answers' log-probabilities."""
    larder = library([[1, 3, 2], [4, 0, 5], [2, 1, 0]], books=len(TITLES))
    encoder = Encoder(tokenizer, load_template("movies/lines"), TITLES, 64, Answer())
    candidates = {"uniform": offered(larder, [0, 2, 4, 5], [5, 1, 2, 3], [0, 3, 4, 5])}
    said = TitleRanker(model, encoder, larder).rank(larder.fold("test"), candidates)
    return said.tables["uniform"].ranking("sum", ranker="tiny", seed=7)


@torch.no_grad()
def logits(model: PreTrainedModel | PeftModel) -> Tensor:
    said: Tensor = model.eval()(IDS).logits.float()
    return said


@pytest.mark.parametrize(("bits", "error"), [("nf4", 1.0), ("int8", 0.05)])
def test_a_model_in_few_bits_learns_and_is_ranked_as_it_was_tuned(folder: Path, bits: str, error: float) -> None:
    asked = section(quantize=bits)
    model = load_model(asked, here=folder)
    lost = (logits(model) - logits(small("llama"))).abs().max()
    assert 0 < lost < error

    log = go(folder, model, asked)
    margins = [line["rewards/margins"] for line in log if "rewards/margins" in line]
    assert np.mean(margins[-3:]) > np.mean(margins[:3])

    again = tuned(load_model(asked, here=folder), folder / "arm" / "adapter")
    assert torch.equal(logits(again), logits(model))
    assert (logits(again) - logits(load_model(asked, here=folder))).abs().max() > 0.1
    table = ranking(again, load_tokenizer(asked, here=folder))
    assert table.height == 12
    assert table["score"].is_finite().all()


def adapter(folder: Path, asked: Model) -> Path:
    """One that moves the logits, as if it had been tuned."""
    model = adapted(load_model(asked, here=folder), {"r": 4, "init_lora_weights": False}, here=folder)
    model.save_pretrained(str(folder / "a"))
    return folder / "a"


def test_merging_into_four_bits_would_rank_another_model(folder: Path) -> None:
    asked = section(quantize="nf4")
    before = logits(load_model(asked, here=folder))
    beside = logits(tuned(load_model(asked, here=folder), adapter(folder, asked)))
    with pytest.warns(UserWarning, match="Merge lora module to 4-bit linear"):
        merged = logits(with_adapter(load_model(asked, here=folder), folder / "a").merge_and_unload())
    assert (merged - beside).norm() > 0.02 * (beside - before).norm()


def test_an_adapter_on_float32_weights_is_merged(folder: Path) -> None:
    merged = tuned(load_model(section(), here=folder), adapter(folder, section()))
    beside = with_adapter(small("llama"), folder / "a")
    assert not any("lora" in name for name, _ in merged.named_modules())
    assert torch.allclose(logits(merged), logits(beside), atol=1e-5)


@pytest.mark.parametrize("bits", ["nf4", "int8"])
def test_an_evaluation_changes_nothing_about_the_next_step(folder: Path, bits: str) -> None:
    # On CPUs with AVX512-BF16, bitsandbytes would pack 4-bit weights for a kernel that has no gradient.
    model = adapted(load_model(section(quantize=bits), here=folder), {"r": 4, "init_lora_weights": False}, here=folder)

    def gradients() -> list[Tensor]:
        model.train()
        model.zero_grad()
        model(IDS, labels=IDS).loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    before = gradients()
    logits(model)
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(), strict=True))


@pytest.mark.parametrize("family", ["mamba", "mamba2"])
def test_of_mamba_only_what_is_used_through_its_layer_is_quantised(tmp_path: Path, family: str) -> None:
    asked = section(quantize="nf4")
    model = load_model(asked, here=made(tmp_path, family))
    packed = {name.rsplit(".", 1)[1] for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}
    assert packed == {"in_proj"}
    go(tmp_path, model, asked)
    again = tuned(load_model(asked, here=tmp_path), tmp_path / "arm" / "adapter")
    assert torch.allclose(logits(again), logits(model), atol=1e-5)


def test_bfloat16_on_a_cpu_is_loaded_tuned_and_ranked(folder: Path) -> None:
    asked = section(dtype="bfloat16")
    model = load_model(asked, here=folder)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    log = go(folder, model, asked)
    said = torch.tensor([line["logps/chosen"] for line in log if "logps/chosen" in line], dtype=torch.float32)
    assert not torch.equal(said, said.bfloat16().float())  # the loss saw more than bfloat16's three digits
    again = tuned(load_model(asked, here=folder), folder / "arm" / "adapter")
    assert torch.equal(logits(again), logits(model))
    assert ranking(again, load_tokenizer(asked, here=folder))["score"].is_finite().all()


def test_quantising_without_the_package_that_does_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ModelFault, match=r"model.quantize: nf4 needs bitsandbytes: pip install 'llmrec\[quantize\]'"):
        load_model(section(quantize="nf4"), here=folder)


def test_eight_bit_moments_tune_a_model_of_four_bits(folder: Path) -> None:
    """bitsandbytes' AdamW in 8 bits, as a recipe asks for it: train.optim."""
    asked = section(quantize="nf4")
    recipe = Recipe.model_validate({
        "name": "tiny", "data": {"path": "x.csv"}, "model": asked.model_dump(), "lora": {"r": 4, "lora_alpha": 8},
        "prompt": {"template": "movies/lines", "budget": 64},
        "train": {"learning_rate": 1e-2, "num_train_epochs": 2, "logging_steps": 1, "optim": "adamw_bnb_8bit"},
    })  # fmt: skip
    model = load_model(asked, here=folder)
    train(recipe, model, load_tokenizer(asked, here=folder), folder, seed=7, here=folder, out=folder / "arm")
    log = [json.loads(line) for line in (folder / "arm" / "train_log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
