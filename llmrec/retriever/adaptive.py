"""Fitting with a batch and a step that set themselves (llmrec.adaptive), for the loop in `fit`.

The real batch grows first; what is more than fits at once goes through in chunks whose gradients add up, each weighted
by its share of the positions, to the gradient of the whole. Now and then (SAMPLES) an update goes through as two
halves, rows dealt out in turn, whose gradients say how much of it is noise: no row is looked at twice, and measuring
costs what two small passes cost more than one large one (benchmarks/adaptive_overhead.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmrec.adaptive.batch import BatchController
from llmrec.adaptive.schedule import BySamples
from llmrec.adaptive.size import step_size
from llmrec.adaptive.statistics import Moments, moments
from llmrec.adaptive.steps import averages, growth, make_step
from llmrec.errors import TrainingFault
from llmrec.progress import note
from llmrec.recipe.sections import Adaptive
from llmrec.retriever.descent import NORM, decaying, lost
from llmrec.retriever.losses import Loss
from llmrec.retriever.model import Retriever
from llmrec.retriever.windows import Batch, Growing, Window

# From one measured update to the next there are so many first batches' samples: two halves cost a fixed time more than
# a whole (on a processor a twentieth of an update of 16 windows, a fifth of one of 4), so that a growing batch may be
# measured more often. On a device launching kernels is what takes time, and there are so many updates.
SAMPLES, UPDATES = 10, 25
MOST = 16  # times the first batch, where a recipe says nothing
SHORTENED = ("adamw", "sgd", "schedule_free", "prodigy")  # the others' steps follow from how long gradients truly are

Rows = list[list[Window]]


class Adapting:
    """An optimiser, a schedule over samples and, if the batch is to grow, its controller. A sample is a row."""

    def __init__(self, model: Retriever, own: Adaptive, *, samples: int) -> None:
        """`samples` are all that will be seen. Raises TrainingFault where the step cannot be made of these settings."""
        section = model.section
        self.model, self.step = model, own.step
        self.optimizer = make_step(
            own.step,
            decaying(model, section.weight_decay),
            scale=own.rate(section.learning_rate),
            betas=(0.9, 0.98),
        )
        self.schedule = BySamples(self.optimizer, samples=max(1, samples), kind=own.schedule)
        self.controller = None
        if own.batch is not None:
            self.controller = BatchController(
                own.batch,
                batch=section.batch_size,
                most=own.most or MOST * section.batch_size,
                threshold=own.threshold,
                patience=own.patience,
                smoothing=own.smoothing,
            )
        self.room = own.micro  # rows at once; None: as many as a batch has
        self.updates = self.samples = 0
        self.measured: tuple[int, int] | None = None  # updates and samples when one was, last

    @property
    def batch(self) -> int:
        """Rows an update, as things are."""
        return self.model.section.batch_size if self.controller is None else self.controller.batch

    def epoch(
        self, rows: Rows, made: Callable[[Rows], Batch], loss_fn: Loss, number: int, rng: np.random.Generator
    ) -> float:
        """One pass over the rows, `made` into batches; the mean loss of a position. Ends with the weights that count.

        Raises TrainingFault when the loss is not finite, or memory does not suffice for a single row.
        """
        self._turn(training=True)
        total, count = 0.0, 0
        dealt = Growing(rows, self.batch, rng)
        for step, some in enumerate(dealt):
            self.schedule.step(self.samples)
            due = self._due() and len(some) == self.batch
            loss, positions, found = self._gradient([some[0::2], some[1::2]] if due else [some], made, loss_fn)
            if not math.isfinite(loss):
                raise TrainingFault(
                    f"retriever: the loss is {loss} in epoch {number}, step {step + 1}. Lower retriever.adaptive.scale "
                    f"(the step size is {step_size(self.optimizer):g})."
                )
            if self.step in SHORTENED:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), NORM)
            self.optimizer.step()
            self.updates, self.samples = self.updates + 1, self.samples + len(some)
            total, count = total + loss * positions, count + positions
            if found is not None:
                self.measured = self.updates, self.samples
                self._decide(found)
                dealt.size = self.batch
        self._turn(training=False)
        return total / count

    def record(self) -> dict[str, float | int | None]:
        """For a line of log.jsonl: `batch, noise_scale, step_size, samples, updates`, and updates `skipped`."""
        own, scale = self.controller, None if self.controller is None else self.controller.noise_scale
        return {
            "batch": self.batch,
            "noise_scale": None if scale is None else round(scale, 2),
            "step_size": float(f"{step_size(self.optimizer):.6g}"),
            "samples": self.samples,
            "updates": self.updates,
            "skipped": 0 if own is None else own.skipped,
        }

    def state_dict(self) -> dict[str, Any]:
        """All but weights and optimizer, as JSON has it."""
        return {
            "schedule": self.schedule.state_dict(),
            "controller": None if self.controller is None else self.controller.state_dict(),
            "room": self.room,
            "measured": self.measured,
            "updates": self.updates,
            "samples": self.samples,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there, once the optimizer does."""
        self.schedule.load_state_dict(state["schedule"])
        if self.controller is not None:
            self.controller.load_state_dict(state["controller"])
        self.room, self.updates, self.samples = state["room"], state["updates"], state["samples"]
        self.measured = None if state["measured"] is None else (state["measured"][0], state["measured"][1])

    def _due(self) -> bool:
        """Whether the next update is to be measured."""
        if self.controller is None or self.measured is None:
            return self.controller is not None
        updates, samples = self.measured
        if self.model.device.type != "cpu":
            return self.updates + 1 - updates >= UPDATES
        return self.samples + self.batch - samples >= SAMPLES * self.model.section.batch_size

    def _turn(self, *, training: bool) -> None:
        """To the weights that gradients are taken at, or to those that are measured and saved."""
        self.model.train(training)
        if averages(self.optimizer):
            turned: Any = self.optimizer
            turned.train() if training else turned.eval()

    def _gradient(
        self, parts: Sequence[Rows], made: Callable[[Rows], Batch], loss_fn: Loss
    ) -> tuple[float, int, Moments | None]:
        """Leaves in the weights the gradient of all parts; the mean loss, its positions, and what two parts say."""
        while True:
            try:
                return self._passed(parts, made, loss_fn)
            except RuntimeError as fault:
                if not _is_full(fault):
                    raise
            # Out here nothing holds on to what the failed pass had made.
            tried = min(self.room or math.inf, max(map(len, parts)))
            if tried == 1:
                raise TrainingFault(
                    "retriever: no memory for a single row. Lower retriever.max_length, d_model or negatives."
                ) from None
            self.room = int(tried) // 2
            note(f"retriever: memory is full with {tried} rows at once; from here on {self.room}, and more add up.")

    def _passed(
        self, parts: Sequence[Rows], made: Callable[[Rows], Batch], loss_fn: Loss
    ) -> tuple[float, int, Moments | None]:
        self.optimizer.zero_grad(set_to_none=True)
        chunks = [[made(rows[at : at + (self.room or len(rows))]) for at in range(0, len(rows), self.room or len(rows))]
                  for rows in parts]  # fmt: skip
        sizes = [sum(int((one.targets >= 0).sum()) for one in part) for part in chunks]
        total, so_far = 0.0, []
        for part in chunks:
            for one in part:
                loss, positions = lost(self.model, loss_fn, one)
                share = positions / sum(sizes)
                (loss * share).backward()
                total += loss.item() * share
            if len(parts) > 1:
                so_far.append(self._flat())
        return total, sum(sizes), self._moments(so_far, sizes, len(parts[0])) if so_far else None

    def _flat(self) -> Tensor:
        """A copy of the gradient as one vector."""
        weights = [weight for weight in self.model.parameters() if weight.grad is not None]
        return torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None])

    def _moments(self, so_far: list[Tensor], sizes: list[int], rows: int) -> Moments:
        """Of two halves, from what the gradient was after one and after both."""
        first, both = so_far
        return moments(torch.stack([first * (sum(sizes) / sizes[0]), (both - first) * (sum(sizes) / sizes[1])]), rows)

    def _decide(self, found: Moments) -> None:
        assert self.controller is not None
        before, skipped, scale = self.batch, self.controller.skipped, self.controller.noise_scale
        if self.controller.observe(found):
            room = math.inf if scale is None else scale / before
            self.schedule.grow(growth(self.step, self.batch / before, room=room))
        elif self.controller.skipped > skipped:
            note(f"retriever: update {self.updates:,} has statistics that are no numbers; it decides nothing.")


def _is_full(fault: RuntimeError) -> bool:
    """Whether memory was asked for that is not there: torch has an error of its own for devices, not for the host."""
    return isinstance(fault, torch.OutOfMemoryError) or "can't allocate memory" in str(fault)
