"""Language models and tokenizers, from a hub id, a folder, a GGUF file, or the recipe's own pre-training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from llmrec.errors import ModelFault
from llmrec.language.mamba2 import with_ssd
from llmrec.progress import leads
from llmrec.recipe.sections import Model


def load_tokenizer(section: Model, *, here: Path, built: Path | None = None) -> PreTrainedTokenizerBase:
    """The model's tokenizer. `built` is the pre-training stage's folder when the recipe builds its own model."""
    where, extra = _whereabouts(section, here, built)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=section.trust_remote_code, **extra)
    except (OSError, ValueError) as fault:
        raise ModelFault(_refusal(where, "tokenizer", fault)) from None
    if tokenizer.eos_token_id is None:
        raise ModelFault(f"{where}: the tokenizer has no end-of-sequence token; answers could not be ended.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked wherever it stands
    return tokenizer


def load_model(section: Model, *, here: Path, built: Path | None = None) -> PreTrainedModel:
    """The model's weights (safetensors or GGUF only), in `section.dtype`, quantised if asked, ready to evaluate."""
    if not (leads() and os.isatty(2)):
        disable_progress_bar()
    where, extra = _whereabouts(section, here, built)
    if not extra.get("gguf_file"):
        extra["use_safetensors"] = True  # never a pickle
    if section.quantize is not None:
        extra["quantization_config"] = _quantisation(section)
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            where, dtype=getattr(torch, section.dtype), trust_remote_code=section.trust_remote_code, **extra
        )
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as fault:
        raise ModelFault(_refusal(where, "model", fault)) from None
    if torch.cuda.is_available() and section.quantize is None:
        torch.nn.Module.to(model, "cuda")
    model.eval()
    return with_ssd(model)


def _whereabouts(section: Model, here: Path, built: Path | None) -> tuple[str, dict[str, Any]]:
    """What from_pretrained is given: a path or hub id, and what else it must be told."""
    if section.build is not None:
        if built is None or not (built / "config.json").exists():
            raise ModelFault("model.build: the model has not been pre-trained yet; run `llmrec pretrain RECIPE` first.")
        return str(built), {}
    assert section.name is not None
    path = (here / section.name).expanduser() if (here / section.name).exists() else Path(section.name).expanduser()
    if path.is_file():
        if path.suffix != ".gguf":
            raise ModelFault(
                f"model.name: {path} is a file, and not a .gguf; give a model's folder, a hub id, or a GGUF file."
            )
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelFault(f"model.name: {path} holds no config.json; give the folder that save_pretrained wrote.")
        if not list(path.glob("*.safetensors")):
            found = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
            raise ModelFault(f"model.name: {path} holds no weights (*.safetensors); found {found}.")
        return str(path), {}
    if section.name.startswith((".", "/", "~")):
        raise ModelFault(f"model.name: {path} does not exist.")
    return section.name, {"revision": section.revision} if section.revision else {}


def _quantisation(section: Model) -> Any:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise ModelFault(
            f"model.quantize: {section.quantize} needs bitsandbytes: pip install 'llmrec[quantize]'."
        ) from None
    from transformers import BitsAndBytesConfig

    if section.quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, section.dtype)
    )


def _refusal(where: str, what: str, fault: Exception) -> str:
    first = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
    return (
        f"model.name: the {what} of {where} could not be loaded: {first} "
        "A hub id needs the network once (`llmrec models get NAME`), or give a local folder."
    )
