"""One step of preference tuning: TRL's ORPOTrainer against a prompt read once with all its answers.

    python benchmarks/orpo_step.py --model gemma3-270m|mamba2-130m [--rounds 2] [--steps 3] [--pairs 4] [--prompt 187]
        [--answer 7] [--threads 2] [--only NAME ...] [--kept]

Both sides take forward, backward and an AdamW step on LoRA (r = 8; q and v, or in_proj) over the same random tokens,
with random weights of the true shapes, equal dtype, threads and padding, and no gradient checkpointing, on torch as it
comes; with `--kept` both keep freed memory, as llmrec's commands do (`llmrec.cli.machine`). TRL's side is its own
trainer's loss on its own collator's batch. Each case runs in a process of its own, so that its peak memory is its own;
the cases take turns, `--rounds` times, and a case's seconds are the median of its steps, the first left out.

`speedup` and `speedup_bf16`: TRL's step over ours with the likelihood of the answer alone (`nll_on: branch`), whose
odds-ratio terms differ by `max_abs_difference` at most; `memory_ratio` is the ratio of their peak memories, weights and
libraries included. `speedup_all`: with TRL's whole loss (`nll_on: all`), which differs by `max_abs_difference_all`.
`k7_vs_k1`: our step with seven rejected answers over that with one; `letters19_vs_1`: with 19 and one of one token.
`mfu`: floating-point operations a second, counted by torch, over those of a square product measured beside it. For
Mamba-2 `speedup_same_kernel` is against TRL's step with our state-space kernel in the model. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """One side of a comparison."""

    trl: bool
    dtype: str = "float32"
    nll_on: str = "branch"
    rejected: int = 1
    answer: int | None = None
    kernel: bool = True


CASES: dict[str, dict[str, Case]] = {
    "gemma3-270m": {
        "vanilla": Case(trl=True),
        "branch": Case(trl=False),
        "vanilla_bf16": Case(trl=True, dtype="bfloat16"),
        "branch_bf16": Case(trl=False, dtype="bfloat16"),
        "all": Case(trl=False, nll_on="all"),
        "k7": Case(trl=False, rejected=7),
        "letters1": Case(trl=False, answer=1),
        "letters19": Case(trl=False, answer=1, rejected=19),
    },
    "mamba2-130m": {
        "vanilla": Case(trl=True, kernel=False),
        "vanilla_kernel": Case(trl=True),
        "branch": Case(trl=False),
        "all": Case(trl=False, nll_on="all"),
        "k7": Case(trl=False, rejected=7),
    },
}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--model", choices=CASES, required=True)
    for name, default in [("rounds", 2), ("steps", 3), ("pairs", 4), ("prompt", 187), ("answer", 7), ("threads", 2)]:
        ask.add_argument(f"--{name}", type=int, default=default)
    ask.add_argument("--only", nargs="*", help="these cases alone; what they do not suffice for is left out")
    ask.add_argument("--kept", action="store_true", help="keep freed memory, as llmrec's commands do")
    ask.add_argument("--case", help=argparse.SUPPRESS)
    asked = ask.parse_args()
    if asked.case:
        print(json.dumps(measured(asked, Case(**json.loads(asked.case)))))
        return
    cases = {name: case for name, case in CASES[asked.model].items() if not asked.only or name in asked.only}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
    for turn in range(asked.rounds):
        for name, case in cases.items():
            found[name].append(one := child(asked, case))
            print(
                f"{turn + 1} {name}: {one['step']:.2f} s a step, {one['peak_gb']:.2f} GB, loss {one['loss']:.5f}, "
                f"{100 * one['mfu']:.0f} % of a product's speed",
                flush=True,
            )
    print(
        json.dumps(
            compared(found) | {name: vars(asked)[name] for name in ("model", "rounds", "steps", "threads", "kept")}
        )
    )


def child(asked: argparse.Namespace, case: Case) -> dict[str, Any]:
    """One case in a process of its own."""
    given = [f"--{name}={vars(asked)[name]}" for name in ("model", "steps", "pairs", "prompt", "answer", "threads")]
    given += ["--kept"] * asked.kept
    env = {**os.environ, "OMP_NUM_THREADS": str(asked.threads), "TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, __file__, *given, "--case", json.dumps(asdict(case))]
    said = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if said.returncode:
        raise SystemExit(f"{case} failed:\n{said.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return answer


def compared(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Ratios of medians over rounds; differences at their worst."""

    def of(name: str, key: str = "step") -> float:
        return statistics.median(one[key] for one in found[name])

    def apart(name: str, key: str) -> float:
        return max(abs(one[key] - other[key]) for one in found[name] for other in found["vanilla"])

    made: dict[str, Callable[[], float]] = {
        "speedup": lambda: of("vanilla") / of("branch"),
        "speedup_bf16": lambda: of("vanilla_bf16") / of("branch_bf16"),
        "speedup_same_kernel": lambda: of("vanilla_kernel") / of("branch"),
        "speedup_all": lambda: of("vanilla") / of("all"),
        "memory_ratio": lambda: of("branch", "peak_gb") / of("vanilla", "peak_gb"),
        "memory_ratio_bf16": lambda: of("branch_bf16", "peak_gb") / of("vanilla_bf16", "peak_gb"),
        "max_abs_difference": lambda: apart("branch", "odds"),
        "max_abs_difference_all": lambda: apart("all", "loss"),
        "k7_vs_k1": lambda: of("k7") / of("branch"),
        "letters19_vs_1": lambda: of("letters19") / of("letters1"),
        "mfu": lambda: of("branch", "mfu"),
        "mfu_vanilla": lambda: of("vanilla", "mfu"),
    }
    answer: dict[str, Any] = {}
    for key, value in made.items():
        try:
            answer[key] = round(value(), 7 if "difference" in key else 3)
        except KeyError:  # a case that was not asked for, or that this model does not have
            continue
    return answer | {"seconds": {name: round(of(name), 3) for name in found}}


