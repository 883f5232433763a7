"""How many processes a launch has and which one this is, read from what launchers leave in the environment."""

from __future__ import annotations

import os

from llmrec.errors import RunFault

# torchrun's and accelerate's, then those of the MPIs that accelerate knows, in the order in which it asks.
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def processes() -> int:
    """How many processes were started together; 1 without a launcher."""
    return _first(SIZES, 1)


def rank() -> int:
    """Which of them this one is; 0 leads."""
    return _first(RANKS, 0)


def shares_weights() -> bool:
    """Whether this launch gives each process a part of the model's weights (FSDP, DeepSpeed's ZeRO 3)."""
    return os.environ.get("ACCELERATE_USE_FSDP") == "true" or os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3"


def refuse_launch(verb: str) -> None:
    """Raises RunFault in a launch: only training is shared, and two processes would race for a stage's folder."""
    expect_all_processes()
    if processes() > 1:
        raise RunFault(
            f"llmrec {verb} runs in one process, and this is one of {processes()}. Launch only `train`: "
            "accelerate launch -m llmrec train RECIPE, after `llmrec pairs RECIPE`."
        )


def expect_all_processes() -> None:
    """Raises RunFault when `accelerate launch` was asked for several processes and started this one alone.

    It does so without a word for distributed_type MULTI_CPU, `--cpu` and machines with fewer than two GPUs (accelerate
    1.15), unless MPI starts the processes. What it asked for is not in the environment; that it set a meeting point
    (MASTER_ADDR) is, and it does that only for more than one process, while every launcher that does start several
    numbers them.
    """
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    if by_accelerate and os.environ.get("MASTER_ADDR") and not any(os.environ.get(name) for name in SIZES):
        raise RunFault(
            "accelerate launch: several processes were asked for and one was started, which is what accelerate does "
            "with --cpu, with MULTI_CPU and with too few GPUs. For two on a CPU: accelerate launch --config_file "
            "recipes/accelerate/cpu-2.yaml -m llmrec train RECIPE. If one is meant, say --num_processes 1 (and unset "
            "MASTER_ADDR if you set it)."
        )


def _first(names: tuple[str, ...], otherwise: int) -> int:
    return next((int(os.environ[name]) for name in names if os.environ.get(name)), otherwise)
