"""What one sequence layer costs to train, forward and backward: llmrec's state spaces against what people use instead.

    python benchmarks/ssm_layer.py [--batch 128] [--length 200] [--width 64] [--state 32]
        [--rounds 3] [--repeats 3] [--sides mamba1 mambapy ...] [--no-memory] [--kept]

    mambapy        transformers' MambaMixer with use_mambapy: Mamba-1's layer by mambapy's parallel scan
    mamba1         llmrec's layer of the same parameters, on the selective scan
    ssd            llmrec's Mamba-2 layer, on the state-space dual
    transformer    torch's encoder layer: causal attention of two heads and a feed-forward of four times the width

The sides take turns in one process, so that a busy machine slows all of them: in each round mambapy once, the others
`repeats` times. All run on torch as it comes; with `--kept` all of them keep freed memory, as llmrec's commands do
(`llmrec.cli.machine`), which helps mambapy most: it makes arrays of gigabytes, whose pages the system otherwise clears
anew every time. Each layer is in training mode without dropout, and its input wants a gradient. Seconds are medians
over all rounds. mambapy and mamba1 get the same weights; their outputs and gradients are compared. Peak memory is that
of one forward and backward in a process of its own, beyond what the process held just before. The last line is one JSON
object; `ssd_vs_mambapy` and `mamba1_vs_mambapy` say how many times as fast as mambapy, `ssd_vs_transformer` is ssd's
time over the transformer's.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from llmrec.cli.machine import settle
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.mixers import MIXERS

HEADS = 2
Layer = Callable[[Tensor], Tensor]


class Transformer(nn.Module):
    """torch's own layer, with the mask that lets a position hear what came before it only."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            width, HEADS, 4 * width, dropout=0, activation="gelu", batch_first=True, norm_first=True
        )
        self.mask = nn.Transformer.generate_square_subsequent_mask(length)

    def forward(self, x: Tensor) -> Tensor:
        heard: Tensor = self.layer(x, src_mask=self.mask, is_causal=True)
        return heard


def mambapy(width: int, state: int) -> nn.Module:
    config = MambaConfig(
        hidden_size=width, state_size=state, expand=2, conv_kernel=4, num_hidden_layers=1, use_bias=False,
        use_mambapy=True,
    )  # fmt: skip
    return MambaMixer(config, layer_idx=0)


def layers(names: list[str], width: int, state: int, length: int) -> dict[str, nn.Module]:
    """The sides by name; mamba1 with mambapy's weights."""
    torch.manual_seed(0)
    section = Section(d_model=width, d_state=state, max_length=length)
    theirs = mambapy(width, state)
    ours = MIXERS["mamba1"](section)
    ours.load_state_dict(theirs.state_dict())
    made = {
        "mambapy": theirs,
        "mamba1": ours,
        "ssd": MIXERS["ssd"](section),
        "transformer": Transformer(width, length),
    }
    return {name: made[name].train() for name in names}


def step(layer: nn.Module, x: Tensor, by_y: Tensor) -> list[Tensor]:
    """The layer's outputs, and the gradients of its input and of its parameters in the order of their names."""
    x = x.detach().requires_grad_()
    learnt = [parameter for _, parameter in sorted(layer.named_parameters())]
    y = layer(x)
    return [y.detach(), *torch.autograd.grad(y, [x, *learnt], by_y)]


def raced(sides: dict[str, nn.Module], x: Tensor, by_y: Tensor, rounds: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each side, turn by turn."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for turn in range(repeats):
            for name, layer in sides.items():
                if name == "mambapy" and turn:
                    continue
                began = time.perf_counter()
                step(layer, x, by_y)
                seconds[name].append(time.perf_counter() - began)
    return seconds


def off(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest difference, each tensor relative to its largest entry."""
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True))


def high_water() -> float:
    """The most memory this process has held so far, in GB.

    On Linux `ru_maxrss` begins at what the parent held, so the process's own mark is read where the system shows it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def peak(side: str, argv: list[str]) -> float:
    """What one forward and backward of a side adds to the memory of a process that does nothing else, in GB."""
    command = [sys.executable, __file__, *argv, "--sides", side, "--peak"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"batch": 128, "length": 200, "width": 64, "state": 32}
    for name, default in {**sizes, "rounds": 3, "repeats": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    every = ["mambapy", "mamba1", "ssd", "transformer"]
    parser.add_argument("--sides", nargs="+", choices=every, default=every)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--kept", action="store_true", help="keep freed memory, as llmrec's commands do")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)  # for the processes that measure memory
    asked = parser.parse_args()
    if asked.kept:
        settle()
    transformers.logging.set_verbosity_error()
    sides = layers(asked.sides, asked.width, asked.state, asked.length)
    x, by_y = torch.randn(2, asked.batch, asked.length, asked.width).unbind()
    if asked.peak:
        before = high_water()
        step(sides[asked.sides[0]], x, by_y)
        print(high_water() - before)
        return

    print(
        f"One layer of width {asked.width}, state {asked.state}, {asked.batch} rows of {asked.length} positions; "
        f"{torch.get_num_threads()} threads, medians of {asked.rounds} rounds"
    )
    argv = [word for name in sizes for word in (f"--{name}", str(getattr(asked, name)))] + ["--kept"] * asked.kept
    peaks = {} if asked.no_memory else {name: peak(name, argv) for name in asked.sides if name.startswith("mamba")}
    compared = {"mambapy", "mamba1"} <= sides.keys()
    difference = off(step(sides["mamba1"], x, by_y), step(sides["mambapy"], x, by_y)) if compared else None
    for name in asked.sides:
        if name.startswith("mamba") and compared:
            continue  # warm from the comparison
        step(sides[name], x, by_y)
    taken = raced(sides, x, by_y, asked.rounds, asked.repeats)
    seconds = {name: statistics.median(some) for name, some in taken.items()}
    for name, took in seconds.items():
        print(f"  {name:12} {took:8.3f} s ({min(taken[name]):.3f} to {max(taken[name]):.3f})", end="")
        print(f", peak {peaks[name]:.2f} GB" if name in peaks else "")
    if difference is not None:
        print(f"  mamba1's outputs and gradients differ from mambapy's by {difference:.0e} of the largest")
    ratios = {"ssd_vs_mambapy": ("mambapy", "ssd"), "ssd_vs_transformer": ("ssd", "transformer"),
              "mamba1_vs_mambapy": ("mambapy", "mamba1")}  # fmt: skip
    found: dict[str, Any] = {
        name: round(seconds[one] / seconds[other], 3)
        for name, (one, other) in ratios.items()
        if one in seconds and other in seconds
    }
    print(
        json.dumps({
            **found,
            **{f"{name}_seconds": round(took, 4) for name, took in seconds.items()},
            **{f"{name}_peak_gb": round(most, 3) for name, most in peaks.items()},
            "difference": difference,
            **{name: getattr(asked, name) for name in (*sizes, "rounds", "repeats")},
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "mambapy": importlib.metadata.version("mambapy"),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