def measured(asked: argparse.Namespace, case: Case) -> dict[str, Any]:
    """Steps of one case: the median's seconds, the first step's loss and odds-ratio term, peak memory, and mfu."""
    import torch
    from shapes import shaped, tuned
    from torch.utils.flop_counter import FlopCounterMode

    from llmrec.cli.machine import settle

    if asked.kept:
        settle()
    torch.set_num_threads(asked.threads)
    model = tuned(shaped(asked.model, getattr(torch, case.dtype), kernel=case.kernel), asked.model)
    length = case.answer or asked.answer
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(10, 5000, (asked.pairs, asked.prompt), generator=draw).tolist()
    answers = torch.randint(10, 5000, (asked.pairs, 1 + case.rejected, length), generator=draw).tolist()
    loss_of = (trl_side if case.trl else our_side)(model, prompts, answers, case)
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4)

    def step() -> tuple[float, float]:
        optimizer.zero_grad()
        loss, odds = loss_of()
        loss.backward()
        optimizer.step()
        return float(loss.detach()), odds

    first = step()
    taken = []
    for _ in range(asked.steps):
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    with FlopCounterMode(display=False) as counter:
        step()
    seconds = statistics.median(taken)
    return {
        "step": seconds,
        "loss": first[0],
        "odds": first[1],
        "peak_gb": peak,
        "mfu": counter.get_total_flops() / seconds / ceiling(getattr(torch, case.dtype)),
    }


def our_side(model: Any, prompts: Any, answers: Any, case: Case) -> Callable[[], Any]:
    from shapes import PAD

    from llmrec.language.examples import Batch
    from llmrec.language.judging import judged
    from llmrec.recipe.sections import Objective

    asked = Objective(name="orpo", nll_on=case.nll_on)  # type: ignore[arg-type]
    batch = Batch(prompts, answers)

    def loss() -> Any:
        losses, said = judged(model, batch, asked, pad=PAD)
        return losses.mean(), float(said["preference"].mean())

    return loss


def trl_side(model: Any, prompts: Any, answers: Any, case: Case) -> Callable[[], Any]:
    from datasets import Dataset
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    from llmrec.language.tokenizer import build_tokenizer

    rows: list[dict[str, Any]] = []
    for prompt, (chosen, *others) in zip(prompts, answers, strict=True):
        for rejected in others:
            row: dict[str, Any] = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
            for side, answer in (("chosen", chosen), ("rejected", rejected)):
                whole = prompt + answer
                row |= {f"{side}_input_ids": whole, f"{side}_attention_mask": [1] * len(whole)}
                row[f"{side}_labels"] = [-100] * len(prompt) + answer
            rows.append(row)
    with tempfile.TemporaryDirectory() as out:
        plain: dict[str, Any] = {"activation_checkpointing": False, "use_cpu": True, "bf16": False, "report_to": "none"}
        some = Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])
        tokenizer = build_tokenizer([" a b c"], 300)
        trainer = ORPOTrainer(
            model=model,
            args=ORPOConfig(output_dir=str(Path(out)), max_length=1024, beta=0.1, **plain),
            train_dataset=some,
            processing_class=tokenizer,
        )
    batch = trainer.data_collator(rows)

    def loss() -> Any:
        value, metrics = trainer.get_batch_loss_metrics(trainer.model, batch)
        return value, -0.1 * metrics["log_odds_ratio"]

    return loss


def ceiling(dtype: Any) -> float:
    """Operations a second of a square matrix product."""
    import torch

    size = 2048
    a, b = (torch.randn(size, size, dtype=dtype) for _ in range(2))
    a @ b
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        a @ b
        taken.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(taken)


if __name__ == "__main__":
    main()
