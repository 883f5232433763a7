"""How far a run with a growing batch is: in rows, and in updates of the first batch, by which everything is due.

The trainer counts updates, and plans their number when it starts. When the batch grows, updates get fewer, so whatever
is due every so many of them (a log line, a checkpoint, an evaluation, the end) would come late or never. Here it is due
when as many rows have been seen as so many updates of the first batch would have.
"""

from __future__ import annotations

import math
import time
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from llmrec.adaptive.batch import BatchController
from llmrec.adaptive.schedule import BySamples
from llmrec.adaptive.steps import growth
from llmrec.errors import TrainingFault


class Pace(TrainerCallback):
    """Counts rows and micro-batches, lets the batch grow where that is exact, and says what is due.

    `accumulation` is how many micro-batches an update takes. It may double only where as many micro-batches of the
    epoch lie behind as twice that divides: the trainer steps where its count of an epoch's micro-batches divides by
    `accumulation`, and anywhere else an update would have half of them, or one and a half. It never shrinks, because
    the trainer has planned no more updates than at first.
    """

    def __init__(self) -> None:
        self.done, self.samples = 0, 0  # micro-batches of each process, rows of all
        self.accumulation = self.wanted = 1
        self.before, self.seconds, self.began = 0, 0.0, time.monotonic()
        self.rates: Rates | None = None

    def plan(self, *, accumulation: int, batches: int, rows: int, steps: int) -> None:
        """What the trainer has planned: at first `accumulation` of the `batches` micro-batches that an epoch of `rows`
        has, and so many `steps`. Raises TrainingFault where an epoch has no room for a batch twice as large."""
        self.first = self.accumulation = self.wanted = accumulation
        self.batches, self.rows, self.steps = batches, rows, steps
        self.updates = -(-batches // accumulation)  # of an epoch, all of the first size

    def refuse_no_room(self) -> None:
        """Raises TrainingFault where the first update leaves no micro-batches of its epoch to add."""
        if 2 * self.first > self.batches:
            raise TrainingFault(
                f"train.adaptive.batch: no room for accumulation: an epoch of {self.rows:,} pairs is {self.batches} "
                f"micro-batches, and the first update takes {self.first} of them. Lower "
                "train.per_device_train_batch_size or gradient_accumulation_steps, or make more pairs."
            )

    @property
    def batch(self) -> int:
        """Rows of an update, of all processes, but for the last of an epoch."""
        return self.rows_of(self.accumulation)

    def rows_of(self, accumulation: int) -> int:
        """Rows of so many micro-batches of each process."""
        return max(1, round(self.rows / self.batches * accumulation))

    @property
    def planned(self) -> int:
        """Rows of all planned steps."""
        epochs, left = divmod(self.steps, self.updates)
        return epochs * self.rows + min(self.rows, self.rows_of(left * self.first) if left else 0)

    @property
    def position(self) -> int:
        """How many updates of the first batch this is as far as."""
        epochs, within = divmod(self.done, self.batches)
        return epochs * self.updates + -(-within // self.first)

    def saw(self, rows: int) -> None:
        """Counts a micro-batch, `rows` of all processes."""
        self.done, self.samples = self.done + 1, self.samples + rows

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began, self.before = time.monotonic(), self.position

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        was = self.accumulation
        self.grow()
        if self.accumulation > was:
            args.gradient_accumulation_steps = self.accumulation
            if self.rates is not None:
                self.rates.grow(self.accumulation / was)
        now, ends = self.position, self.position >= self.steps

        def due(every: float) -> bool:
            return every > 0 and now // every > self.before // every

        if args.logging_strategy == IntervalStrategy.STEPS:
            control.should_log = due(state.logging_steps) or (state.global_step == 1 and args.logging_first_step)
        if args.eval_strategy == IntervalStrategy.STEPS:
            control.should_evaluate = (ends or due(state.eval_steps)) and args.eval_delay <= now
        if args.save_strategy == SaveStrategy.STEPS:
            control.should_save = ends or due(state.save_steps)
        control.should_training_stop = control.should_training_stop or ends
        self.before = now

    def grow(self) -> None:
        """Doubles `accumulation` towards what is wanted, as far as that is exact here."""
        while self.accumulation < self.wanted and self.done % self.batches % (2 * self.accumulation) == 0:
            self.accumulation *= 2

    def elapsed(self) -> float:
        """Seconds of training, those before a stop included."""
        return self.seconds + time.monotonic() - self.began

    def state_dict(self) -> dict[str, Any]:
        """Where it is, as JSON has it."""
        counts = {name: getattr(self, name) for name in ("done", "samples", "accumulation", "wanted")}
        return {**counts, "seconds": self.elapsed()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there."""
        for name in ("done", "samples", "accumulation", "wanted", "seconds"):
            setattr(self, name, state[name])


class Rates:
    """A schedule over rows seen, as the trainer turns it on: after each update."""

    def __init__(self, schedule: BySamples, pace: Pace, name: str, controller: BatchController | None = None) -> None:
        self.schedule, self.pace, self.name, self.controller = schedule, pace, name, controller

    def step(self) -> None:
        """After an update."""
        self.schedule.step(self.pace.samples)

    def grow(self, factor: float) -> None:
        """The batch has grown, and with it the learning rate as becomes the step."""
        noise = None if self.controller is None else self.controller.noise_scale
        room = math.inf if noise is None else noise * factor / self.pace.batch  # above the batch before
        self.schedule.grow(growth(self.name, factor, room=room))

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group."""
        return [float(group["lr"]) for group in self.schedule.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule is."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there."""
        self.schedule.load_state_dict(state)
