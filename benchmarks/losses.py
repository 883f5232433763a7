"""What a training step spends on its loss, forward and backward: the whole table of logits against blocks and draws.

    python benchmarks/losses.py [--rows 8192] [--width 64] [--items 3416 12101] [--negatives 256] [--repeats 9]

The sides take turns in one process, so that a busy machine slows all of them: `naive` is torch's cross-entropy of
vectors items^T, the others are llmrec's. `products` is what no exact loss can go below: three plain matrix products of
the same sizes in blocks of the same height, by torch's `mm` and by the product that llmrec calls. Medians; the exact
sides' values and gradients are compared with double precision. The last line is one JSON object: seconds, how many
times as fast as `naive`, and billions of useful floating-point operations a second (6 rows x width x items) of the
exact sides.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec.cross_entropy import cross_entropy, product
from llmrec.recipe.sections import Retriever
from llmrec.retriever.losses import loss_of

HEIGHT = 256  # rows of the plain products' blocks


def naive(vectors: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(vectors @ items.T, targets)


def step(loss: Callable[..., Tensor], vectors: Tensor, items: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """The loss and its gradients."""
    asked = vectors.detach().requires_grad_(), items.detach().requires_grad_()
    value = loss(*asked, targets)
    return value.detach(), *torch.autograd.grad(value, asked)


def products(multiply: Callable[[Tensor, Tensor], Tensor], vectors: Tensor, items: Tensor, targets: Tensor) -> None:
    """Three matrix products a block, as many operations as an exact loss and its gradients need, and nothing else."""
    for some in vectors.split(HEIGHT):
        table = multiply(some, items)
        multiply(table, items.T)
        multiply(some.T, table.T)


def raced(sides: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each side."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):  # the first warms
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(some) for name, some in seconds.items()}


def off(found: tuple[Tensor, ...], exact: tuple[Tensor, ...]) -> float:
    """The largest difference, each tensor relative to its largest entry."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, exact, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in [("rows", 8192), ("width", 64), ("negatives", 256), ("repeats", 9)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--items", type=int, nargs="+", default=[3416, 12101])
    asked = parser.parse_args()
    torch.manual_seed(0)
    result: dict[str, Any] = {}
    for many in asked.items:
        given = (
            torch.randn(asked.rows, asked.width),
            torch.randn(many, asked.width) / 10,
            torch.randint(many, (asked.rows,)),
        )
        counts = given[2].bincount(minlength=many)
        drawing = {
            name: loss_of(Retriever(loss=name, negatives=asked.negatives), counts)
            for name in ("sampled_softmax", "gbce", "bpr")
        }
        losses = {"naive": naive, "cross_entropy": cross_entropy, **drawing}
        sides: dict[str, Callable[[], Any]] = {name: partial(step, loss, *given) for name, loss in losses.items()}
        sides["products, torch"] = partial(products, lambda a, b: torch.mm(a, b.T), *given)
        sides["products"] = partial(products, product, *given)
        seconds = raced(sides, asked.repeats)
        exact = step(naive, given[0].double(), given[1].double(), given[2])
        differ = {name: off(step(losses[name], *given), exact) for name in ("naive", "cross_entropy")}
        work = 6 * asked.rows * asked.width * many / 1e9
        print(f"{asked.rows:,} rows, width {asked.width}, {many:,} items, {asked.negatives} negatives; "
              f"{torch.get_num_threads()} threads, medians of {asked.repeats}")  # fmt: skip
        for name, took in seconds.items():
            print(f"  {name:16} {1e3 * took:8.1f} ms, {seconds['naive'] / took:6.1f} times as fast as naive", end="")
            print(f", {work / took:5.0f} GFLOP/s" if name not in drawing else "", end="")
            print(f", off by {differ[name]:.0e} of the largest" if name in differ else "")
        result[str(many)] = {
            "seconds": {name: round(took, 5) for name, took in seconds.items()},
            "times_as_fast_as_naive": {name: round(seconds["naive"] / took, 2) for name, took in seconds.items()},
            "gflops": {name: round(work / took, 1) for name, took in seconds.items() if name not in drawing},
            "share_of_products": round(seconds["products"] / seconds["cross_entropy"], 3),
            "difference": differ,
        }
    print(json.dumps({**result, **vars(asked), "threads": torch.get_num_threads(), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
