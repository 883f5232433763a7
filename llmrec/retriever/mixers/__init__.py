"""What looks along a history, looked up by the names that recipes use."""

from __future__ import annotations

from collections.abc import Callable

from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.mixers.attention import Attention
from llmrec.retriever.mixers.gru import GRU
from llmrec.retriever.mixers.mamba1 import Mamba1
from llmrec.retriever.mixers.mixer import Mixer, MixerState
from llmrec.retriever.mixers.ssd import SSD

__all__ = ["MIXERS", "Mixer", "MixerState"]

MIXERS: dict[str, Callable[[Section], Mixer]] = {"ssd": SSD, "mamba1": Mamba1, "attention": Attention, "gru": GRU}
"""Each is made from the retriever's section of a recipe."""
