"""Whether tuning will fit into memory, said before any weight is loaded.

Counted are weights (by the precision that the recipe asks for), the adapter with its gradient and Adam's two moments,
what a layer keeps of each token for the backward pass, and logits, which their gradient takes the place of. What a
layer keeps is counted by what goes into and comes out of its linear layers: on the shape of Gemma 3 270M that says 2.8,
3.1 and 3.6 GB where steps took 2.8, 3.2 and 3.6 (benchmarks/orpo_step.py: branch, k7 and all).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from llmrec.errors import TrainingFault
from llmrec.language.groups import MOST
from llmrec.language.lora import DEFAULTS as LORA
from llmrec.language.reading import how
from llmrec.launch import processes
from llmrec.progress import note
from llmrec.recipe.sections import Recipe

GB = 1e9
LIBRARIES = 0.73 * GB  # what Python, torch and their friends take before anything is loaded
BITS = {"float32": 32, "bfloat16": 16, "float16": 16, "nf4": 4.13, "int8": 8}


@dataclass(frozen=True)
class Estimate:
    """Bytes that a step of tuning holds at its fullest, by what holds them."""

    weights: float
    adapter: float
    kept: float
    logits: float

    @property
    def total(self) -> float:
        """All of them, and the libraries."""
        return self.weights + self.adapter + self.kept + self.logits + LIBRARIES

    def __str__(self) -> str:
        parts = ("weights", self.weights), ("adapter", self.adapter), ("layers", self.kept), ("logits", self.logits)
        return f"{self.total / GB:.1f} GB ({', '.join(f'{name} {size / GB:.1f}' for name, size in parts)})"


def estimate(recipe: Recipe, config: Any, tokens: int, asked_for: int) -> Estimate:
    """What a step takes of `tokens` tokens in all its rows, of which `asked_for` get logits."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    linear = [m for name, m in model.named_modules() if isinstance(m, nn.Linear) and "lm_head" not in name]
    inner = sum(m.weight.numel() for m in linear)
    whole = sum(p.numel() for p in model.parameters())
    width = BITS[recipe.model.dtype] / 8
    squeezed = BITS[recipe.model.quantize] / 8 if recipe.model.quantize else width
    r = int(recipe.lora.get("r", LORA["r"]))
    # Itself, a gradient and two moments, and where a batch adapts, the gradients that are held against each other.
    copies = 4 + (MOST + 1 if (recipe.train.get("adaptive") or {}).get("batch") else 0)
    adapter = sum(r * (m.in_features + m.out_features) for m in linear) * 4 * copies
    layers = int(getattr(config, "num_hidden_layers", 1))
    each = sum(m.in_features + m.out_features for m in linear) / max(1, layers) + 4 * config.hidden_size
    if checkpointed(recipe):
        each = each / layers + config.hidden_size  # one layer at a time, and what it was given
    vocabulary = int(config.vocab_size)
    return Estimate(
        weights=(whole - inner) * width + inner * squeezed,
        adapter=adapter,
        kept=tokens * layers * each * width,
        # Mixed precision has logits and their gradient in half precision beside those in float32.
        logits=asked_for * vocabulary * (8 if torch.cuda.is_available() else width),
    )


def checkpointed(recipe: Recipe) -> bool:
    """Whether layers are computed again in the backward pass, to keep less."""
    return bool(recipe.train.get("activation_checkpointing") or recipe.train.get("gradient_checkpointing"))


def refuse_too_large(recipe: Recipe, config: Any, pairs: Path) -> None:
    """Raises TrainingFault if a step is unlikely to fit into what is free, with what to change; notes a near thing.

    Pairs that do not say how long they are, or cannot be read, are left to who reads them next.
    """
    assert recipe.objective is not None
    try:
        table = pl.read_parquet(pairs, columns=["rejected", "prompt_tokens", "longest"])
        most = int(table["rejected"].list.len().max() or 1)  # type: ignore[arg-type]
        prompt = int(table["prompt_tokens"].max())  # type: ignore[arg-type]
        answer = int((table["longest"] - table["prompt_tokens"]).max())  # type: ignore[arg-type]
    except (OSError, TypeError, pl.exceptions.PolarsError):
        return
    answers = 1 + min(most, recipe.objective.rejected or most)
    rows = int(recipe.train.get("per_device_train_batch_size", 8))
    own = recipe.objective.likelihood > 0 and recipe.objective.nll_on != "branch"
    way = how(config)
    if way == "whole" or (way == "forked" and checkpointed(recipe)):  # a sequence for every answer
        prompt *= answers

    def taken(rows: int) -> Estimate:
        branches = rows * answers * answer
        return estimate(recipe, config, rows * prompt + branches, branches + rows * (prompt if own else 1))

    needed, free, where = taken(rows), *_free()
    if needed.total <= free:
        if needed.total > free / 2:
            note(f"train: a step takes about {needed}; {where} has {free / GB:.1f} GB free")
        return
    halves = [rows // 2**n for n in range(1, rows.bit_length())]
    fits = next((fewer for fewer in halves if taken(fewer).total <= free), 0)
    small = f"train.per_device_train_batch_size: {fits}"
    ways = [f"{small} with gradient_accumulation_steps: {-(-rows // fits)}"] if fits else []
    ways += ["train.activation_checkpointing: true"] if not checkpointed(recipe) else []
    ways += ["model.quantize: nf4"] if recipe.model.quantize is None else []
    ways += ["model.dtype: bfloat16"] if recipe.model.dtype == "float32" and recipe.model.quantize is None else []
    ways += ["a shorter prompt.budget", "fewer objective.rejected"]
    raise TrainingFault(
        f"train: a step would take about {needed}, and {where} has {free / GB:.1f} GB free. Take {'; or '.join(ways)}."
    )


def _free() -> tuple[float, str]:
    """Bytes that are free, and where."""
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0]), "the GPU"
    free = float(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, KeyError):  # a container's own limit, where there is one
        held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = float((group / "memory.current").read_text()) - float(held["inactive_file"])  # given back when asked
        free = min(free, float((group / "memory.max").read_text()) - used)
    return free / processes(), "this machine"
