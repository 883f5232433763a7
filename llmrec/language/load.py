"""Language models and tokenizers, from a hub id, a folder, a GGUF file, or the recipe's own pre-training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from llmrec.errors import ModelFault
from llmrec.language import gguf_file, hub, packaged, quantised
from llmrec.language.mamba2 import with_ssd
from llmrec.launch import shares_weights
from llmrec.progress import watched
from llmrec.recipe.sections import Model


def hide_bars() -> None:
    """No bars of transformers' unless somebody watches."""
    if not watched():
        disable_progress_bar()


def load_tokenizer(section: Model, *, here: Path, built: Path | None = None) -> PreTrainedTokenizerBase:
    """The model's tokenizer. `built` is the pre-training stage's folder when the recipe builds its own model."""
    where, extra = _whereabouts(section, here, built)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=section.trust_remote_code, **extra)
    except Exception as fault:  # tokenizers raises bare Exceptions, a damaged GGUF any kind
        raise ModelFault(_refusal(where, "tokenizer", fault, extra)) from None
    if tokenizer.eos_token_id is None:
        raise ModelFault(f"{where}: the tokenizer has no end-of-sequence token; answers could not be ended.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked wherever it stands
    return tokenizer


def load_config(section: Model, *, here: Path, built: Path | None = None) -> Any:
    """The model's transformers config, without its weights; None for a GGUF file, which is slow to open."""
    where, extra = _whereabouts(section, here, built)
    if "gguf_file" in extra:
        return None
    try:
        return AutoConfig.from_pretrained(where, trust_remote_code=section.trust_remote_code, **extra)
    except Exception as fault:
        raise ModelFault(_refusal(where, "model", fault, extra)) from None


def load_model(section: Model, *, here: Path, built: Path | None = None) -> PreTrainedModel:
    """The model's weights (safetensors or GGUF only), in `section.dtype`, quantised if asked, ready to evaluate.

    Raises ModelFault where there are none, they are damaged or not all there, or cannot be quantised.
    """
    hide_bars()
    where, extra = _whereabouts(section, here, built)
    gguf = "gguf_file" in extra
    if gguf and section.quantize is not None:
        raise ModelFault(f"model.quantize: {section.name} is a GGUF file, which is unpacked, not quantised again.")
    asked = {"trust_remote_code": section.trust_remote_code, **extra}
    # Never a pickle.
    how: dict[str, Any] = {"quantization_config": gguf_file.unpacking()} if gguf else {"use_safetensors": True}
    try:
        if section.quantize is not None:
            how["config"] = AutoConfig.from_pretrained(where, **asked)
            how["quantization_config"] = quantised.quantisation(section, how["config"])
        both: Any = AutoModelForCausalLM.from_pretrained(
            where, dtype=getattr(torch, section.dtype), output_loading_info=True, **asked, **how
        )
    except ModelFault:
        raise
    except Exception as fault:  # safetensors, remote code and a damaged GGUF raise any kind
        raise ModelFault(_refusal(where, "model", fault, extra)) from None
    model: PreTrainedModel = both[0]
    if missing := sorted(both[1]["missing_keys"]):
        raise ModelFault(
            f"model.name: {where} lacks {len(missing)} of the model's weights, first {missing[0]}; they would be drawn "
            "at random. Give the whole checkpoint of a causal language model."
        )
    if gguf:
        model.name_or_path = str(Path(where) / extra["gguf_file"])  # an adapter's base; folders hold several files
    if section.quantize is not None:
        quantised.steady(model)
    elif torch.cuda.is_available() and not shares_weights():  # whole it may not fit
        torch.nn.Module.to(model, "cuda")
    model.eval()
    return with_ssd(model)


def refuse_strangers(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Raises ModelFault if the tokenizer's end, start or padding token has no embedding in the model."""
    table: Any = model.get_input_embeddings()
    words = table.weight.shape[0]
    for name in ("bos_token", "eos_token", "pad_token"):
        number = getattr(tokenizer, f"{name}_id")
        if number is not None and number >= words:
            raise ModelFault(
                f"model.name: the tokenizer's {name} {getattr(tokenizer, name)!r} is number {number}, and the model "
                f"has {words} embeddings: they do not belong together."
            )


def _whereabouts(section: Model, here: Path, built: Path | None) -> tuple[str, dict[str, Any]]:
    """What from_pretrained is given: a path or hub id, and what else it must be told."""
    if section.build is not None:
        if built is None or not (built / "config.json").exists():
            raise ModelFault("model.build: the model has not been pre-trained yet; run `llmrec pretrain RECIPE` first.")
        return str(built), {}
    assert section.name is not None
    if section.name in packaged.PACKAGED and not (here / section.name).exists():
        if not (packaged.folder_of(section.name) / "config.json").exists():
            raise ModelFault(
                f"model.name: {section.name} is not on this machine yet. Fetch it: llmrec models get {section.name}."
            )
        return str(packaged.folder_of(section.name)), {}
    path = (here / section.name).expanduser() if (here / section.name).exists() else Path(section.name).expanduser()
    if path.is_file():
        return gguf_file.source(path)
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


def _refusal(where: str, what: str, fault: Exception, extra: dict[str, Any]) -> str:
    first = (str(fault).strip().splitlines() or [type(fault).__name__])[0].rstrip(".")
    if "custom code" in first:
        return (
            f"model.name: the {what} of {where} needs Python code that comes with it, and that is not run. Read that "
            "code, then set model.trust_remote_code: true; or choose a model that transformers knows."
        )
    if "gguf_file" in extra:
        file = Path(where) / extra["gguf_file"]
        return (
            f"model.name: the {what} of {file} could not be loaded: {first}. The file is damaged or cut short, or of "
            "a kind that transformers cannot read; fetch it again, or give the model's safetensors."
        )
    said = None if Path(where).exists() else hub.explained(where, extra.get("revision"), fault)
    if said:
        return f"model.name: {said} Nor is there a folder of that name here."
    return f"model.name: the {what} of {where} could not be loaded: {first}."
