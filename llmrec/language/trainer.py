"""Preference tuning with TRL's ORPOTrainer: the one file that imports trl.experimental."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar as disable_progress_bars
from peft import get_peft_model_state_dict
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from llmrec.errors import ModelFault, TrainingFault
from llmrec.files import write_json
from llmrec.language import guards
from llmrec.language.load import refuse_strangers
from llmrec.language.lora import adapted
from llmrec.language.shares import SharedRows, Shares
from llmrec.launch import expect_all_processes
from llmrec.progress import leads, note, track
from llmrec.recipe.sections import Recipe

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
try:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer
except ImportError as fault:  # moved or removed: "anything here may change in any release"
    import trl

    raise ModelFault(
        f"trl {trl.__version__} has no trl.experimental.orpo ({fault}); llmrec is held to trl 1.16: "
        "pip install 'trl>=1.16,<1.17'."
    ) from None

ANSWER_ROOM = 512  # tokens beyond the prompt; no answer comes near, and guards.refuse_truncated checks
EVALUATED = 128  # validation pairs whose loss is watched; users are in random order, so the first are a fair draw

DEFAULTS: dict[str, Any] = {
    "learning_rate": 2e-4,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 8,
    "logging_steps": 10,
    "save_strategy": "steps",
    "save_steps": 0.1,
    "save_total_limit": 1,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.05,
    "report_to": "none",
    "disable_dropout": True,
    "activation_checkpointing": False,  # the answers are short; a recipe for a large model turns it on
}


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

    k rejected answers become k rows, TRL's own form; each row is seen once an epoch, whatever the number of processes
    (a step has `per_device_train_batch_size` rows of each, as TRL counts). On several, TRL's likelihood term is a mean
    over the tokens of each process's rows, so long answers weigh a little differently than on one. Goes on from the
    last checkpoint in `out/checkpoints`. Raises TrainingFault where a guard fires.
    """
    assert recipe.objective is not None
    expect_all_processes()
    quiet()
    set_seed(seed)
    refuse_strangers(tokenizer, model)
    in_float32(model)
    rows = {"train": _rows(pairs / "train.parquet"), "valid": _rows(pairs / "valid.parquet", at_most=EVALUATED)}
    arguments = _arguments(recipe, seed=seed, out=out / "checkpoints")
    trainer = RecipeTrainer(
        model=adapted(model, recipe.lora, here=here),
        args=arguments,
        eos=recipe.answer.eos,
        processing_class=tokenizer,
        train_dataset=rows["train"],
        eval_dataset=rows["valid"],
        callbacks=[guards.EveryTensorLearns(), Log(out / "train_log.jsonl")],
    )
    for chatter in (PrinterCallback, ProgressCallback):  # both write to stdout, which is for results
        trainer.remove_callback(chatter)
    tokenized: Any = trainer.train_dataset
    guards.refuse_truncated(tokenized, _longest(recipe))
    last = _last_checkpoint(out / "checkpoints")
    if last is not None:
        note(f"train: going on from {last.name}")
    trainer.train(resume_from_checkpoint=str(last) if last else None)

    tuned = trainer.accelerator.unwrap_model(trainer.model)
    weights = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    guards.refuse_broken(weights)
    change = guards.refuse_idle(tuned, tokenized[0]["chosen_input_ids"])
    trainer.accelerator.wait_for_everyone()  # each process has its part of the last checkpoint to write
    if trainer.is_world_process_zero():
        tuned.save_pretrained(out / "adapter", safe_serialization=True)
        tokenizer.save_pretrained(out / "adapter")
        facts = {
            "rows": len(rows["train"]),
            "processes": trainer.accelerator.num_processes,
            "largest_logit_change": change,
        }
        write_json({**facts, "parameters": sum(t.numel() for t in weights.values())}, out / "summary.json")
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    trainer.accelerator.wait_for_everyone()


