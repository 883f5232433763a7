"""Where a fit is, in one file: weights, best weights and optimizer as safetensors, progress as its JSON header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from llmrec.files import replacing, write_text
from llmrec.progress import note
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.adaptive import Adapting
from llmrec.retriever.model import Retriever

CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"


@dataclass(frozen=True)
class Epoch:
    """One pass: the mean loss of a position, NDCG@10 on validation if there is one, and the seconds it took.

    `adapted` is where a batch and a step that set themselves stood at its end.
    """

    number: int
    loss: float
    ndcg: float | None
    seconds: float
    adapted: dict[str, float | int | None] | None = None

    def record(self) -> dict[str, float | int | None]:
        """The epoch as a line of log.jsonl."""
        quality = None if self.ndcg is None else round(self.ndcg, 6)
        return {
            "epoch": self.number,
            "loss": round(self.loss, 6),
            "ndcg@10": quality,
            "seconds": round(self.seconds, 3),
            **(self.adapted or {}),
        }


@dataclass
class Checkpoint:
    """The epochs so far, and the best weights among them (None while nothing measures them)."""

    epochs: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_epoch: int = 0

    @property
    def since_best(self) -> int:
        """Epochs since the best."""
        return len(self.epochs) - self.best_epoch

    def add(self, epoch: Epoch, model: Retriever) -> None:
        """Notes an epoch, and keeps the model's weights if it is the best yet."""
        self.epochs.append(epoch)
        if epoch.ndcg is None:
            self.best_epoch = epoch.number
        elif self.best is None or epoch.ndcg > (self.epochs[self.best_epoch - 1].ndcg or 0.0):
            self.best = {name: weight.detach().clone() for name, weight in model.state_dict().items()}
            self.best_epoch = epoch.number

    def line(self) -> str:
        """How good it is, for people: the last loss, the best NDCG@10 on validation, and what has set itself."""
        best = self.epochs[self.best_epoch - 1]
        quality = "" if best.ndcg is None else f", ndcg@10 {best.ndcg:.4f} at best (epoch {best.number})"
        return f"loss {self.epochs[-1].loss:.3f}{quality}{_adapted(self.epochs[-1].adapted)}"


def _adapted(found: dict[str, float | int | None] | None) -> str:
    if found is None:
        return ""
    scale = "" if found["noise_scale"] is None else f", noise scale {found['noise_scale']:,.0f}"
    return f", batch {found['batch']:,}{scale}, step size {found['step_size']:.3g}"


def identity(section: Section, rows: Sequence[np.ndarray], seed: int, n_items: int) -> str:
    """Names a fit: the same settings, seed and rows (histories, and their times) give the same name."""
    digest = hashlib.sha256(f"{section.model_dump_json()} {seed} {n_items} {torch.__version__}".encode())
    for row in rows:
        digest.update(len(row).to_bytes(8, "little") + np.ascontiguousarray(row).tobytes())
    return digest.hexdigest()


def store(
    out: Path,
    at: Checkpoint,
    model: Retriever,
    optimizer: torch.optim.Optimizer,
    of: str,
    adapting: Adapting | None = None,
) -> None:
    """Replaces the checkpoint of fit `of` in `out`; a reader meets the old one or the new one, whole."""
    tensors = {f"weights/{name}": weight for name, weight in model.state_dict().items()}
    tensors |= {f"best/{name}": weight for name, weight in (at.best or {}).items()}
    numbers: dict[str, dict[str, Any]] = {}  # some optimizers keep some beside their tensors
    for name, weight in model.named_parameters():
        for key, value in optimizer.state.get(weight, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{name}/{key}"] = value
            else:
                numbers.setdefault(name, {})[key] = value
    progress = {
        "of": of,
        "best_epoch": at.best_epoch,
        "epochs": [asdict(epoch) for epoch in at.epochs],
        "numbers": numbers,
        "groups": [{key: _plain(value) for key, value in group.items() if key != "params"}
                   for group in optimizer.param_groups],
        "adapting": None if adapting is None else adapting.state_dict(),
    }  # fmt: skip
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(out / CHECKPOINT) as partial:
        save_file(contiguous, partial, metadata={"progress": json.dumps(progress)})


def restore(
    out: Path,
    model: Retriever,
    optimizer: torch.optim.Optimizer,
    of: str,
    adapting: Adapting | None = None,
) -> Checkpoint | None:
    """Puts all of them where the checkpoint in `out` left them; None when there is none of fit `of`."""
    path = out / CHECKPOINT
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt", device=str(model.device)) as file:
            progress = json.loads((file.metadata() or {})["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, KeyError, ValueError) as fault:
        note(f"{path}: damaged ({str(fault).splitlines()[0]}); starting over.")
        return None
    if progress["of"] != of:
        note(f"{path}: of other settings, seed or histories; starting over.")
        return None
    model.load_state_dict(_under("weights/", tensors))
    for name, weight in model.named_parameters():
        optimizer.state[weight] = {**_under(f"optimizer/{name}/", tensors), **progress["numbers"].get(name, {})}
    for group, saved in zip(optimizer.param_groups, progress["groups"], strict=True):
        group.update({key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()})
    if adapting is not None:
        adapting.load_state_dict(progress["adapting"])
    best = _under("best/", tensors)
    at = Checkpoint([Epoch(**epoch) for epoch in progress["epochs"]], best or None, progress["best_epoch"])
    note(f"{path}: going on after epoch {len(at.epochs)}.")
    return at


def write_log(out: Path, epochs: Sequence[Epoch]) -> None:
    """log.jsonl, a line an epoch: `epoch, loss, ndcg@10, seconds`, and what Adapting.record says."""
    write_text("".join(json.dumps(epoch.record()) + "\n" for epoch in epochs), out / LOG)


def clear(out: Path) -> None:
    """Forgets the checkpoint, once the model is saved."""
    (out / CHECKPOINT).unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
