"""The LoRA side of adaptive_overhead.py: what measuring a gradient's noise costs an update of preference tuning."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

PAIRS, TITLES, REJECTED, WORDS = 8, 40, 7, 500
SHAPE = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}


def lora(asked: argparse.Namespace) -> dict[str, Any]:
    """Updates of one micro-batch, where a measured one is taken in halves, and of four, whose groups are there."""
    found = {f"lora_{of}": timed(asked, of) for of in (1, 4)}
    for name, one in found.items():
        print(
            f"{name.replace('_', ', micro-batches an update: ')}: {one['measured']:.1f} ms measured, "
            f"{one['plain']:.1f} not, one in {one['every']:.0f} is; {one['overhead']:.3f} times "
            f"(processor time {one['overhead_cpu']:.3f})"
        )
    told = {f"{name}_{key}": round(one[key], 2) for name, one in found.items() for key in ("measured", "plain")}
    return {
        **{
            f"overhead_lora{kind}": round(max(one[f"overhead{kind}"] for one in found.values()), 4)
            for kind in ("", "_cpu")
        },
        **{f"overhead_{name}": round(one["overhead"], 4) for name, one in found.items()},
        **{f"{name}_ms": value for name, value in told.items()},
    }


def timed(asked: argparse.Namespace, accumulation: int) -> dict[str, float]:
    """Milliseconds of an update that is measured and of one that is not, by llmrec's own trainer, in turns."""
    import polars as pl
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

    from llmrec.language import adaptive, tuning
    from llmrec.language.tokenizer import build_tokenizer
    from llmrec.recipe.sections import Recipe

    every = adaptive.EVERY if accumulation == 1 else 1
    taken: list[tuple[float, float]] = []  # on the clock and of the processor; measured, not, measured, ...

    def now() -> tuple[float, float]:
        return 1e3 * time.perf_counter(), 1e3 * time.process_time()

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.began = now()

        def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            clock, processor = now()
            taken.append((clock - self.began[0], processor - self.began[1]))

    class Turns(adaptive.AdaptiveTrainer):
        """Measures every other update."""

        def __init__(self, *args: Any, callbacks: Any, **kwargs: Any) -> None:
            self.there: Any = None
            super().__init__(*args, callbacks=[*callbacks, Clock()], **kwargs)

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            self.there = self.groups or self.there
            self.groups = None if self.state.global_step % 2 else self.there
            return super().training_step(*args, **kwargs)

    draw = torch.Generator().manual_seed(0)
    words = [f" film {n:04d}" for n in range(WORDS)]

    def some(count: int) -> list[str]:
        return [words[n] for n in torch.randperm(WORDS, generator=draw)[:count].tolist()]

    updates = 2 * asked.rounds + 1
    rows = []
    for _ in range(updates * PAIRS * accumulation):
        seen, (chosen, *rejected) = some(TITLES), some(1 + REJECTED)
        rows.append({"prompt": "".join(seen), "chosen": chosen, "rejected": rejected})
    train = {"per_device_train_batch_size": PAIRS, "gradient_accumulation_steps": accumulation, "num_train_epochs": 1,
             "save_strategy": "no", "eval_strategy": "no", "use_cpu": True,
             "adaptive": {"batch": "augmented", "threshold": 1e6}}  # fmt: skip
    recipe = Recipe.model_validate({
        "name": "overhead", "data": {"path": "none.csv"}, "model": {"name": "none"},
        "prompt": {"template": "movies/lines", "budget": 512},
        "train": train,
    })  # fmt: skip
    torch.manual_seed(0)
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=4096, **SHAPE, **ends))
    known = tuning.AdaptiveTrainer, adaptive.EVERY
    tuning.AdaptiveTrainer, adaptive.EVERY = Turns, 2  # type: ignore[misc]
    try:
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            pl.DataFrame(rows).write_parquet(here / "train.parquet")
            pl.DataFrame(rows[:PAIRS]).write_parquet(here / "valid.parquet")
            tuning.train(recipe, model, build_tokenizer(words, 4096), here, seed=7, here=here, out=here / "out")
    finally:
        tuning.AdaptiveTrainer, adaptive.EVERY = known  # type: ignore[misc]
    found = {"every": float(every)}
    for at, kind in enumerate(("", "_cpu")):
        measured, plain = ([one[at] for one in taken[start::2]] for start in (2, 1))
        # Each measured update beside the two around it, so that a busy machine slows both.
        around = [sum(pair) / 2 for pair in pairwise(plain)]
        ratio = statistics.median(one / other for one, other in zip(measured, around, strict=False))
        found |= {f"measured{kind}": statistics.median(measured), f"plain{kind}": statistics.median(plain)}
        found[f"overhead{kind}"] = 1 + (ratio - 1) / every
    return found
