"""GGUF files, llama.cpp's format: transformers reads them, and unpacks their weights into ordinary ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import GgufConfig, PreTrainedModel

from llmrec.errors import ModelFault

MAGIC = b"GGUF"


def source(path: Path) -> tuple[str, dict[str, Any]]:
    """What from_pretrained is told to read the tokenizer or the model of `path`.

    Raises ModelFault where the file is no GGUF file, or the package that reads them is not installed.
    """
    if path.suffix != ".gguf":
        raise ModelFault(
            f"model.name: {path} is a file, and not a .gguf; give a model's folder, a hub id, or a GGUF file."
        )
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    if start != MAGIC:
        raise ModelFault(f"model.name: {path} is no GGUF file: it starts with {start!r}, not with {MAGIC!r}.")
    try:
        import gguf  # noqa: F401
    except ImportError:
        raise ModelFault(f"model.name: {path} is read with the gguf package: pip install 'llmrec[gguf]'.") from None
    return str(path.parent), {"gguf_file": path.name}


def unpacking() -> GgufConfig:
    """Every weight as numbers: LoRA cannot train beside weights that stay in the file's blocks."""
    return GgufConfig(dequantize=True)


def unpacked(model: PreTrainedModel, file: Path) -> None:
    """Takes the label "quantised" off a model whose weights are ordinary now: trainers refuse to tune what wears it.

    What it is called, which an adapter remembers as its base, becomes the file; folders hold several.
    """
    model.name_or_path = str(file)
    quantiser = getattr(model, "hf_quantizer", None)
    if quantiser is not None:
        quantiser.remove_quantization_config(model)
