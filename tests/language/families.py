"""Small random models of the families that llmrec knows, and texts for them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    LlamaConfig,
    Mamba2Config,
    MambaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

SIZE: dict[str, Any] = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2}
ENDS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
HEADS: dict[str, Any] = {"intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}

CONFIGS = {
    "llama": LlamaConfig(**SIZE, **ENDS, **HEADS),
    "mistral": MistralConfig(**SIZE, **ENDS, **HEADS, sliding_window=None),
    "mistral, windowed": MistralConfig(**SIZE, **ENDS, **HEADS, sliding_window=4),
    "qwen2": Qwen2Config(**SIZE, **ENDS, **HEADS),
    "qwen3": Qwen3Config(**SIZE, **ENDS, **HEADS, head_dim=8),
    "qwen2, windowed": Qwen2Config(
        **SIZE, **ENDS, **HEADS, use_sliding_window=True, sliding_window=4, max_window_layers=1
    ),
    "gemma3": Gemma3TextConfig(
        **SIZE, **ENDS, **HEADS, head_dim=8, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
    ),
    "gpt_neox": GPTNeoXConfig(**SIZE, **ENDS, intermediate_size=64, num_attention_heads=4),
    "mamba2": Mamba2Config(**SIZE, **ENDS, num_heads=4, head_dim=16, expand=2, state_size=8, n_groups=1, chunk_size=8),
    "mamba": MambaConfig(**SIZE, **ENDS, state_size=8),
}


def small(family: str, seed: int = 0, vocabulary: int | None = None) -> PreTrainedModel:
    """A random model; its weights are large enough for logits to differ visibly."""
    config = copy.deepcopy(CONFIGS[family])
    config.vocab_size = vocabulary or config.vocab_size
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(3)
    model.eval()
    return model
