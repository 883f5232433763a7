"""The retriever's network with its files: weights that have a name, are written whole, and are refused when damaged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Self

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmrec.errors import ModelFault
from llmrec.files import replacing, write_json
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.network import Network

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Saved(Network):
    """A network that can be saved and loaded, and says which weights it has."""

    def __init__(self, n_items: int, section: Section) -> None:
        super().__init__(n_items, section)
        self._named: tuple[tuple[int, ...], str] | None = None
        self._weights = tuple(self.parameters())  # walking through the modules takes longer than an event's products

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that say which weights these are."""
        versions = tuple(weight._version for weight in self._weights)  # grows when a tensor is written to
        if self._named is None or self._named[0] != versions:
            digest = hashlib.sha256()
            for name, weight in self.state_dict().items():
                digest.update(name.encode() + weight.detach().cpu().contiguous().numpy().tobytes())
            self._named = versions, digest.hexdigest()[:16]
        return self._named[1]

    def save(self, folder: Path) -> None:
        """Writes model.safetensors and, when that is whole, config.json."""
        with replacing(folder / WEIGHTS) as partial:
            save_file({name: weight.detach().cpu().contiguous() for name, weight in self.state_dict().items()}, partial)
        write_json({"n_items": self.n_items, "retriever": self.section.model_dump(mode="json")}, folder / CONFIG)

    @classmethod
    def load(cls, folder: Path, *, n_items: int | None = None) -> Self:
        """A saved retriever, ready to score. `n_items` is the size of the catalogue that it will be asked about.

        Raises ModelFault when files are missing or damaged, a weight is not finite, or the catalogue is another one.
        """
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            model = cls(int(config["n_items"]), Section.model_validate(config["retriever"]))
            weights = load_file(folder / WEIGHTS)
        except FileNotFoundError as fault:
            raise ModelFault(
                f"{fault.filename or folder}: not there. Fit the retriever first: llmrec retrieve."
            ) from None
        except (SafetensorError, ValidationError, ValueError, KeyError, TypeError) as fault:
            line = str(fault).splitlines()[0]
            raise ModelFault(
                f"{folder}: not a retriever, or damaged ({line}). Fit it again: llmrec retrieve."
            ) from None
        if n_items is not None and n_items != model.n_items:
            raise ModelFault(
                f"{folder}: fitted on a catalogue of {model.n_items:,} items, and this one has {n_items:,}. Item codes "
                "mean nothing elsewhere: fit the retriever on this catalogue."
            )
        model.take(weights, folder / WEIGHTS)
        return model.eval()

    def take(self, weights: dict[str, Tensor], where: Path | str) -> None:
        """Loads weights by name. Raises ModelFault when one is missing, of another shape, or not finite."""
        shapes = {name: weight.shape for name, weight in self.state_dict().items()}
        if shapes != {name: weight.shape for name, weight in weights.items()}:
            raise ModelFault(f"{where}: its tensors are not those that {CONFIG} describes. Fit it again.")
        for name, weight in weights.items():
            if not torch.isfinite(weight).all():
                raise ModelFault(f"{where}: {name} holds values that are not finite. Fit it again.")
        self.load_state_dict(weights)
