"""The language model and what its tuning minimises."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from llmrec.recipe.sections.settings import Settings, Share


class Build(Settings):
    """A small language model that the recipe itself pre-trains on the training histories, written as text."""

    family: Literal["llama", "mamba2"] = "llama"
    """Attention (Llama) or state space (Mamba-2)."""
    vocab_size: Annotated[int, Field(ge=300)] = 4096
    """BPE tokens, learned on the catalogue's text."""
    d_model: PositiveInt = 128
    """Width."""
    layers: PositiveInt = 4
    """Blocks."""
    heads: PositiveInt = 4
    """Attention heads, or heads of the state space."""
    d_ff: PositiveInt = 384
    """Width of the feed-forward part (Llama)."""
    d_state: PositiveInt = 32
    """Numbers of state a channel (Mamba-2)."""
    dropout: Share = 0.0
    """Share of attention weights dropped while pre-training (Llama)."""
    window: PositiveInt = 256
    """Tokens a training row holds."""
    batch_size: PositiveInt = 32
    """Rows a step."""
    epochs: PositiveInt = 8
    """Passes over the training histories."""
    learning_rate: PositiveFloat = 2e-3
    """AdamW's step, warmed up, then decayed along a cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """AdamW's decay."""


class Model(Settings):
    """The language model."""

    name: str | None = None
    """A hub id, a local folder, or a GGUF file; or leave it out and give `build`."""
    build: Build | None = None
    """A small model trained by the recipe itself: no hub needed."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights as loaded."""
    quantize: Literal["nf4", "int8"] | None = None
    """Load in 4 or 8 bits through bitsandbytes."""
    revision: str | None = None
    """Of a hub model."""
    trust_remote_code: bool = False
    """Whether code from the hub may run here. Leave it off unless you have read that code."""

    @model_validator(mode="after")
    def one_source(self) -> Model:
        if (self.name is None) == (self.build is None):
            raise ValueError(
                "give either name (a hub id, folder or GGUF file) or build (a small model of the recipe's own)"
            )
        return self


class Objective(Settings):
    """What fine-tuning minimises: a preference, and the likelihood of the chosen answer beside it."""

    name: Literal["sft", "orpo", "dpo", "s_dpo", "simpo", "cpo"] = "orpo"
    """Which preference (llmrec.language.objectives has formulas and papers); `sft` has none."""
    beta: Annotated[float, Field(ge=0)] | None = None
    """Weight of ORPO's odds ratio, or how steeply the others prefer; null: what its paper uses."""
    gamma: Annotated[float, Field(ge=0)] = 0.5
    """Margin of `simpo`, as a share of beta."""
    rejected: PositiveInt | None = None
    """Of a pair's rejected answers this many are used, the first; null: all."""
    many: Literal["mean", "softmax"] = "mean"
    """Several rejected answers: the mean of their pairs, or the chosen one's share of all (dpo, s_dpo: their own)."""
    length: Literal["mean", "sum"] | None = None
    """How token log-probabilities become one number, in training and in ranking; null: what the paper uses."""
    nll: Annotated[float, Field(ge=0)] | None = None
    """Weight of the likelihood; null: 1 where the paper has one (sft, orpo, cpo), else 0."""
    nll_on: Literal["branch", "history", "all"] = "branch"
    """Its tokens: the chosen answer's, the titles' of the prompt's history too, or all of the prompt's too, as TRL."""

    @model_validator(mode="after")
    def something_is_minimised(self) -> Objective:
        if self.name == "sft" and self.likelihood == 0:
            raise ValueError("nll: 0 leaves sft nothing to minimise; leave it out")
        return self

    @property
    def weight(self) -> float:
        """`beta`, or the paper's."""
        return BETA[self.name] if self.beta is None else self.beta

    @property
    def by(self) -> Literal["mean", "sum"]:
        """`length`, or the paper's."""
        return self.length or ("sum" if self.name in ("dpo", "s_dpo", "cpo") else "mean")

    @property
    def likelihood(self) -> float:
        """`nll`, or the paper's."""
        return float(self.name in ("sft", "orpo", "cpo")) if self.nll is None else self.nll


BETA = {"sft": 0.0, "orpo": 0.1, "dpo": 0.1, "s_dpo": 1.0, "simpo": 2.0, "cpo": 0.1}
"""Each objective's beta where a recipe names none: those of the papers that llmrec.language.objectives cites."""
