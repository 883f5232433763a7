"""`llmrec`, launched with its weights shared out (FSDP) on CPUs, where accelerate 1.15 offers data parallelism alone.

Started by tests/language/test_launch.py through `accelerate launch`. accelerate is told that the processes are GPUs and
that their device is the CPU; sharding, gathering and saving are torch's and its own.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType


def backend(state: PartialState, *args: Any, **kwargs: Any) -> tuple[str, DistributedType]:
    return "gloo", DistributedType.MULTI_GPU


def on_cpu(state: PartialState) -> None:
    state.device = torch.device("cpu")


if __name__ == "__main__":
    PartialState._prepare_backend, PartialState.set_device = backend, on_cpu
    torch.distributed.init_process_group("gloo")

    from llmrec.cli import main

    main()
