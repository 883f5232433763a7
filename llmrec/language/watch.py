"""What a training run shows and keeps: a line of train_log.jsonl for all that is logged, and a bar for who watches."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from llmrec.language.pace import Pace
from llmrec.progress import track

SHOWN = {
    "loss": "loss {:.4f}",
    "log_odds": "log-odds {:.4f}",
    "eval_ndcg": "ndcg {:.4f}",
    "batch": "batch {:,}",
    "noise_scale": "noise scale {:,.0f}",
    "step_size": "step size {:.3g}",
}


class Log(TrainerCallback):
    """Every line that the trainer logs, as JSON lines, so that a report needs no tracker; and a bar with speeds."""

    def __init__(self, path: Path, words: str) -> None:
        self.path, self.words = path, words
        self.steps: Iterator[int] = iter(())
        self.last: dict[str, float] = {}
        self.pairs = self.tokens = 0
        self.began = time.monotonic()
        self.pace: Pace | None = None  # of a batch that grows, and with it what an update is of the way
        self.at = 0

    def saw(self, pairs: int, tokens: int) -> None:
        """Counts what a step read."""
        self.pairs, self.tokens = self.pairs + pairs, self.tokens + tokens

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("".join(json.dumps(line) + "\n" for line in state.log_history))
            self.began = time.monotonic()
            self.at = state.global_step if self.pace is None else self.pace.position
            self.steps = track(range(self.at, state.max_steps), self.words, telling=self.line)
            next(self.steps, None)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        at = state.global_step if self.pace is None else self.pace.position
        for _ in range(self.at, at):
            next(self.steps, None)
        self.at = at

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.last |= {name: logs[name] for name in SHOWN if name in logs}
        if state.is_world_process_zero:
            with self.path.open("a") as file:
                file.write(json.dumps({**logs, "step": state.global_step}) + "\n")

    def line(self) -> str:
        """What there is to say: speeds of this process, and what was logged last."""
        taken = max(time.monotonic() - self.began, 1e-9)
        speeds = f"{self.pairs / taken:.1f} pairs/s, {self.tokens / taken:,.0f} tokens/s"
        return ", ".join([speeds, *(SHOWN[name].format(value) for name, value in self.last.items())])
