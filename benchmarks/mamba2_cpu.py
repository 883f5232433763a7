"""Mamba-2 on a CPU: transformers' mixers against `llmrec.language.mamba2.with_ssd`, the same model in the same process.

    python benchmarks/mamba2_cpu.py [--batch 8] [--length 256] [--repeats 7]

Two jobs, each done by both sides in turn, so that a busy machine slows both: a training step (forward and backward),
and the scoring of branches from a prompt's forked state, which is what ranking does. Medians; the results are compared
too. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, Mamba2Config

from llmrec.language.mamba2 import with_ssd
from llmrec.language.reading import read

VOCABULARY, PROMPTS, BRANCHES, TOKENS = 2048, 8, 20, 8


def build(width: int, layers: int, heads: int, state: int, chunk: int) -> Any:
    torch.manual_seed(0)
    config = Mamba2Config(
        vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=layers,
        num_heads=heads, head_dim=2 * width // heads, expand=2, state_size=state, n_groups=1, chunk_size=chunk,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


def training(ids: torch.Tensor) -> Callable[[Any], torch.Tensor]:
    def one(model: Any) -> torch.Tensor:
        model.train()
        model.zero_grad()
        hidden = model.base_model(ids).last_hidden_state  # the head costs both sides the same
        hidden.square().mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    return one


def scoring(prompts: list[list[int]], branches: list[list[list[int]]]) -> Callable[[Any], torch.Tensor]:
    def one(model: Any) -> torch.Tensor:
        model.eval()
        return torch.cat([logps for row in read(model, prompts, pad=0).logps(branches) for logps in row])

    return one


def raced(job: Callable[[Any], torch.Tensor], sides: dict[str, Any], repeats: int) -> tuple[dict[str, float], float]:
    """Median seconds of each side, and the largest difference of their results relative to the largest result."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    results = {name: job(model).detach().clone() for name, model in sides.items()}  # and warm
    for _ in range(repeats):
        for name, model in sides.items():
            began = time.perf_counter()
            job(model)
            seconds[name].append(time.perf_counter() - began)
    a, b = results.values()
    return {n: statistics.median(s) for n, s in seconds.items()}, float((a - b).abs().max() / a.abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in [("batch", 8), ("length", 256), ("width", 128), ("layers", 2), ("heads", 4), ("state", 32),
                          ("chunk", 64), ("repeats", 7)]:  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    transformers.logging.set_verbosity_error()
    plain = build(asked.width, asked.layers, asked.heads, asked.state, asked.chunk)
    sides = {"transformers": plain, "ssd": with_ssd(copy.deepcopy(plain))}

    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(3, VOCABULARY, (asked.batch, asked.length), generator=draw)
    prompts = torch.randint(3, VOCABULARY, (PROMPTS, asked.length), generator=draw).tolist()
    branches = torch.randint(3, VOCABULARY, (PROMPTS, BRANCHES, TOKENS), generator=draw).tolist()
    jobs = {
        "training": (f"forward and backward of {asked.batch} x {asked.length} tokens", training(ids)),
        "scoring": (
            f"{PROMPTS} prompts of {asked.length} tokens, {BRANCHES} branches of {TOKENS} each",
            scoring(prompts, branches),
        ),
    }
    print(
        f"Mamba-2, width {asked.width}, {asked.layers} layers, {asked.heads} heads, state {asked.state}, "
        f"transformers' chunk {asked.chunk}; {torch.get_num_threads()} threads, medians of {asked.repeats}"
    )
    found: dict[str, Any] = {}
    for name, (words, job) in jobs.items():
        seconds, difference = raced(job, sides, asked.repeats)
        ratio = seconds["transformers"] / seconds["ssd"]
        print(f"{name}: {words}")
        print(
            f"  transformers {seconds['transformers']:.3f} s, ssd {seconds['ssd']:.3f} s: {ratio:.2f} times as fast; ",
            end="",
        )
        print(f"results differ by {difference:.0e} of the largest")
        found[name] = {
            "ratio": round(ratio, 2),
            "difference": difference,
            **{k: round(v, 4) for k, v in seconds.items()},
        }
    print(
        json.dumps({
            "mamba2_ssd_vs_transformers": found["training"]["ratio"],
            "mamba2_scoring_ssd_vs_transformers": found["scoring"]["ratio"],
            **found,
            **vars(asked),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
