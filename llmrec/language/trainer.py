"""TRL's ORPOTrainer with our own forward pass: the one file that imports trl.experimental."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

from llmrec.errors import ModelFault, TrainingFault
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
    "ddp_find_unused_parameters": False,  # every tensor of an adapter learns, or the run stops
    "activation_checkpointing": False,  # the answers are short; a recipe for a large model turns it on
}
SHORTENED = ("adamw", "sgd", "schedule_free", "prodigy")  # other steps follow from how long gradients truly are


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
            setattr(self, name, rows.add_column("reference", self._said_of(rows)))

    @torch.no_grad()
    def _said_of(self, rows: Any) -> list[list[float]]:
        """The log-probability of each row's answers."""
        model: Any = self.model
        own = range(self.accelerator.process_index, len(rows), self.accelerator.num_processes)
        order = sorted(own, key=lambda row: len(rows[row]["prompt_ids"]))
        size = self.args.per_device_eval_batch_size
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        said: list[tuple[int, list[float]]] = []
        model.eval()
        for part in track(parts, "what the model says before it is tuned"):
            batch: Batch = collate([rows[row] for row in part])["pairs"]
            sums = branch_logps(model, batch.prompts, batch.answers, pad=self.pad).sums
            said += zip(part, (some.tolist() for some in sums.split(list(map(len, batch.answers)))), strict=True)
        model.train()
        if self.accelerator.num_processes > 1:
            said = gather_object(said)
        return [logps for _, logps in sorted(said)]

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
        if asked.train_sampling_strategy != "random" or asked.dataloader_drop_last:
            return super().get_train_dataloader()
        return self._shared(self.train_dataset, self._train_batch_size)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Each validation row once, on any number of processes."""
        return self._shared(self.eval_dataset if eval_dataset is None else eval_dataset, self.args.eval_batch_size)

    def _shared(self, rows: Any, size: int) -> SharedRows:
        asked: Any = self.args
        return SharedRows(
            rows,
            batch_sampler=Shares(
                len(rows), size, seed=asked.data_seed, process=asked.process_index, processes=asked.world_size
            ),
            collate_fn=self.data_collator,
            num_workers=asked.dataloader_num_workers,
            persistent_workers=asked.dataloader_persistent_workers,
            prefetch_factor=asked.dataloader_prefetch_factor,
        )

    def get_batch_loss_metrics(self, model: Any, batch: Any, train_eval: Any = "train") -> Any:
        """The mean loss of all processes' rows, and metrics. Shares of a step may differ by a row: each row counts."""
        pairs: Batch = batch["pairs"]
        losses, found = judged(model, pairs, self.objective, pad=self.pad)
        if self.watched is not None:
            read = sum(map(len, pairs.prompts)) + sum(len(answer) for row in pairs.answers for answer in row)
            self.watched.saw(len(pairs), read)
        sums = self._over_all({"rows": torch.ones_like(losses), **found})
        self.rows = rows = sums.pop("rows")  # of all processes
        means = {name: total / rows for name, total in sums.items()}
        counts = {len(answers) - 1 for answers in pairs.answers}
        alike = standing(self.objective, counts.pop()) if len(counts) == 1 else 0.0
        self.standstill.saw(means["preference"], alike, self.state.global_step)
        # The mean of the processes' gradients is taken later: what is divided here is all rows' by their number.
        return losses.sum() * (self.accelerator.num_processes / rows), means

    def _over_all(self, values: dict[str, torch.Tensor]) -> dict[str, float]:
        """Sums over rows, of all processes."""
        sums = torch.stack([some.detach().sum() for some in values.values()])
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums)
        return dict(zip(values, sums.tolist(), strict=True))

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> Any:
        """Keeps what is found of a batch of validation pairs; `evaluation_loop` puts it together."""
        with torch.no_grad(), self.compute_loss_context_manager():
            losses, found = judged(model, inputs["pairs"], self.objective, pad=self.pad)
        self.held.append({"loss": losses, **found})
        return None, None, None

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """As ever, with the means over all validation pairs in what it returns, where early stopping looks for them."""
        self.held: list[dict[str, torch.Tensor]] = []
        result: Any = super().evaluation_loop(*args, **kwargs)
        values = {name: torch.cat([one[name] for one in self.held]) for name in self.held[0]}
        sums = self._over_all({"rows": torch.ones_like(values["loss"]), **values})
        rows = sums.pop("rows")
        result.metrics.update({f"eval_{name}": total / rows for name, total in sums.items()})
        return result


def arguments(recipe: Recipe, *, seed: int, out: Path) -> ORPOConfig:
    """TRL's arguments for a recipe, checkpoints going to `out`. Raises TrainingFault where fields contradict others."""
    assert recipe.objective is not None
    fields = {**DEFAULTS, **recipe.train}
    own = fields.pop("adaptive", None)  # how: `language.adaptive`
    if own is not None and own["step"] not in SHORTENED:
        fields.setdefault("max_grad_norm", 0.0)
    if fields.pop("patience", None) is not None:  # what is kept must be what was measured
        best = {"metric_for_best_model": "eval_ndcg", "greater_is_better": True, "load_best_model_at_end": True}
        if fields["save_strategy"] == "no":
            raise TrainingFault(
                "train.patience: keeps the best checkpoint, and save_strategy is no. Take steps or epoch."
            )
        when = {"eval_strategy": fields["save_strategy"], "eval_steps": fields["save_steps"]}
        fields = {**best, **when, "restore_callback_states_from_checkpoint": True, **fields}
    if "gradient_checkpointing" in fields:  # transformers' old name for it
        fields["activation_checkpointing"] = fields.pop("gradient_checkpointing")
    cpu = fields.setdefault("use_cpu", not torch.cuda.is_available())
    fields.setdefault("bf16", recipe.model.dtype == "bfloat16" and not cpu)
    fields.setdefault("fp16", recipe.model.dtype == "float16" and not cpu)
    fields.setdefault("eval_strategy", "epoch")
    try:
        return ORPOConfig(
            **fields,
            output_dir=str(out),
            beta=recipe.objective.weight,
            seed=seed,
            data_seed=seed,
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
        )
    except ValueError as fault:  # fields that are each right and do not go together
        raise TrainingFault(f"train: {str(fault).splitlines()[0]}") from None
