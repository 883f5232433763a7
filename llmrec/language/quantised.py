"""Models in 4 and 8 bits through bitsandbytes, on a GPU or on a CPU.

Nothing else prepares them for training: PEFT freezes the base and keeps the adapter in float32, the trainer sees to
gradient checkpointing, and what is left of PEFT's `prepare_model_for_kbit_training`, embeddings, norms and head in
float32, would cost a large vocabulary gigabytes and tune another model than the one that is ranked.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from llmrec.errors import ModelFault
from llmrec.language import mamba
from llmrec.recipe.sections import Model


def quantisation(section: Model, config: Any) -> BitsAndBytesConfig:
    """What transformers is told about `model.quantize`, for a model with this transformers config.

    Raises ModelFault where bitsandbytes is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise ModelFault(
            f"model.quantize: {section.quantize} needs bitsandbytes: pip install 'llmrec[quantize]'."
        ) from None
    # Mamba's mixers use these weights without their layers, which in 4 bits are bytes and no matrix. The head is never
    # quantised; with a list of one's own, transformers wants to be told.
    whole = ["lm_head", *(set(mamba.NEVER_TRAINS) - {"all-linear"})] if mamba.is_mamba(config) else None
    if section.quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=whole)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,  # the scales of 64 weights in 8 bits too: .37 bits less a weight
        bnb_4bit_compute_dtype=getattr(torch, section.dtype),
        llm_int8_skip_modules=whole,
    )


def is_quantised(model: Any) -> bool:
    """Whether the model's weights are kept in fewer bits than it computes in."""
    return bool(getattr(model, "is_quantized", False))


def steady(model: PreTrainedModel) -> None:
    """Lets 4-bit layers compute the same way before, during and after an evaluation.

    On a CPU with AVX512-BF16, bitsandbytes 0.50 rearranges a layer's weights for good at the first pass without
    gradients, rounds their scales to bfloat16, and uses a kernel without a gradient from then on: after an evaluation
    in mid-training the layers below get a wrong gradient (a warning at most), and widths that are no multiple of 64
    crash.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
