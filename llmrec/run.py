"""A run: the folder where a recipe was done, stage by stage.

A finished stage is a folder with a `stage.json`: its fingerprint, and the hash of every file that it wrote. The
fingerprint covers what the stage reads of the recipe and the hashes of its inputs, never the whole recipe: changing
what is measured retrains nothing, and a stage with the same fingerprint in a neighbouring run is taken from there.

A stage works in `.partial/<stage>` and is renamed when it is whole. A killed run leaves that folder, and a stage that
keeps checkpoints goes on from them.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from llmrec import __version__
from llmrec.errors import RunFault
from llmrec.files import digest, write_text
from llmrec.launch import processes
from llmrec.progress import leads, note

FORMAT = 2  # of the stages' files: raise it when an old stage must not be taken for a new one
RECORD = "stage.json"
FINGERPRINT = ".fingerprint"  # of the stage that a partial folder is for
SHARED = "parts"  # in a partial folder: what several processes write, and the stage itself takes away at its end
PACKAGES = [
    "accelerate",
    "bitsandbytes",
    "causal-conv1d",
    "datasets",
    "jinja2",
    "mamba-ssm",
    "numpy",
    "peft",
    "polars",
    "pydantic",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
]


@dataclass(frozen=True)
class Stage:
    """One step of a run: what it reads, what it needs, and the work itself."""

    name: str
    """Its folder in the run: `prepare`, `train/orpo`."""
    verb: str
    """The command that does it."""
    reads: Mapping[str, Any]
    """What it reads of the recipe."""
    needs: tuple[str, ...]
    """The stages whose files it reads."""
    work: Callable[[Path], None] = field(compare=False)
    """Does it, into the folder that it is given."""


class Run:
    """The folder `runs/<name>`, and which of its stages are done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, stage: str) -> Path:
        """The folder of a stage."""
        return self.folder / stage

    def record(self, stage: str) -> dict[str, Any]:
        """A finished stage's stage.json; empty if it is not finished, or some file that it wrote is gone."""
        return _record(self.path(stage))

    def fingerprint(self, stage: Stage) -> str:
        """What the stage's result depends on, as one hash. Raises RunFault naming the command for a missing input."""
        inputs = {}
        for need in stage.needs:
            record = self.record(need)
            if not record:
                raise RunFault(
                    f"{stage.name} reads what {need} writes, and {self.path(need)} is not finished. "
                    f"Run `llmrec {_verb(need)} RECIPE` first, or `llmrec run RECIPE` for everything."
                )
            inputs[need] = record["outputs"]
        whole = {"format": FORMAT, "stage": stage.name, "reads": stage.reads, "inputs": inputs}
        return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()

    def do(self, stage: Stage) -> bool:
        """Does the stage unless it is done, here or in a neighbouring run; whether there was anything to do."""
        fingerprint = self.fingerprint(stage)
        if self.record(stage.name).get("fingerprint") == fingerprint:
            note(f"{stage.name}: done already")
            return False
        partial = self.folder / ".partial" / stage.name
        whole = _record(partial).get("fingerprint") == fingerprint  # killed before it could take its name
        twin = None if whole else self._twin(stage, fingerprint)
        if leads() and not whole:
            if not partial.exists() or _text(partial / FINGERPRINT) != fingerprint:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                (partial / FINGERPRINT).write_text(fingerprint)
            else:
                note(f"{stage.name}: going on with what an interrupted run left")
                _forget_half_written(partial)
        _together(on_cpu=bool((stage.reads.get("train") or {}).get("use_cpu")))
        if whole:
            if leads():
                self._finish(stage, partial)
            return True
        if twin is not None:
            note(f"{stage.name}: taken from {twin}")
            if leads():
                shutil.rmtree(partial)
                shutil.copytree(twin, partial, copy_function=_link)
                self._finish(stage, partial)
            return True
        note(f"{stage.name} ...")
        began, started = time.monotonic(), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        _forget_peak()
        stage.work(partial)
        if leads():
            record = {
                "stage": stage.name,
                "fingerprint": fingerprint,
                "started": started,
                "seconds": round(time.monotonic() - began, 2),
                "peak_rss_gb": round(peak_rss_gb(), 3),
                "device": _device(),
                "reads": stage.reads,
                "outputs": _hashes(partial),
            }
            (partial / RECORD).write_text(json.dumps(record, indent=1, default=str))
            self._finish(stage, partial)
            note(f"{stage.name}: {record['seconds']:.1f} s, {record['peak_rss_gb']:.1f} GB at most")
        return True

    def share(self, stage: Stage) -> Path | None:
        """The stage's partial folder, for one of several processes that fill it; None where the stage is done.

        Whoever comes first makes it, in one step, and puts what belongs to another fingerprint aside; nothing in it is
        taken away from those who are writing there.
        """
        fingerprint = self.fingerprint(stage)
        if self.record(stage.name).get("fingerprint") == fingerprint:
            note(f"{stage.name}: done already")
            return None
        partial = self.folder / ".partial" / stage.name
        aside = partial.with_name(f"{partial.name}.{platform.node()}.{os.getpid()}")
        while (found := _text(partial / FINGERPRINT)) != fingerprint:
            shutil.rmtree(aside, ignore_errors=True)
            if found is not None or partial.exists():
                os.rename(partial, aside)
                if _text(aside / FINGERPRINT) == fingerprint:  # another process has just made it
                    os.rename(aside, partial)
                continue
            aside.mkdir(parents=True)
            (aside / FINGERPRINT).write_text(fingerprint)
            with contextlib.suppress(OSError):
                os.rename(aside, partial)
        shutil.rmtree(aside, ignore_errors=True)
        return partial

    def open(self, recipe_yaml: str, facts: Mapping[str, Any]) -> None:
        """Makes the folder and writes recipe.yaml and manifest.json. Raises RunFault where that cannot be."""
        if not leads():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(recipe_yaml, self.folder / "recipe.yaml")
            write_text(json.dumps({**_circumstances(), **facts}, indent=1, default=str), self.folder / "manifest.json")
        except OSError as fault:
            raise RunFault(
                f"{self.folder}: the run's folder cannot be written ({fault.strerror}). Choose another with --runs."
            ) from None

    def close(self, stages: list[Stage]) -> None:
        """Adds to manifest.json what every stage wrote."""
        if leads():
            manifest = json.loads((self.folder / "manifest.json").read_text())
            manifest["stages"] = {
                s.name: {k: self.record(s.name).get(k) for k in ("fingerprint", "outputs")} for s in stages
            }
            write_text(json.dumps(manifest, indent=1), self.folder / "manifest.json")

    def _twin(self, stage: Stage, fingerprint: str) -> Path | None:
        """The same stage, finished with the same fingerprint, in a neighbouring run."""
        for path in sorted(self.folder.parent.glob(f"*/{stage.name}/{RECORD}")):
            other = path.parents[len(Path(stage.name).parts)] != self.folder
            if other and _record(path.parent).get("fingerprint") == fingerprint:
                return path.parent
        return None

    def _finish(self, stage: Stage, partial: Path) -> None:
        """The whole folder takes its place under its own name; what was there before goes."""
        (partial / FINGERPRINT).unlink(missing_ok=True)
        final = self.path(stage.name)
        final.parent.mkdir(parents=True, exist_ok=True)
        old = partial.with_name(partial.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            os.replace(final, old)
        os.replace(partial, final)
        shutil.rmtree(old, ignore_errors=True)


def peak_rss_gb() -> float:
    """The most memory that this process has held since the stage began (on Linux; elsewhere, since it started)."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1e6
    except (OSError, IndexError, ValueError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1e9 if sys.platform == "darwin" else 1e6)


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, see proc(5)


def _record(folder: Path) -> dict[str, Any]:
    """The stage.json in a folder that still holds everything that it names; else empty."""
    try:
        found: dict[str, Any] = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return found if all((folder / name).is_file() for name in found.get("outputs", {})) else {}


def _forget_half_written(folder: Path) -> None:
    """Removes files under temporary names, `.<name>.<process>`: whoever wrote them is gone. Not SHARED ones."""
    for path in folder.rglob(".*"):
        if path.is_file() and path.name != FINGERPRINT and SHARED not in path.relative_to(folder).parts:
            path.unlink()


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (RECORD, FINGERPRINT))
    return {path.relative_to(folder).as_posix(): digest(path) for path in files}


def _circumstances() -> dict[str, Any]:
    """Who did it: versions, machine, code."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "llmrec": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "device": _device(),
        "versions": versions,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """The checkout's commit, read from .git without running git; None in an installed package."""
    git = Path(__file__).parent.parent / ".git"
    head = _text(git / "HEAD")
    if head is None:
        return None
    return _text(git / head[5:]) if head.startswith("ref: ") else head


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return "cpu"


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _link(source: str, target: str) -> str:
    """A hard link where the file system has them: a shared stage takes no room."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _together(*, on_cpu: bool) -> None:
    """Waits until every process of a launch is here. The first to say so decides how they talk: gloo on CPUs."""
    if processes() > 1:
        from accelerate import PartialState

        PartialState(cpu=on_cpu or not sys.modules["torch"].cuda.is_available()).wait_for_everyone()


def _verb(stage: str) -> str:
    parts = stage.split("/")
    head = (parts[2] if parts[0] == "rounds" else parts[0]).split("-")[0]  # rounds/1/train/orpo
    return {"rankings": "rank", "candidates": "rank"}.get(head, head)
