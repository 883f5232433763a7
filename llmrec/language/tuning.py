"""Tuning one arm of a recipe: pairs in, an adapter and a log out."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from datasets.utils.logging import disable_progress_bar as disable_progress_bars
from peft import get_peft_model_state_dict
from transformers import EarlyStoppingCallback, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from llmrec.files import write_json
from llmrec.language import guards
from llmrec.language.adaptive import AdaptiveTrainer
from llmrec.language.examples import collate, examples
from llmrec.language.load import refuse_strangers
from llmrec.language.lora import adapted
from llmrec.language.objectives import REFERENCED
from llmrec.language.trainer import RecipeTrainer, arguments
from llmrec.language.watch import Log
from llmrec.launch import expect_all_processes
from llmrec.progress import note, watched
from llmrec.recipe.sections import Adaptive, Recipe

EVALUATED = 128  # validation pairs that are watched; users are in random order, so the first are a fair draw


def train(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Path,
    *,
    seed: int,
    here: Path,
    out: Path,
) -> None:
    """Fine-tunes one arm on `pairs` (train.parquet, valid.parquet) and writes `out/adapter` and `out/train_log.jsonl`.

    A row is a pair with all its rejected answers, and each is seen once an epoch, whatever the number of processes (a
    step has `per_device_train_batch_size` pairs of each). The loss is a mean over pairs, so several processes
    change nothing. Goes on from the last checkpoint in `out/checkpoints`. Raises TrainingFault on pairs that
    cannot be learned from, and where a guard fires.
    """
    assert recipe.objective is not None
    expect_all_processes()
    quiet()
    set_seed(seed)
    refuse_strangers(tokenizer, model)
    asked = recipe.objective
    read: dict[str, Any] = {"eos": recipe.answer.eos, "budget": recipe.prompt.budget}
    read["titles"] = asked.likelihood > 0 and asked.nll_on == "history"
    rows = examples(pairs / "train.parquet", tokenizer, **read, rejected=asked.rejected)
    held = examples(pairs / "valid.parquet", tokenizer, **read, at_most=EVALUATED)
    log = Log(out / "train_log.jsonl", f"tuning with {asked.name}")
    own = recipe.train.get("adaptive")
    made = RecipeTrainer if own is None else partial(AdaptiveTrainer, adaptive=Adaptive.model_validate(own))
    trainer = made(
        model=adapted(model, recipe.lora, here=here),
        args=arguments(recipe, seed=seed, out=out / "checkpoints"),
        objective=asked,
        log=log,
        data_collator=collate,
        processing_class=tokenizer,
        train_dataset=rows,
        eval_dataset=held,
        callbacks=[guards.EveryTensorLearns(), guards.SteadyGradient(), log],
    )
    if recipe.train.get("patience") is not None:
        trainer.add_callback(EarlyStoppingCallback(recipe.train["patience"]))
    for chatter in (PrinterCallback, ProgressCallback):  # both write to stdout, which is for results
        trainer.remove_callback(chatter)
    if asked.name in REFERENCED:
        trainer.refer()
    last = _last_checkpoint(out / "checkpoints")
    if last is not None:
        note(f"train: going on from {last.name}")
    first: Any = rows[0]
    ids = first["prompt_ids"] + first["answers"][0]
    before = guards.said(trainer.model, ids)
    trainer.train(resume_from_checkpoint=str(last) if last else None)

    change = guards.refuse_idle(before, guards.said(trainer.model_wrapped, ids).to(before.device))
    tuned = trainer.accelerator.unwrap_model(trainer.model)
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # whole, where processes hold parts of it
    weights = get_peft_model_state_dict(tuned, state_dict=state, save_embedding_layers=False)
    guards.refuse_broken(weights)
    trainer.accelerator.wait_for_everyone()  # each process has its part of the last checkpoint to write
    if trainer.is_world_process_zero():
        tuned.save_pretrained(out / "adapter", safe_serialization=True, state_dict=state)
        tokenizer.save_pretrained(out / "adapter")
        _keep_prompts(recipe, pairs, out / "adapter")
        facts = {
            "rows": len(rows),
            "processes": trainer.accelerator.num_processes,
            "distributed": trainer.accelerator.distributed_type.value,
            "largest_logit_change": change,
        }
        if isinstance(trainer, AdaptiveTrainer):
            facts["adaptive"] = trainer.record()
        write_json({**facts, "parameters": sum(t.numel() for t in weights.values())}, out / "summary.json")
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    unset_hf_deepspeed_config()  # or whatever model is made next is shared out while it is made, an estimate's too


def _keep_prompts(recipe: Recipe, pairs: Path, adapter: Path) -> None:
    """Puts beside an adapter what it was tuned on: the template's file, its name and version, and how answers are."""
    said = pl.scan_parquet(pairs / "train.parquet")
    template = None
    if "template" in said.collect_schema():
        template = said.select(pl.col("template").first()).collect().item()
    if (pairs / "template.jinja").exists():
        shutil.copyfile(pairs / "template.jinja", adapter / "template.jinja")
    assert recipe.objective is not None
    prompts = {"template": template, "budget": recipe.prompt.budget, "answer": recipe.answer.model_dump()}
    write_json({**prompts, "objective": recipe.objective.model_dump()}, adapter / "llmrec.json")


def quiet() -> None:
    """No bars for tokenising and loading unless somebody watches."""
    if not watched():
        disable_progress_bars()


def _is_whole(state: Path) -> bool:
    try:
        json.loads(state.read_text())
    except (OSError, ValueError):  # not written, or cut short by a kill or a full disk
        return False
    return True


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose trainer state was written, which is what the trainer writes last."""
    found = [p for p in folder.glob("checkpoint-*") if _is_whole(p / "trainer_state.json")]
    return max(found, key=lambda p: int(p.name.rsplit("-", 1)[1]), default=None)
