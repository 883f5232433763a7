"""Weights of Mamba4Rec's public implementation, by their own names, in a retriever of ours."""

from __future__ import annotations

import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from llmrec.errors import ModelFault
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.mixers.state_space import EXPAND, TAPS
from llmrec.retriever.model import Retriever

NAMES = {
    r"LayerNorm\.(weight|bias)": r"norm_in.\1",
    r"mamba_layers\.(\d+)\.mamba\.(.+)": r"blocks.\1.mixer.\2",
    r"mamba_layers\.(\d+)\.LayerNorm\.(weight|bias)": r"blocks.\1.norm.\2",
    r"mamba_layers\.(\d+)\.ffn\.(w_[12])\.(weight|bias)": r"blocks.\1.\2.\3",
    r"mamba_layers\.(\d+)\.ffn\.LayerNorm\.(weight|bias)": r"blocks.\1.ff_norm.\2",
}
ITEMS = "item_embedding.weight"  # its row 0 is RecBole's padding, so that item code i is RecBole's id i + 1


def published(weights: Path | dict[str, Tensor]) -> Retriever:
    """The retriever that has these weights: a state dict of `mamba4rec.py`, or a safetensors file of one.

    Layers, width and state size are read off the shapes. Item code i is RecBole's id i + 1. Checkpoints that RecBole
    pickles are not read: where you trust one, save the state dict in it as safetensors. Raises ModelFault when the file
    or a tensor is not what it should be.
    """
    where: Path | str = weights if isinstance(weights, Path) else "weights"
    if isinstance(weights, Path):
        try:
            weights = load_file(weights)
        except (SafetensorError, OSError) as fault:
            raise ModelFault(f"{where}: no safetensors file of weights ({str(fault).splitlines()[0]}).") from None
    mixers = sorted(name for name in weights if re.fullmatch(r"mamba_layers\.\d+\.mamba\.A_log", name))
    if ITEMS not in weights or not mixers:
        raise ModelFault(f"{where}: no weights of Mamba4Rec: {ITEMS} and mamba_layers.0.mamba.A_log are looked for.")
    inner, n = weights[mixers[0]].shape
    rows, width = weights[ITEMS].shape
    if inner != EXPAND * width:
        raise ModelFault(f"{where}: expand is {inner / width:g}, and {EXPAND} alone is supported, with d_conv {TAPS}.")
    section = Section(mixer="mamba1", block="mamba4rec", layers=len(mixers), d_model=width, d_state=n, dt_init="zero")
    model = Retriever(rows - 1, section)
    ours = {"items.weight": weights[ITEMS][1:].clone()}
    for name, weight in weights.items():
        for theirs, mine in NAMES.items():
            if re.fullmatch(theirs, name):
                ours[re.sub(theirs, mine, name)] = weight
    known = {name for name in weights if name == ITEMS or any(re.fullmatch(theirs, name) for theirs in NAMES)}
    if known != weights.keys():
        raise ModelFault(
            f"{where}: {min(weights.keys() - known)} is no tensor of Mamba4Rec; leave it out if it may be."
        )
    model.take(ours, where)
    return model.eval()
