"""What this machine and installation can do, what will be slow, and what is known to be wrong with it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from llmrec.errors import UserError

Level = Literal["ok", "note", "warning", "fault"]

# package: (first version that the tests pass with, first that they are not run with, why it is held)
SUPPORTED: dict[str, tuple[str, str | None, str]] = {
    "torch": ("2.6", None, ""),
    "transformers": ("5.20", "6", ""),
    "trl": ("1.16", "1.17", "ORPOTrainer is under trl.experimental, where anything may change in any release"),
    "peft": ("0.21", None, ""),
    "accelerate": ("1.10", None, ""),
    "datasets": ("4.0", None, ""),
    "polars": ("2.0", None, ""),
    "pydantic": ("2.12", None, ""),
    "huggingface-hub": ("2.0", None, ""),
}

# Up to this release mamba-ssm builds its CUDA code unless MAMBA_SKIP_CUDA_BUILD is set; after it, since 2026-07-07,
# only if MAMBA_KEEP_CUDA_BUILD is (state-spaces/mamba#977).
BUILT_UNLESS_SKIPPED = "2.3.2.post1"
MAMBA_BUILD = "MAMBA_KEEP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE"
MAMBA_NEEDS = ("tilelang", "apache-tvm-ffi", "quack-kernels", "triton")  # since 2.3.2

ROOM_GB = 5.0  # below this, checkpoints and a small model from the hub may not fit


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing: what was looked at, what was found, and what to do about it."""

    level: Level
    what: str
    words: str


def examine() -> list[Finding]:
    """Every finding, in the order in which they are read best. Nothing is changed, nothing is downloaded."""
    looks: list[Callable[[], Iterator[Finding]]] = [_python, _stack, _torch, _kernels, _engines, _known, _folders]
    return [finding for look in looks for finding in _guarded(look)]


