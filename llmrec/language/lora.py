"""LoRA adapters: from the recipe's `lora` section to a model whose adapter is the only thing that trains."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from llmrec.errors import ModelFault
from llmrec.language import mamba
from llmrec.language.quantised import is_quantised

DEFAULTS = {"r": 16, "lora_alpha": 32}


def adapted(model: PreTrainedModel, section: dict[str, Any], *, here: Path) -> PeftModel:
    """The model with a fresh adapter, or with the one at `init_from` (a folder, relative to the recipe's) going on.

    `section` has peft.LoraConfig's fields. The config is built here and not by TRL, which collapses a one-element
    `target_modules` into a string that PEFT reads as a pattern. Raises ModelFault for targets that do not exist or
    would never train.
    """
    fields = dict(section)
    start = fields.pop("init_from", None)
    if start is not None:
        folder = here / Path(start).expanduser()
        if not (folder / "adapter_config.json").exists():
            raise ModelFault(
                f"lora.init_from: {folder} holds no adapter_config.json; give the folder of a saved adapter."
            )
        return with_adapter(model, folder, trainable=True)
    if mamba.is_mamba(model.config):
        fields["target_modules"] = mamba.checked_targets(fields.get("target_modules"))
    fields.setdefault("target_modules", "all-linear")
    try:
        with _old_name():
            return _small(get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **{**DEFAULTS, **fields})))
    except ValueError as fault:
        raise ModelFault(f"lora: {str(fault).splitlines()[0]}") from None


def with_adapter(model: PreTrainedModel, folder: Path, *, trainable: bool = False) -> PeftModel:
    """The model with the adapter saved in `folder`. Raises ModelFault where that is damaged or of another base."""
    try:
        with _old_name(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # said below, as a fault
            tuned = PeftModel.from_pretrained(model, folder, is_trainable=trainable)
        saved = load_file(folder / "adapter_model.safetensors")
    except (RuntimeError, ValueError, KeyError, TypeError, OSError, SafetensorError) as fault:
        line = next((line.strip() for line in reversed(str(fault).splitlines()) if line.strip()), type(fault).__name__)
        raise ModelFault(
            f"{folder}: not an adapter that fits {_name(model)} ({line}). An adapter belongs to the model that it was "
            "tuned on; name that one, or tune a new adapter."
        ) from None
    wanted = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    if {name: t.shape for name, t in saved.items()} != {name: t.shape for name, t in wanted.items()}:
        raise ModelFault(
            f"{folder}: has {len(saved)} tensors, and {_name(model)} with its targets has {len(wanted)}: it was tuned "
            "on another model. Name that one, or tune a new adapter."
        )
    return _small(tuned)


def _name(model: PreTrainedModel) -> str:
    return str(getattr(model, "name_or_path", "") or "this model")


def tuned(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model as it was tuned, to rank with: the adapter in `folder` merged where that is exact, else beside it.

    float32 weights hold the sum to seven digits. Weights in fewer bits would be rounded anew: on a small model that
    moves logits by an eighth of what the adapter moves them in 4 bits, and by a hundredth in 8 bits and in bfloat16.
    """
    exact = model.dtype == torch.float32 and not is_quantised(model)
    beside = with_adapter(model, folder)
    whole: Any = beside.merge_and_unload() if exact else beside.get_base_model()
    ready: PreTrainedModel = whole.eval()
    return ready


def _small(model: PeftModel) -> PeftModel:
    """Keeps whole embeddings out of what is saved, at checkpoints too: nothing here resizes them.

    To find that out, PEFT would ask the hub about the model at every checkpoint, or warn that it could not.
    """
    model.save_pretrained = functools.partial(model.save_pretrained, save_embedding_layers=False)  # type: ignore[method-assign]
    return model


@contextmanager
def _old_name() -> Iterator[None]:
    """PEFT 0.21 asks transformers 5.23 for a property by its old name; its users can do nothing about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        yield
