"""Which implementation of the recurrences runs: plain torch, or mamba-ssm's kernels where there is a GPU for them.

Chosen once a process. Only tensors on a GPU ever reach the kernels; on a CPU there is plain torch whatever is chosen.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from importlib import metadata
from typing import Literal

import torch

from llmrec.errors import UserError
from llmrec.progress import note

Backend = Literal["torch", "mamba_ssm"]
VARIABLE = "LLMREC_SSM_BACKEND"
KERNELS = "mamba_ssm.ops.triton.ssd_combined"  # without this module there is nothing to gain from the package


@functools.cache
def backend() -> Backend:
    """What this process computes with, noted where there is a choice. Raises UserError as `choice` does."""
    chosen, why = choice()
    if torch.cuda.is_available() or os.environ.get(VARIABLE):
        note(f"State spaces: {words(chosen)}, {why}.")
    return chosen


def choice() -> tuple[Backend, str]:
    """The implementation and the reason: `LLMREC_SSM_BACKEND` where it is set, else what this machine allows.

    Raises UserError where the variable asks for what there is not.
    """
    wish = os.environ.get(VARIABLE)
    if wish not in (None, "", "torch", "mamba_ssm"):
        raise UserError(f"{VARIABLE} is {wish!r}, and there are torch and mamba_ssm. Set one of these, or unset it.")
    if wish == "torch":
        return "torch", f"because {VARIABLE} says so"
    missing = absent()
    if wish == "mamba_ssm":
        if missing:
            raise UserError(
                f"{VARIABLE} is mamba_ssm, but {missing}. Unset it or set it to torch for plain torch; "
                "`llmrec doctor` says how to install the kernels."
            )
        return "mamba_ssm", f"because {VARIABLE} says so"
    return (
        ("torch", f"because {missing}")
        if missing
        else ("mamba_ssm", f"which load here; {VARIABLE}=torch takes plain torch")
    )


def absent() -> str | None:
    """Why the kernels cannot be used here, or None where they can."""
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if importlib.util.find_spec("mamba_ssm") is None:
        return "mamba-ssm is not installed"
    try:
        importlib.import_module(KERNELS)
    except Exception as fault:  # a wheel for another torch or CUDA fails in many ways
        return f"mamba-ssm does not load ({(str(fault).splitlines() or [type(fault).__name__])[0]})"
    return None


def words(backend: Backend) -> str:
    """The implementation by the name that people know."""
    if backend == "torch":
        return "plain torch"
    try:
        return f"the kernels of mamba-ssm {metadata.version('mamba-ssm')}"
    except metadata.PackageNotFoundError:  # on the path without having been installed
        return "the kernels of mamba-ssm"
