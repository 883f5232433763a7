"""Ways in which preference tuning goes wrong without saying so, each turned into an error.

TRL lets all of these pass: a loss that is not finite (logged as 0, and an adapter full of NaN saved with exit 0), a
gradient that explodes, a preference that stays where it began, adapter tensors that no gradient reaches, and an adapter
that changes nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
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
        self.steps = 0

    def saw(self, preference: float, standing: float, step: int) -> None:
        """Raises TrainingFault at the last of PATIENCE steps in a row that moved nothing."""
        still = standing > 0 and abs(preference - standing) <= self.NEAR * standing
        self.steps = self.steps + 1 if still else 0
        if self.steps >= self.PATIENCE:
            raise TrainingFault(
                f"train: the preference has been {standing:.4f}, where chosen and rejected answers are all alike, for "
                f"{self.steps} steps (now {step}): nothing is learned. Raise train.learning_rate or objective.beta, "
                "and see whether the adapter's layers are used."
            )


class SteadyGradient(TrainerCallback):
    """Stops the run if a logged gradient norm is not finite, or FAR times the median of those before it."""

    FAR, ENOUGH = 1e3, 10

    def __init__(self) -> None:
        self.seen: list[float] = []

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
        usual = statistics.median(self.seen) if len(self.seen) >= self.ENOUGH else math.inf
        if not math.isfinite(norm) or norm > self.FAR * usual:
            before = f"; it was {usual:.3g}" if math.isfinite(usual) else ""
            raise TrainingFault(
                f"train: the gradient's norm is {norm:.3g} at step {state.global_step}{before}. Lower "
                "train.learning_rate or train.max_grad_norm; the last checkpoint is as it was."
            )
        self.seen.append(float(norm))


@torch.no_grad()
def refuse_idle(model: PeftModel, ids: Sequence[int]) -> float:
    """The largest change that the adapter makes to the logits of `ids`; TrainingFault if it makes none."""
    device = next(model.parameters()).device
    row = torch.tensor([list(ids)], device=device)
    was_training = model.training
    model.eval()
    on = model(row).logits
    with model.disable_adapter():
        off = model(row).logits
    model.train(was_training)
    change = float((on - off).abs().max())
    if change == 0.0:
        raise TrainingFault(
            "train: the adapter changes no logit: it learned nothing. Raise train.learning_rate or epochs."
        )
    return change


class EveryTensorLearns(TrainerCallback):
    """Stops the run if some adapter tensor has had no gradient by step PATIENCE.

    LoRA starts with B = 0, so A's gradient is exactly zero until B has moved, and a schedule with a warm-up starts
    with a step of size zero: A's first gradient comes at the third step.
    """

    PATIENCE = 4

    def __init__(self) -> None:
        self.waiting: set[str] | None = None
        self.steps = 0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.steps >= self.PATIENCE:
            return
        model = kwargs["model"]
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if self.waiting is None:
            self.waiting = set(trainable)
        self.waiting -= {n for n, p in trainable.items() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
        self.steps += 1
        if self.steps == self.PATIENCE and self.waiting:
            raise TrainingFault(
                f"train: {len(self.waiting)} of {len(trainable)} adapter tensors get no gradient, first "
                f"{sorted(self.waiting)[0]}: their layer's weight is used without its layer, or its output is not "
                "used. Choose other lora.target_modules."
            )
