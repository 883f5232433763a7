"""GGUF files, llama.cpp's format: transformers reads them, and unpacks their weights into ordinary ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import GgufConfig

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
    """Every weight as numbers: beside weights that stay in the file's blocks LoRA cannot train, and trainers refuse."""
    return GgufConfig(dequantize=True)
