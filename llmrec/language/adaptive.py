"""Tuning with a batch and a step size that set themselves: `train.adaptive` of a recipe, hooked into the trainer.

The batch grows by accumulation, which `pace` doubles where that is exact. What it should be is asked of each update's
gradient, which `groups` takes apart. It is looked at after the backward passes and before the trainer clips it, so a
clipped update is measured as it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from llmrec.adaptive.batch import BatchController
from llmrec.adaptive.schedule import BySamples
from llmrec.adaptive.size import step_size
from llmrec.adaptive.steps import averages, make_step
from llmrec.errors import TrainingFault
from llmrec.files import write_json
from llmrec.language.examples import parted
from llmrec.language.groups import Groups
from llmrec.language.pace import Pace, Rates
from llmrec.language.trainer import RecipeTrainer
from llmrec.language.watch import Log
from llmrec.progress import note
from llmrec.recipe.sections import Adaptive

STATE = "adaptive.json"
EVERY = 8  # updates of one micro-batch, of which one is measured: that takes two passes, of half the rows each
LARGEST = 16  # times the first batch, where the recipe has no bound
DEEPSPEED = (
    "DeepSpeed takes accumulation from its own config when it starts and steps by its own count, so the batch cannot "
    "grow, and it has done away with gradients before they can be measured."
)
FSDP = (
    "FSDP leaves each process a part of the averaged gradient, so none can measure that of its own rows, and steps "
    "that go by the length of all weights would see some of them."
)


class AdaptiveTrainer(RecipeTrainer):
    """The recipe's trainer with another optimiser and schedule, and with a batch that grows where noise asks for it.

    Raises TrainingFault before training where the weights or their gradients are shared out (FSDP, DeepSpeed), where
    an epoch has no room for a larger batch, and where no update has two groups to compare.
    """

    def __init__(
        self, *args: Any, adaptive: Adaptive, callbacks: Sequence[Any] = (), log: Log | None = None, **kwargs: Any
    ) -> None:
        self.adaptive, self.pace = adaptive, Pace()
        if log is not None:
            log.pace = self.pace
        self.controller: BatchController | None = None
        self.groups: Groups | None = None
        self.share, self.begins = 1.0, True
        super().__init__(*args, callbacks=[self.pace, *callbacks], log=log, **kwargs)
        self.first = self.args.gradient_accumulation_steps
        for sharing, reason in ((self.is_deepspeed_enabled, DEEPSPEED), (self.is_fsdp_enabled, FSDP)):
            if sharing:
                raise TrainingFault(f"train.adaptive: {reason} Launch without it (DDP), or leave `adaptive` out.")

    def set_initial_training_values(self, args: Any, dataloader: Any) -> Any:
        """As ever, at the first accumulation; everything that is due comes by rows seen from here on."""
        args.gradient_accumulation_steps = self.first
        planned: Any = super().set_initial_training_values(args, dataloader)
        *_, batches, steps = planned
        data: Any = self.train_dataset
        rows = len(data)
        self.pace.plan(accumulation=self.first, batches=batches, rows=rows, steps=steps)
        if self.adaptive.batch is not None:
            self.pace.refuse_no_room()
            self.controller = self._controller(self.adaptive.batch)
        return planned

    def _controller(self, test: str) -> BatchController:
        asked, pace, processes = self.adaptive, self.pace, self.accelerator.num_processes
        if self.first * processes == 1 and pace.rows < 2 * pace.batches:
            raise TrainingFault(
                "train.adaptive.batch: an update of one pair has no two groups to compare. Take "
                "train.per_device_train_batch_size: 2 or gradient_accumulation_steps: 2."
            )
        most = LARGEST * pace.batch if asked.most is None else asked.most
        if most < pace.batch:
            raise TrainingFault(
                f"train.adaptive.most: {most} is below the first batch, {pace.batch} pairs (of {processes} processes, "
                f"with gradient_accumulation_steps {self.first}). Raise it, or lower per_device_train_batch_size."
            )
        largest = max(pace.first, pace.batches)  # micro-batches of an update, which does not go beyond its epoch
        return BatchController(
            test,
            batch=pace.batch,
            most=min(most, pace.rows_of(largest)),
            threshold=asked.threshold,
            patience=asked.patience,
            smoothing=asked.smoothing,
        )

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Where the checkpoint left off, by micro-batches: the trainer goes by updates, as if all were of one size."""
        found: tuple[int, int] = super()._init_training_state(*args, **kwargs)
        checkpoint = kwargs.get("resume_from_checkpoint", args[3] if len(args) > 3 else None)
        if checkpoint is None:
            return found
        state = json.loads((Path(checkpoint) / STATE).read_text())
        self.pace.load_state_dict(state["pace"])
        if self.controller is not None:
            self.controller.load_state_dict(state["controller"])
        self.args.gradient_accumulation_steps = self.pace.accumulation
        epochs, within = divmod(self.pace.done, self.pace.batches)
        if self.args.ignore_data_skip:  # the epoch begins anew
            self.pace.done, within = self.pace.done - within, 0
        return epochs, within

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        model, loader = super()._prepare_for_training(*args, **kwargs)  # type: ignore[no-untyped-call]
        if self.controller is not None:
            processes = self.accelerator.num_processes
            self.groups = Groups([w for w in model.parameters() if w.requires_grad], processes)
            if processes > 1:
                shared = getattr(model, "_orig_mod", model)  # under torch.compile
                if not isinstance(shared, DistributedDataParallel):
                    raise TrainingFault(
                        f"train.adaptive: {type(shared).__name__} does not let a process see its own gradient; launch "
                        "with data parallelism (DDP), or leave `adaptive` out."
                    )
                self.groups.listen(shared)
        return model, loader

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The step that `adaptive` names; what decays is what decays under AdamW."""
        if self.optimizer is None:
            asked, args = self.adaptive, self.args
            model = self.model if model is None else model
            decaying = set(self.get_decay_parameter_names(model))
            weights = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
            groups: list[dict[str, Any]] = [
                {"params": [w for name, w in weights if name in decaying]},
                {"params": [w for name, w in weights if name not in decaying], "weight_decay": 0.0},
            ]
            self.optimizer = make_step(
                asked.step,
                [group for group in groups if group["params"]],
                scale=asked.rate(args.learning_rate),
                weight_decay=args.weight_decay,
                betas=(args.adam_beta1, args.adam_beta2),
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """A schedule over rows seen."""
        rates: Any = self.lr_scheduler
        if rates is None:
            warm = self.args.get_warmup_steps(num_training_steps) / num_training_steps
            schedule = BySamples(
                self.step, samples=self.pace.planned, warmup=min(warm, 0.99), kind=self.adaptive.schedule
            )
            rates = self.pace.rates = Rates(schedule, self.pace, self.adaptive.step, self.controller)
            self.lr_scheduler, self._created_lr_scheduler = rates, True
        return rates

    @property
    def step(self) -> Any:
        """The optimiser itself, out of accelerate's wrapper."""
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """A micro-batch's gradient, in two halves where there is nothing else to compare; measured with the last."""
        parts, batches = [inputs], self.current_gradient_accumulation_steps
        processes, groups = self.accelerator.num_processes, self.groups
        if self.begins and groups is not None:
            if batches * processes == 1 and self.state.global_step % EVERY == 0 and len(inputs["pairs"]) > 1:
                parts = parted(inputs)
            measured = batches * processes > 1 or len(parts) > 1
            groups.begin(batches * len(parts) if measured else 0)
        taken = []
        for one in parts:
            self.share = len(one["pairs"]) / len(inputs["pairs"])
            taken.append(super().training_step(model, one, num_items_in_batch))
            if groups is not None:
                own = len(one["pairs"])
                weighed = self.share * own * processes / self.rows / batches
                groups.add(1 / (weighed * self._loss_scale()), own)
        self.share = 1.0
        self.pace.saw(len(inputs["pairs"]) if len(parts) > 1 else round(self.rows))
        self.begins = bool(self.accelerator.sync_gradients)
        if self.begins:
            self._decide()
        return torch.stack(taken).sum()

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss, as much of it as the part of a micro-batch has rows."""
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return (result[0] * self.share, *result[1:]) if isinstance(result, tuple) else result * self.share

    def _decide(self) -> None:
        """Measures the update whose gradient is there; all processes see the same numbers, and so decide the same."""
        if self.controller is None or self.groups is None or not self.groups.batches:
            return
        skipped = self.controller.skipped
        self.controller.observe(self.groups.moments(self.accelerator.gather, 1 / self._loss_scale()))
        if self.controller.skipped > skipped == 0:
            note(
                f"train: the gradient's statistics at step {self.state.global_step} are no numbers; they decide "
                "nothing. train_log.jsonl counts such steps as `skipped`."
            )
        self.pace.wanted = self.first * self.controller.batch // self.pace.rows_of(self.first)

    def _loss_scale(self) -> float:
        """What half precision multiplies losses by."""
        scaler = getattr(self.accelerator, "scaler", None)
        return float(scaler.get_scale()) if scaler is not None else 1.0

    def record(self) -> dict[str, float]:
        """What a line of the log says of batch and step: rows of an update, the noise scale in rows, rows so far."""
        found: dict[str, float] = {"batch": self.pace.batch, "samples": self.pace.samples}
        found["elapsed"] = round(self.pace.elapsed(), 3)
        found["step_size"] = step_size(self.step)
        if self.controller is not None:
            if self.controller.noise_scale is not None:
                found["noise_scale"] = self.controller.noise_scale
            if self.controller.skipped:
                found["skipped"] = self.controller.skipped
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As ever, and `record`."""
        logs.update(self.record())
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """With the averages, where the step has some; the next micro-batch's `train()` takes them out again."""
        self._average()
        super()._save_checkpoint(model, trial)  # type: ignore[no-untyped-call]

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """And where batch and pace are: before the trainer's own state, which is written last."""
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            decided = None if self.controller is None else self.controller.state_dict()
            write_json({"pace": self.pace.state_dict(), "controller": decided}, Path(output_dir) / STATE)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        """With the averages, before the best checkpoint, which has its own, may take their place."""
        self._average()
        return super()._finalize_training(*args, **kwargs)  # type: ignore[no-untyped-call]

    def _average(self) -> None:
        if averages(self.step):
            self.step.eval()