def _guarded(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A broken library must not keep the doctor from saying the rest."""
    try:
        yield from look()
    except Exception as fault:
        yield Finding("fault", look.__name__.strip("_"), f"cannot be examined: {type(fault).__name__}: {fault}")


def _python() -> Iterator[Finding]:
    words = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("ok" if sys.version_info >= (3, 11) else "fault", "python", words)


def _stack() -> Iterator[Finding]:
    from packaging.version import Version

    for package, (low, high, why) in SUPPORTED.items():
        held = f">={low}" + (f",<{high}" if high else "")
        found = installed(package)
        if found is None:
            yield Finding("fault", package, f"is not installed; pip install '{package}{held}'")
        elif Version(found) < Version(low) or (high is not None and Version(found) >= Version(high)):
            reason = f" ({why})" if why else ""
            yield Finding("fault", package, f"{found} is not supported{reason}; pip install '{package}{held}'")
        else:
            yield Finding("ok", package, found)


def _torch() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(device)
            halves = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16: set train.bf16: false"
            words = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, {halves}"
            yield Finding("ok", f"cuda:{device}", words)
    elif torch.backends.mps.is_available():
        yield Finding("ok", "device", "mps (Apple); not among the machines that the tests run on")
    else:
        words = "no GPU: everything runs on the CPU; keep to models below some 500 M parameters"
        yield Finding("note", "device", words)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    words = f"{threads} of torch's on {cores} cores"
    if threads > cores:
        yield Finding("warning", "threads", f"{words}: more threads than cores is slower; set OMP_NUM_THREADS={cores}")
    elif threads < cores // 2:
        yield Finding("note", "threads", f"{words}; OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}")
    else:
        yield Finding("ok", "threads", words)


def _kernels() -> Iterator[Finding]:
    import torch

    from llmrec.ssm import backend

    try:
        chosen, why = backend.choice()
        yield Finding("ok", "state spaces", f"{backend.words(chosen)}, {why}")
    except UserError as fault:
        yield Finding("fault", "state spaces", str(fault))
    for package, look, build in (
        ("mamba-ssm", _mamba, f"{MAMBA_BUILD} pip install --no-build-isolation --no-binary mamba-ssm mamba-ssm"),
        ("causal-conv1d", _conv, "CAUSAL_CONV1D_FORCE_BUILD=TRUE pip install --no-build-isolation causal-conv1d"),
    ):
        found = installed(package)
        if torch.cuda.is_available():
            brings = f", brings {', '.join(MAMBA_NEEDS)}" if package == "mamba-ssm" else ""
            words = f"not installed: state spaces use plain torch; {build} (needs nvcc{brings})"
            yield look(found, build) if found else Finding("note", package, words)
        elif found:
            yield Finding("note", package, f"{found}, of no use without CUDA; plain torch is used")
        else:
            yield Finding("ok", package, "not installed, and not needed without CUDA")
    found = installed("mambapy")
    words = found or "not installed: Mamba-1 models train about five times slower on a CPU; pip install 'llmrec[cpu]'"
    yield Finding("ok" if found else "note", "mambapy", words)
    found = installed("bitsandbytes")
    words = found or "not installed: model.quantize needs it; pip install 'llmrec[quantize]'"
    yield Finding("ok" if found else "note", "bitsandbytes", words)


def _engines() -> Iterator[Finding]:
    """What reads and shuffles logs beside polars."""
    found = installed("duckdb")
    words = found or "not installed: `data.query` reads SQLite alone; pip install 'llmrec[sql]'"
    yield Finding("ok" if found else "note", "duckdb", words)
    found = installed("pyspark")
    if found is None:
        yield Finding(
            "ok", "pyspark", "not installed, and needed for data.engine: spark alone (pip install 'llmrec[spark]')"
        )
    elif shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        yield Finding("warning", "pyspark", f"{found} without Java, which it runs on: install Java 17 or later")
    else:
        yield Finding("ok", "pyspark", found)


def _mamba(found: str, build: str) -> Finding:
    """What is wrong with an installed mamba-ssm on a machine with a GPU: its builds without CUDA come in two kinds."""
    from packaging.version import Version

    from llmrec.ssm.backend import KERNELS

    broken, old = broken_import(KERNELS), Version(found) <= Version(BUILT_UNLESS_SKIPPED)
    if broken and "selective_scan_cuda" in broken and old:
        words = (
            f"{found} was built with MAMBA_SKIP_CUDA_BUILD, and releases up to {BUILT_UNLESS_SKIPPED} import "
            f"selective_scan_cuda all the same; unset it and build again: {build}"
        )
        return Finding("warning", "mamba-ssm", words)
    if broken:
        lacks = [] if Version(found) < Version("2.3.2") else [name for name in MAMBA_NEEDS if installed(name) is None]
        cause = f"{', '.join(lacks)} not installed" if lacks else "a wheel for another torch or CUDA"
        return Finding("warning", "mamba-ssm", f"{found} does not load ({broken}): {cause}; build it here: {build}")
    if broken_import("selective_scan_cuda"):
        words = "Mamba-2 has its kernels; Mamba-1, built only with MAMBA_KEEP_CUDA_BUILD=TRUE, uses plain torch"
        return Finding("note", "mamba-ssm", f"{found} without selective_scan_cuda: {words}: {build}")
    return Finding("ok", "mamba-ssm", f"{found}; the first steps are slow (30 to 250 s) while Triton tunes itself")


def _conv(found: str, build: str) -> Finding:
    broken = broken_import("causal_conv1d")
    if broken:
        wrong = f"{found} does not load ({broken}): a wheel for another torch or CUDA, or built without CUDA"
        return Finding("warning", "causal-conv1d", f"{wrong}; build it here: {build}")
    return Finding("ok", "causal-conv1d", found)


def _known() -> Iterator[Finding]:
    """What the libraries do that one would not expect, as of the versions that llmrec is held to."""
    quiet = any(os.environ.get(name) for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "CI", "DO_NOT_TRACK"))
    words = "off" if quiet else "trl 1.16 reports each trainer it makes to the hub; HF_HUB_DISABLE_TELEMETRY=1 stops it"
    yield Finding("ok" if quiet else "note", "telemetry", words)
    yield Finding(
        "note",
        "two processes on a CPU",
        "accelerate with distributed_type MULTI_CPU and no MPI silently starts one; use recipes/accelerate/cpu-2.yaml",
    )
    if os.environ.get("HF_HUB_OFFLINE"):
        yield Finding("note", "hub", "HF_HUB_OFFLINE is set: only models that are cached can be loaded")


def _folders() -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from llmrec import resources
    from llmrec.data.sources import home

    for what, folder in (
        ("run folders", Path(os.environ.get("LLMREC_RUNS", "runs"))),
        ("dataset cache", home()),
        ("model cache", Path(HF_HUB_CACHE)),
    ):
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        free = shutil.disk_usage(there).free / 2**30
        words = f"{folder}, {free:,.0f} GiB free"
        if not there.is_dir() or not os.access(there, os.W_OK):
            words = f"{folder} may not be written; change its permissions, or choose another folder"
            yield Finding("fault", what, words)
        elif free < ROOM_GB:
            yield Finding("warning", what, f"{words}: checkpoints and models may not fit")
        else:
            yield Finding("ok", what, words)
    kinds: tuple[resources.Kind, ...] = ("recipes", "prompts", "data")
    for kind in kinds:
        if not resources.shipped(kind):
            yield Finding("fault", kind, "none are shipped: a broken installation; install llmrec again")


def installed(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def broken_import(module: str) -> str | None:
    """The first line of what importing a module raises, or None where it loads."""
    import importlib

    try:
        importlib.import_module(module)
    except Exception as fault:
        return str(fault).splitlines()[0] if str(fault) else type(fault).__name__
    return None
