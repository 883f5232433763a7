"""Models of true shapes with random weights, for the benchmarks beside this file: no hub is needed."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Gemma3TextConfig, Mamba2Config

from llmrec.language.mamba2 import with_ssd

PAD = 0
SHAPES = ("gemma3-270m", "mamba2-130m")


def shaped(name: str, dtype: torch.dtype, *, kernel: bool = True) -> Any:
    """Gemma 3 270M or Mamba-2 130M; `kernel` gives Mamba-2 our state-space kernel instead of transformers'."""
    if name == "gemma3-270m":
        config: Any = Gemma3TextConfig(
            vocab_size=262_144, hidden_size=640, intermediate_size=2048, num_hidden_layers=18, num_attention_heads=4,
            num_key_value_heads=1, head_dim=256, sliding_window=512, query_pre_attn_scalar=256,
            layer_types=["full_attention" if at % 6 == 5 else "sliding_attention" for at in range(18)],
        )  # fmt: skip
    else:
        config = Mamba2Config(
            vocab_size=50_288, hidden_size=768, num_hidden_layers=24, num_heads=24, head_dim=64, state_size=128,
            n_groups=1, expand=2, chunk_size=256,
        )  # fmt: skip
    config.pad_token_id, config.bos_token_id, config.eos_token_id = PAD, 1, 2
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return with_ssd(model) if kernel else model


def tuned(model: Any, name: str) -> Any:
    """The model with a LoRA adapter that changes something, ready to train."""
    targets = ["q_proj", "v_proj"] if name == "gemma3-270m" else ["in_proj"]
    made = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=targets))
    made.train()
    return made
