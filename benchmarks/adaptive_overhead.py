"""What measuring the noise in a gradient costs, beside training the same way without measuring.

    python benchmarks/adaptive_overhead.py [--side retriever lora] [--rounds 21] [--updates 20] [--grown 1]
        [--items 3706] [--users 960] [--length 165] [--threads 1] [key=value ...]

`retriever`: made-up histories in the shape of MovieLens-1M's (lengths spread about `--length` as theirs are, at least
20 items each), the settings that recipes have by default, `key=value` changing one. Both sides are llmrec's own loop
(`retriever.adaptive`) with AdamW and a batch that stays, `--grown` times the recipe's; one measures, as often as it
would once the batch had grown so far. They take
turns with the same rows, `--updates` of them a turn, the first changing from round to round, so that a busy machine
slows both. `overhead_retriever` is the median over rounds of what one took over what the other took, on the clock;
`overhead_retriever_cpu` is of processor time; `measured_ms` and `plain_ms` are medians of an update of each.

`lora` (overhead_lora.py): ORPO on a language model of the size that recipes build, 8 pairs a micro-batch with 40 titles
and 7 rejected answers each, by llmrec's own trainer. Of one run every other update is measured, `--rounds` of them, and
held against those around it; `overhead_lora_1` is of updates of one micro-batch, where a measured one is taken in two
halves but few are, `overhead_lora_4` of four, which are all measured, and `overhead_lora` the larger.

`overhead` is the largest of the sides that were run. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from overhead_lora import lora

from llmrec.cross_entropy import cross_entropy
from llmrec.recipe.sections import Adaptive
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.adaptive import Adapting
from llmrec.retriever.model import Retriever
from llmrec.retriever.windows import batch, side_by_side, windows
from llmrec.rng import rng_for

Turn = Callable[[int], None]  # a round's updates


def in_turn(measured: Turn, plain: Turn, rounds: int) -> dict[str, float]:
    """What the one took over what the other took, and the seconds of each: medians over rounds, one to warm up."""
    sides = {"measured": measured, "plain": plain}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name in sorted(sides, reverse=turn % 2 == 0):
            began = time.perf_counter(), time.process_time()
            sides[name](turn)
            took[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    pairs = list(zip(took["measured"][1:], took["plain"][1:], strict=True))
    return {
        "overhead": statistics.median(one[0] / other[0] for one, other in pairs),
        "overhead_cpu": statistics.median(one[1] / other[1] for one, other in pairs),
        "measured": statistics.median(one[0] for one, _ in pairs),
        "plain": statistics.median(other[0] for _, other in pairs),
    }


def lengths(users: int, mean: float) -> np.ndarray:
    """Of histories, as MovieLens has them: many short, few long, none below 20."""
    return (20 + rng_for(7, "overhead", "lengths").lognormal(np.log(mean - 20) - 0.5, 1.0, users)).astype(int)


def retriever(asked: argparse.Namespace) -> dict[str, Any]:
    """The retriever's side."""
    section = Section.model_validate(dict(pair.split("=", 1) for pair in asked.settings))
    rng = rng_for(7, "overhead", "histories")
    histories = [rng.integers(0, asked.items, length) for length in lengths(asked.users, asked.length)]
    rows = side_by_side(windows([len(h) for h in histories], section.max_length, rng), rng)
    grown = section.batch_size * asked.grown
    size = grown * asked.updates

    def side(test: str | None) -> tuple[Adapting, Turn]:
        torch.manual_seed(7)
        model = Retriever(asked.items, section if test else section.model_copy(update={"batch_size": grown}))
        own = Adaptive.model_validate({"batch": test, "most": grown})
        adapting = Adapting(model, own, samples=size * (asked.rounds + 1))
        if adapting.controller is not None:
            adapting.controller.batch = grown
        made = partial(batch, histories=histories, gaps=None, begin=model.begin, horizon=section.horizon)

        def turn(number: int) -> None:
            drawn = rng_for(7, "overhead", "rows", number)
            some = [rows[at] for at in np.sort(drawn.choice(len(rows), min(size, len(rows)), replace=False))]
            adapting.epoch(some, made, cross_entropy, number, drawn)

        return adapting, turn

    (measuring, measured), (_, plain) = side("noise_scale"), side(None)
    found = in_turn(measured, plain, asked.rounds)
    print(
        f"retriever, {len(rows):,} windows of {asked.items:,} items, batch {grown}: an update of the "
        f"measuring side takes {1e3 * found['measured'] / asked.updates:.1f} ms, of the other "
        f"{1e3 * found['plain'] / asked.updates:.1f}; {found['overhead']:.3f} times (processor time "
        f"{found['overhead_cpu']:.3f}); noise scale {measuring.controller and measuring.controller.noise_scale}"
    )
    return {
        "overhead_retriever": round(found["overhead"], 4),
        "overhead_retriever_cpu": round(found["overhead_cpu"], 4),
        "retriever_measured_ms": round(1e3 * found["measured"] / asked.updates, 2),
        "retriever_plain_ms": round(1e3 * found["plain"] / asked.updates, 2),
    }


SIDES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {"retriever": retriever, "lora": lora}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--side", choices=SIDES, nargs="+", default=list(SIDES))
    for name, default in [("rounds", 21), ("updates", 20), ("grown", 1), ("items", 3706), ("users", 960),
                          ("length", 165), ("threads", 1)]:  # fmt: skip
        ask.add_argument(f"--{name}", type=int, default=default)
    ask.add_argument("settings", nargs="*", metavar="key=value")
    asked = ask.parse_args()
    torch.set_num_threads(asked.threads)
    answer: dict[str, Any] = {}
    for side in asked.side:
        answer |= SIDES[side](asked)
    answer["overhead"] = max(answer[f"overhead_{side}"] for side in asked.side)
    print(
        json.dumps(
            {
                **answer,
                "rounds": asked.rounds,
                "grown": asked.grown,
                "threads": asked.threads,
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