class RecipeTrainer(ORPOTrainer):
    """TRL's trainer, with answers that may do without an end token and a loss that must be finite."""

    def __init__(self, *args: Any, eos: bool, **kwargs: Any) -> None:
        self.eos = eos
        super().__init__(*args, **kwargs)

    def tokenize_row(self, feature: Any, model: Any = None) -> dict[str, Any]:
        """TRL's row; without `answer.eos`, less the end token that TRL adds and would average over."""
        row: dict[str, Any] = super().tokenize_row(feature, model)
        if not self.eos:
            for side in ("chosen", "rejected"):
                for part in ("input_ids", "attention_mask", "labels"):
                    row[f"{side}_{part}"] = row[f"{side}_{part}"][:-1]
        return row

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's loss, or TrainingFault if it is not finite."""
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = result[0] if isinstance(result, tuple) else result
        guards.refuse_non_finite(loss, self.state.global_step)
        return result

    def get_train_dataloader(self) -> Any:
        """Each row once an epoch on any number of processes; a recipe that wants another order gets the trainer's."""
        asked: Any = self.args
        rows: Any = self.train_dataset
        if asked.train_sampling_strategy != "random" or asked.dataloader_drop_last:
            return super().get_train_dataloader()
        shares = Shares(
            len(rows),
            self._train_batch_size,
            seed=asked.data_seed,
            process=asked.process_index,
            processes=asked.world_size,
        )
        return SharedRows(
            rows,
            batch_sampler=shares,
            collate_fn=self.data_collator,
            num_workers=asked.dataloader_num_workers,
            persistent_workers=asked.dataloader_persistent_workers,
            prefetch_factor=asked.dataloader_prefetch_factor,
            pin_memory=asked.dataloader_pin_memory and not asked.use_cpu,
        )

    def get_batch_loss_metrics(self, model: Any, batch: Any, train_eval: Any = "train") -> Any:
        """TRL's loss and metrics. TRL gathers every process's rows as if all had as many; shares may differ by one."""
        if train_eval != "train" or self.accelerator.num_processes == 1:
            return super().get_batch_loss_metrics(model, batch, train_eval)
        self.accelerator.gather_for_metrics = lambda rows: rows
        try:
            loss, own = super().get_batch_loss_metrics(model, batch, train_eval)
        finally:
            del self.accelerator.gather_for_metrics  # the method is there again
        rows = len(batch["chosen_labels"])
        sums = torch.tensor([*(value * rows for value in own.values()), rows], device=self.accelerator.device)
        total = self.accelerator.reduce(sums)
        *means, _ = (total / total[-1]).tolist()
        return loss, dict(zip(own, means, strict=True))


class Log(TrainerCallback):
    """Every line that the trainer logs, as JSON lines, so that a report needs no tracker; and a bar for who watches."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: Iterator[int] = iter(())

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("".join(json.dumps(line) + "\n" for line in state.log_history))
            self.steps = track(range(state.global_step, state.max_steps), "tuning with ORPO")
            next(self.steps, None)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        next(self.steps, None)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            with self.path.open("a") as file:
                file.write(json.dumps({**logs, "step": state.global_step}) + "\n")


def in_float32(model: PreTrainedModel) -> None:
    """Has the model give its logits in float32, whatever it computes in.

    TRL takes log-probabilities from the logits as they are, and bfloat16 knows one of -5 to a sixty-fourth; margins
    between answers can be smaller. On a GPU, mixed precision sees to it; on a CPU there is none.
    """
    head = model.get_output_embeddings()
    if head is not None:
        head.register_forward_hook(lambda module, given, logits: logits.float())


def quiet() -> None:
    """No bars for tokenising and loading unless somebody watches."""
    if not (leads() and os.isatty(2)):
        disable_progress_bars()


def _arguments(recipe: Recipe, *, seed: int, out: Path) -> ORPOConfig:
    assert recipe.objective is not None
    fields = {**DEFAULTS, **recipe.train}
    if "gradient_checkpointing" in fields:  # transformers' old name for it
        fields["activation_checkpointing"] = fields.pop("gradient_checkpointing")
    cpu = fields.setdefault("use_cpu", not torch.cuda.is_available())
    fields.setdefault("bf16", recipe.model.dtype == "bfloat16" and not cpu)
    fields.setdefault("fp16", recipe.model.dtype == "float16" and not cpu)
    fields.setdefault("eval_strategy", "epoch")
    return ORPOConfig(
        **fields,
        output_dir=str(out),
        beta=recipe.objective.beta,
        max_length=_longest(recipe),
        seed=seed,
        data_seed=seed,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
    )


def _longest(recipe: Recipe) -> int:
    """Tokens that prompt and answer may take together."""
    return recipe.prompt.budget + ANSWER_ROOM


def _rows(path: Path, at_most: int | None = None) -> Dataset:
    pairs = pl.read_parquet(path, columns=["prompt", "chosen", "rejected"])
    table = (pairs.head(at_most) if at_most else pairs).explode("rejected")
    if table.is_empty():
        raise TrainingFault(f"{path}: no pairs to learn from.")
    return Dataset.from_dict(table.to_dict(as_series=False))


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
