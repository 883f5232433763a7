"""Ways in which preference tuning goes wrong without saying so, each turned into an error.

TRL lets all of these pass: a loss that is not finite (logged as 0, and an adapter full of NaN saved with exit 0), a
gradient that explodes, a preference that stays where it began, adapter tensors that no gradient reaches, and an adapter
that changes nothing.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from llmrec.errors import TrainingFault


def refuse_non_finite(loss: Tensor, step: int) -> None:
    """Raises TrainingFault as soon as a loss is not finite, before it reaches a weight."""
    if not torch.isfinite(loss).all():
        raise TrainingFault(
            f"train: the loss is {loss.mean().item()} at step {step}. Lower train.learning_rate, or check that no "
            "answer is empty; nothing was saved over the last checkpoint."
        )


def refuse_broken(tensors: Mapping[str, Tensor]) -> None:
    """Raises TrainingFault if an adapter tensor holds a number that is not finite."""
    bad = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise TrainingFault(
            f"train: {len(bad)} of {len(tensors)} adapter tensors are not finite, first {bad[0]}; not saved."
        )


class Standstill:
    """Stops the run if the preference stays for PATIENCE steps where it is when all answers are alike."""

    PATIENCE, NEAR = 30, 1e-5

    def __init__(self) -> None:
        self.steps, self.last = 0, -1

    def saw(self, preference: float, standing: float, step: int) -> None:
        """Raises TrainingFault at the last of PATIENCE steps in a row that moved nothing; looks once at each step."""
        if step == self.last:
            return  # of the batches that a step accumulates, all are asked about the same weights
        self.last = step
        still = standing > 0 and abs(preference - standing) <= self.NEAR * standing
        self.steps = self.steps + 1 if still else 0
        if self.steps >= self.PATIENCE:
            raise TrainingFault(
                f"train: the preference has been {standing:.4f}, where chosen and rejected answers are all alike, for "
                f"{self.steps} steps (now {step}): nothing is learned. Raise train.learning_rate or objective.beta, "
                "and see whether the adapter's layers are used."
            )


class SteadyGradient(TrainerCallback):
    """Stops the run if a logged gradient norm is not finite, or FAR times the median of those before it.

    Half precision finds its scale by overflowing: there, SKIPPED infinite norms in a row are forgiven.
    """

    FAR, ENOUGH, SKIPPED = 1e3, 10, 20

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.skipped = 0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        norm = (logs or {}).get("grad_norm")
        if norm is None:
            return
        if not math.isfinite(norm) and getattr(args, "fp16", False) and self.skipped < self.SKIPPED:
            self.skipped += 1
            return
        self.skipped = 0
        usual = statistics.median(self.seen) if len(self.seen) >= self.ENOUGH else math.inf
        if not math.isfinite(norm) or norm > self.FAR * usual:
            before = f"; it was {usual:.3g}" if math.isfinite(usual) else ""
            raise TrainingFault(
                f"train: the gradient's norm is {norm:.3g} at step {state.global_step}{before}. Lower "
                "train.learning_rate; the last checkpoint is as it was."
            )
        self.seen.append(float(norm))


@torch.no_grad()
def said(model: Any, ids: Sequence[int]) -> Tensor:
    """The model's logits of one row of tokens, in evaluation mode."""
    was_training = model.training
    model.eval()
    logits: Tensor = model(torch.tensor([list(ids)], device=next(model.parameters()).device)).logits
    model.train(was_training)
    return logits


def refuse_idle(before: Tensor, after: Tensor) -> float:
    """The largest change of a logit by tuning; TrainingFault if there is none."""
    change = float((after - before).abs().max())
    if change == 0.0:
        raise TrainingFault("train: tuning changes no logit: nothing was learned. Raise train.learning_rate or epochs.")
    return change


class EveryTensorLearns(TrainerCallback):
    """Stops the run if some adapter tensor has had no gradient by the end of step PATIENCE.

    LoRA starts with B = 0, so A's gradient is exactly zero until B has moved, and a schedule with a warm-up starts
    with a step of size zero: A's first gradient comes at the third step. Gradients are heard as they arrive, because
    DeepSpeed has done away with them before a step is over; half precision, which begins by skipping steps whose
    gradients overflow, has SKIPPED more.
    """

    PATIENCE, SKIPPED = 4, 20

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self.all = self.steps = 0
        self.ears: list[RemovableHandle] = []

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.all:
            return
        for name, weight in kwargs["model"].named_parameters():
            if weight.requires_grad:
                self.waiting.add(name)
                self.ears.append(weight.register_post_accumulate_grad_hook(functools.partial(self._heard, name)))
        self.all = len(self.waiting)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.steps += 1
        if self.steps != self.PATIENCE + (self.SKIPPED if getattr(args, "fp16", False) else 0):
            return
        for ear in self.ears:
            ear.remove()
        if self.waiting:
            raise TrainingFault(
                f"train: {len(self.waiting)} of {self.all} adapter tensors get no gradient, first "
                f"{sorted(self.waiting)[0]}: their layer's weight is used without its layer, or its output is not "
                "used. Choose other lora.target_modules."
            )

    def _heard(self, name: str, weight: Tensor) -> None:
        if name in self.waiting and weight.grad is not None and bool(weight.grad.abs().sum() > 0):
            self.waiting.discard(name)
