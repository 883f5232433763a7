"""Preference tuning with TRL's ORPOTrainer and our own forward pass: the one file that imports trl.experimental."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from datasets.utils.logging import disable_progress_bar as disable_progress_bars
from peft import get_peft_model_state_dict
from transformers import EarlyStoppingCallback, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from llmrec.errors import ModelFault
from llmrec.files import write_json
from llmrec.language import guards
from llmrec.language.branches import branch_logps
from llmrec.language.examples import Batch, collate, examples
from llmrec.language.judging import judged
from llmrec.language.load import refuse_strangers
from llmrec.language.lora import adapted
from llmrec.language.objectives import REFERENCED, standing
from llmrec.language.shares import SharedRows, Shares
from llmrec.language.watch import Log
from llmrec.launch import expect_all_processes
from llmrec.progress import leads, note, track
from llmrec.recipe.sections import Objective, Recipe

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
try:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer
except ImportError as fault:  # moved or removed: "anything here may change in any release"
    import trl

    raise ModelFault(
        f"trl {trl.__version__} has no trl.experimental.orpo ({fault}); llmrec is held to trl 1.16: "
        "pip install 'trl>=1.16,<1.17'."
    ) from None

EVALUATED = 128  # validation pairs that are watched; users are in random order, so the first are a fair draw

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

    A row is a pair with all its rejected answers, and each is seen once an epoch, whatever the number of processes (a
    step has `per_device_train_batch_size` pairs of each). The loss is a mean over pairs, so accumulation and several
    processes change nothing. Goes on from the last checkpoint in `out/checkpoints`. Raises TrainingFault on pairs that
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
    trainer = RecipeTrainer(
        model=adapted(model, recipe.lora, here=here),
        args=_arguments(recipe, seed=seed, out=out / "checkpoints"),
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
    trainer.train(resume_from_checkpoint=str(last) if last else None)

    tuned = trainer.accelerator.unwrap_model(trainer.model)
    weights = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    guards.refuse_broken(weights)
    first: Any = rows[0]
    change = guards.refuse_idle(tuned, first["prompt_ids"] + first["answers"][0])
    trainer.accelerator.wait_for_everyone()  # each process has its part of the last checkpoint to write
    if trainer.is_world_process_zero():
        tuned.save_pretrained(out / "adapter", safe_serialization=True)
        tokenizer.save_pretrained(out / "adapter")
        facts = {
            "rows": len(rows),
            "processes": trainer.accelerator.num_processes,
            "largest_logit_change": change,
        }
        write_json({**facts, "parameters": sum(t.numel() for t in weights.values())}, out / "summary.json")
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    trainer.accelerator.wait_for_everyone()


class RecipeTrainer(ORPOTrainer):
    """TRL's trainer with our forward pass: a prompt once with all its answers, and whichever objective is asked for."""

    def __init__(self, *args: Any, objective: Objective, log: Log | None = None, **kwargs: Any) -> None:
        self.objective: Objective = objective
        self.watched, self.standstill = log, guards.Standstill()
        super().__init__(*args, **kwargs)
        tokenizer: Any = self.processing_class
        self.pad: int = tokenizer.pad_token_id

    def tokenize_row(self, feature: Any, model: Any = None) -> dict[str, Any]:
        """The row as it is: `examples` has tokenised it."""
        return dict(feature)

    def refer(self) -> None:
        """Notes in every row what the model says of its answers now, before it is tuned.

        The reference of dpo is what tuning starts from (an adapter, `lora.init_from`, or the bare model). Asked once
        and kept, it costs no second adapter in memory and no second pass a step. Each process asks about its part.
        """
        for name in ("train_dataset", "eval_dataset"):
            rows: Any = getattr(self, name)
            own = range(self.accelerator.process_index, len(rows), self.accelerator.num_processes)
            order = sorted(own, key=lambda row: len(rows[row]["prompt_ids"]))
            size = self.args.per_device_eval_batch_size
            parts = [order[start : start + size] for start in range(0, len(order), size)]
            said: list[tuple[int, list[float]]] = []
            model: Any = self.model
            model.eval()
            for part in track(parts, "what the model says before it is tuned"):
                batch: Batch = collate([rows[row] for row in part])["pairs"]
                with torch.no_grad():
                    sums = branch_logps(model, batch.prompts, batch.answers, pad=self.pad).sums
                said += zip(part, (some.tolist() for some in sums.split(list(map(len, batch.answers)))), strict=True)
            model.train()
            if self.accelerator.num_processes > 1:
                from accelerate.utils import gather_object

                said = gather_object(said)
            setattr(self, name, rows.add_column("reference", [logps for _, logps in sorted(said)]))

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss, or TrainingFault if it is not finite."""
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
        )

    def get_batch_loss_metrics(self, model: Any, batch: Any, train_eval: Any = "train") -> Any:
        """The mean loss of all processes' rows, and metrics. Shares of a step may differ by a row: each row counts."""
        losses, own = judged(model, batch["pairs"], self.objective, pad=self.pad)
        if self.watched is not None and train_eval == "train":
            pairs: Batch = batch["pairs"]
            read = sum(map(len, pairs.prompts)) + sum(len(answer) for row in pairs.answers for answer in row)
            self.watched.saw(len(pairs), read)
        sums = torch.stack([*(values.sum() for values in own.values()), losses.new_tensor(len(losses))]).detach()
        processes = self.accelerator.num_processes if train_eval == "train" else 1
        if processes > 1:
            sums = self.accelerator.reduce(sums)
        *totals, rows = sums.tolist()
        found = {name: total / rows for name, total in zip(own, totals, strict=True)}
        if train_eval == "train":
            counts = {len(answers) - 1 for answers in batch["pairs"].answers}
            alike = standing(self.objective, counts.pop()) if len(counts) == 1 else 0.0
            self.standstill.saw(found["preference"], alike, self.state.global_step)
        prefix = "eval_" if train_eval == "eval" else ""
        # The mean of the processes' gradients is taken later: what is divided here is all rows' by their number.
        return losses.sum() * (processes / rows), {f"{prefix}{name}": value for name, value in found.items()}

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> Any:
        """Loss and metrics of a batch of validation pairs."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, metrics = self.get_batch_loss_metrics(model, inputs, train_eval="eval")
        self.store_metrics(metrics, train_eval="eval")
        return loss.detach(), None, None

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """As ever, with the metrics in what it returns too, where early stopping looks for them."""
        result: Any = super().evaluation_loop(*args, **kwargs)
        stored = self._stored_metrics["eval"]
        result.metrics.update({name: sum(values) / len(values) for name, values in stored.items()})
        return result


def quiet() -> None:
    """No bars for tokenising and loading unless somebody watches."""
    if not (leads() and os.isatty(2)):
        disable_progress_bars()


def _arguments(recipe: Recipe, *, seed: int, out: Path) -> ORPOConfig:
    assert recipe.objective is not None
    fields = {**DEFAULTS, **recipe.train}
    if fields.pop("patience", None) is not None:  # what is kept must be what was measured
        every = fields["save_steps"]
        best = {"metric_for_best_model": "eval_ndcg", "greater_is_better": True, "load_best_model_at_end": True}
        fields = {**best, "eval_strategy": "steps", "eval_steps": every, **fields}
    if "gradient_checkpointing" in fields:  # transformers' old name for it
        fields["activation_checkpointing"] = fields.pop("gradient_checkpointing")
    cpu = fields.setdefault("use_cpu", not torch.cuda.is_available())
    fields.setdefault("bf16", recipe.model.dtype == "bfloat16" and not cpu)
    fields.setdefault("fp16", recipe.model.dtype == "float16" and not cpu)
    fields.setdefault("eval_strategy", "epoch")
    return ORPOConfig(
        **fields,
        output_dir=str(out),
        beta=recipe.objective.weight,
        seed=seed,
        data_seed=seed,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
    )


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
