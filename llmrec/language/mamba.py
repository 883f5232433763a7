"""What is peculiar about Mamba language models, each with its reason.

* LoRA has one safe target. `out_proj` and `conv1d` are refused by PEFT; `dt_proj` is accepted and never gets a gradient
  (its weight is used without its layer); `x_proj` trains on the plain path only (the fused kernel takes its weight
  directly). `in_proj` trains everywhere. (transformers 5.23, PEFT 0.21)
* Mamba-1's cached state is not carried into a second multi-token pass (transformers 5.23); Mamba-2's is, exactly. So
  branches fork a Mamba-2 prompt's state, and Mamba-1 reads whole sequences.
* Prompts that share a Mamba-2 cache are padded on the left: padding on the right would be read into the state.
"""

from __future__ import annotations

from typing import Any

from llmrec.errors import ModelFault

FAMILIES = {"mamba", "mamba2", "falcon_mamba"}
SAFE_TARGETS = ["in_proj"]

NEVER_TRAINS = {
    "dt_proj": "dt_proj never trains on Mamba (its weight is used without its layer)",
    "out_proj": "PEFT refuses out_proj on Mamba (the fused kernel takes its weight directly)",
    "conv1d": "PEFT refuses conv1d on Mamba (the fused kernel takes its weight directly)",
    "x_proj": "x_proj trains on the CPU path only; the fused kernel takes its weight directly",
    "all-linear": "all-linear contains out_proj, which PEFT refuses on Mamba",
}


def is_mamba(config: Any) -> bool:
    """Whether a transformers config belongs to the Mamba families."""
    return getattr(config, "model_type", "") in FAMILIES


def checked_targets(targets: Any) -> list[str]:
    """LoRA's targets on a Mamba model: `in_proj` when nothing is asked; ModelFault for targets that would not train."""
    if targets is None:
        return list(SAFE_TARGETS)
    asked = [targets] if isinstance(targets, str) else list(targets)
    for target in asked:
        reason = next(
            (why for name, why in NEVER_TRAINS.items() if target == name or target.endswith("." + name)), None
        )
        if reason:
            raise ModelFault(f"lora.target_modules: {reason}. Use [in_proj].")
    return asked
