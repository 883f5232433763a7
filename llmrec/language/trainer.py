"""TRL's ORPOTrainer with our own forward pass: the one file that imports trl.experimental."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from llmrec.errors import ModelFault
from llmrec.language import guards
from llmrec.language.branches import branch_logps
from llmrec.language.examples import Batch, collate
from llmrec.language.judging import judged
from llmrec.language.objectives import standing
from llmrec.language.shares import SharedRows, Shares
from llmrec.language.watch import Log
from llmrec.progress import track
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


def arguments(recipe: Recipe, *, seed: int, out: Path) -> ORPOConfig:
    """TRL's arguments for a recipe, checkpoints going to `out`."""
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
