"""ORPO on a model small enough to train in seconds, through TRL's own trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from llmrec.errors import TrainingFault, UserError
from llmrec.language import trainer as training
from llmrec.language.examples import collate, examples
from llmrec.language.judging import judged
from llmrec.language.lora import with_adapter
from llmrec.language.tokenizer import build_tokenizer
from llmrec.language.tuning import train
from llmrec.recipe.sections import Objective, Recipe
from tests.language.families import small

TITLES = ["Heat (1995)", "Alien (1979)", "Up (2009)", "Big (1988)", "Jaws (1975)", "Tron (1982)"]
World = tuple[Path, PreTrainedTokenizerFast]


def pairs(count: int, k: int = 1) -> pl.DataFrame:
    """Who saw a film is offered the next in the list, and refuses others."""
    rows = []
    for n in range(count):
        seen = n % len(TITLES)
        right = (seen + 1) % len(TITLES)
        wrong = [(seen + 2 + j) % len(TITLES) for j in range(k)]
        rows.append({
            "prompt": f" {TITLES[seen]}\n",
            "chosen": f" {TITLES[right]}",
            "rejected": [f" {TITLES[w]}" for w in wrong],
        })  # fmt: skip
    return pl.DataFrame(rows)


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "pairs"
    folder.mkdir()
    pairs(24, k=2).write_parquet(folder / "train.parquet")
    pairs(6).write_parquet(folder / "valid.parquet")
    return folder, build_tokenizer([f" {t}" for t in TITLES], 290)


def recipe(**sections: Any) -> Recipe:
    train_fields = {"learning_rate": 1e-2, "num_train_epochs": 2, "per_device_train_batch_size": 8, "logging_steps": 1}
    base = {
        "name": "tiny",
        "data": {"path": "x.csv"},
        "model": {"name": "x"},
        "lora": {"r": 4, "lora_alpha": 8},
        "prompt": {"template": "movies/lines", "budget": 64},
        "train": {**train_fields, **sections.pop("train", {})},
    }
    return Recipe.model_validate({**base, **sections})


def go(world: World, out: Path, asked: Recipe | None = None, family: str = "llama") -> list[dict[str, Any]]:
    folder, tokenizer = world
    train(asked or recipe(), small(family), tokenizer, folder, seed=7, here=out, out=out)
    return [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("family", ["llama", "mamba2"])
def test_the_chosen_film_gains_on_the_rejected_ones(world: World, tmp_path: Path, family: str) -> None:
    log = go(world, tmp_path / "arm", family=family)
    margins = [line["rewards/margins"] for line in log if "rewards/margins" in line]
    assert np.mean(margins[-3:]) > np.mean(margins[:3])
    assert any("eval_loss" in line for line in log)


def test_each_pair_is_seen_once_an_epoch_with_all_its_rejected_answers(world: World, tmp_path: Path) -> None:
    log = go(world, tmp_path / "arm")
    assert max(line["step"] for line in log) == 2 * 24 / 8
    assert json.loads((tmp_path / "arm" / "summary.json").read_text())["rows"] == 24


def test_the_adapter_is_safetensors_and_loads_again(world: World, tmp_path: Path) -> None:
    go(world, tmp_path / "arm")
    adapter = tmp_path / "arm" / "adapter"
    assert all(torch.isfinite(t).all() for t in load_file(adapter / "adapter_model.safetensors").values())
    ids = torch.tensor([[1, 40, 50]])
    beside = json.loads((adapter / "llmrec.json").read_text())
    assert (beside["answer"]["eos"], beside["objective"]["name"], beside["budget"]) == (True, "orpo", 64)
    plain, tuned = small("llama"), with_adapter(small("llama"), adapter)
    assert not torch.allclose(plain(ids).logits, tuned(ids).logits)
    assert not [*adapter.rglob("*.bin"), *adapter.rglob("*.pt")]


def test_the_same_seed_gives_the_same_adapter(world: World, tmp_path: Path) -> None:
    go(world, tmp_path / "a")
    go(world, tmp_path / "b")
    a, b = (load_file(tmp_path / x / "adapter" / "adapter_model.safetensors") for x in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_stopped_run_goes_on_from_its_checkpoint_to_the_same_adapter(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(world, tmp_path / "whole")
    compute = training.RecipeTrainer.compute_loss

    def stopping(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return compute(self, *args, **kwargs)

    monkeypatch.setattr(training.RecipeTrainer, "compute_loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        go(world, tmp_path / "broken")
    monkeypatch.setattr(training.RecipeTrainer, "compute_loss", compute)
    log = go(world, tmp_path / "broken")
    a, b = (load_file(tmp_path / x / "adapter" / "adapter_model.safetensors") for x in ("whole", "broken"))
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)
    steps = [line["step"] for line in log if "loss" in line]
    assert steps == list(range(1, 7))


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(world: World, tmp_path: Path) -> None:
    with pytest.raises(TrainingFault, match="loss is"):
        go(world, tmp_path / "arm", recipe(train={"learning_rate": 1e30, "max_grad_norm": 0.0}))
    assert not (tmp_path / "arm" / "adapter").exists()


@pytest.mark.parametrize("name", ["sft", "dpo", "s_dpo", "simpo", "cpo"])
def test_every_objective_comes_to_prefer_the_chosen_film(world: World, tmp_path: Path, name: str) -> None:
    asked = recipe(objective={"name": name}, train={"num_train_epochs": 8})
    log = [line for line in go(world, tmp_path / "arm", asked) if "loss" in line]
    found = {field: [line[field] for line in log] for field in ("loss", "log_odds", "preference")}
    assert np.mean(found["loss"][-6:]) < np.mean(found["loss"][:6])
    assert np.mean(found["log_odds"][-6:]) > np.mean(found["log_odds"][:6])
    if name in ("dpo", "s_dpo"):  # what tuning starts from is what it is held to
        assert found["preference"][0] == pytest.approx(np.log(2 if name == "dpo" else 3), abs=1e-4)


def test_the_best_adapter_is_kept_and_it_stops_when_no_better_comes(world: World, tmp_path: Path) -> None:
    fields = {"num_train_epochs": 30, "save_steps": 2, "patience": 2, "learning_rate": 5e-2}
    log = go(world, tmp_path / "arm", recipe(train=fields))
    found = [line["eval_ndcg"] for line in log if "eval_ndcg" in line]
    assert len(found) < 30 * 3 / 2
    held: Any = examples(world[0] / "valid.parquet", world[1], eos=True, budget=64)
    kept = with_adapter(small("llama"), tmp_path / "arm" / "adapter")
    with torch.no_grad():
        _, said = judged(kept, collate([*held])["pairs"], Objective(), pad=world[1].pad_token_id)
    assert float(said["ndcg"].mean()) == pytest.approx(max(found), abs=1e-6)
    assert found[-1] < max(found)  # or the last would have done as well


@pytest.mark.parametrize(
    "fields",
    [{"patience": 2, "save_strategy": "no"}, {"patience": 2, "eval_strategy": "epoch"}],
)
def test_fields_that_contradict_one_another_are_a_fault_of_the_recipe(
    world: World, tmp_path: Path, fields: dict[str, Any]
) -> None:
    with pytest.raises(UserError):
        go(world, tmp_path / "arm", recipe(train=fields))


def test_pairs_of_like_length_may_come_together(world: World, tmp_path: Path) -> None:
    fields = {"train_sampling_strategy": "group_by_length", "num_train_epochs": 1}
    assert [line for line in go(world, tmp_path / "arm", recipe(train=fields)) if "loss" in line]
