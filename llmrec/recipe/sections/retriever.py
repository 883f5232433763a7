"""The retriever, and the block for batches and steps that set themselves, which `train` has too."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from llmrec.recipe.sections.settings import Settings, Share


class Adaptive(Settings):
    """Batch and step size that set themselves while it trains (llmrec.adaptive has formulas and papers)."""

    batch: Literal["norm", "inner_product", "augmented", "noise_scale", "adabatchgrad"] | None = None
    """The test that says when the noise in the gradient asks for a larger batch; null: the batch stays."""
    step: Literal["adamw", "sgd", "schedule_free", "prodigy", "dowg", "usgm", "adabatchgrad"] = "adamw"
    """What turns gradients into steps."""
    scale: PositiveFloat | None = None
    """The step's one number: learning rate (adamw, sgd, schedule_free), d0 (prodigy), r0 (dowg), D (usgm), alpha
    (adabatchgrad); null: the learning_rate beside it where that is meant, else the step's own default."""
    threshold: PositiveFloat | None = None
    """How much noise the test allows, beside the gradient's length; smaller asks for more. null: the test's own."""
    most: PositiveInt | None = None
    """The largest batch of an update; null: 16 times the first."""
    micro: PositiveInt | None = None
    """Retriever: more than this are not looked at at once but accumulated; null: as many as there is memory for."""
    patience: PositiveInt = 5
    """The batch grows once so many tests in a row have asked for more."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """What the statistics of the update before weigh, in their averages."""
    schedule: Literal["constant", "cosine", "linear"] | None = None
    """The learning rate over samples seen, after its warm-up; null: constant where weights are averaged
    (schedule_free, usgm), else a cosine."""

    @model_validator(mode="after")
    def averages_do_not_decay(self) -> Adaptive:
        if self.step in ("schedule_free", "usgm") and self.schedule not in (None, "constant"):
            raise ValueError(f"schedule: {self.step} averages its weights and takes no {self.schedule}; leave it out")
        return self

    def rate(self, learning_rate: float | None) -> float | None:
        """The step's `scale`, where a learning rate is given beside it."""
        return learning_rate if self.scale is None and self.step in RATED else self.scale


RATED = ("adamw", "sgd", "schedule_free")
"""Steps whose one scale is a learning rate."""


class Retriever(Settings):
    """The retriever and how it is fitted."""

    mixer: Literal["ssd", "mamba1", "attention", "gru"] = "ssd"
    """What looks along the history: Mamba-2's dual, Mamba-1's scan, attention (as SASRec) or a GRU (as GRU4Rec)."""
    block: Literal["gated", "mamba4rec"] = "gated"
    """What surrounds it: gated residuals with SwiGLU, or Mamba4Rec's published layer."""
    layers: PositiveInt = 2
    """Blocks, one above another."""
    d_model: PositiveInt = 64
    """Width of item vectors and states."""
    d_state: PositiveInt = 16
    """Numbers of state for each channel of a state space."""
    headdim: PositiveInt = 32
    """Channels a head, of `ssd` and `attention`."""
    dt_init: Literal["log_uniform", "zero"] = "log_uniform"
    """Step sizes of a state space at first: from 1 / max_length to 1, or all .69, as in published recommenders."""
    time_scale: PositiveFloat | None = None
    """Seconds: a state space's step sizes learn from log(1 + gap / time_scale) between interactions; null: no clock."""
    bias: bool = False
    """Whether each item has a score of its own, whatever the history."""
    temperature: PositiveFloat | None = None
    """Scores become cosines divided by this; null: plain products."""
    dropout: Share = 0.2
    """Share of activations dropped while fitting."""
    max_length: PositiveInt = 200
    """Items of a history that one training window holds."""
    supervise: Literal["all", "prefixes"] = "all"
    """Every position of a window is asked for what comes next, or each prefix is a window (far more work)."""
    rows: Literal["bucketed", "packed"] = "bucketed"
    """Windows of like length side by side, or one after another in rows of max_length (not for `gru`)."""
    loss: Literal["cross_entropy", "sampled_softmax", "gbce", "bpr"] = "cross_entropy"
    """Exact softmax over the catalogue; softmax over drawn negatives with logQ correction; gSASRec's loss; or BPR."""
    horizon: PositiveInt = 1
    """Of what comes after a position so many items are asked for, the d-th with weight 1 / d (`cross_entropy` only)."""
    negatives: PositiveInt = 256
    """Items drawn for the losses that draw."""
    gbce_t: Share = 0.75
    """How far `gbce` undoes the overconfidence that drawing negatives causes."""
    learning_rate: PositiveFloat = 6e-3
    """AdamW's step, warmed up, then decayed along a cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """AdamW's decay; state matrices and biases are exempt."""
    batch_size: PositiveInt = 16
    """Windows a step."""
    epochs: PositiveInt = 8
    """Passes over the training histories at most; the cosine ends with the last."""
    patience: PositiveInt = 4
    """Epochs without a better NDCG@10 on validation before it stops."""
    adaptive: Adaptive | None = None
    """Batch and step size that set themselves; null: `batch_size` stays, and AdamW takes `learning_rate`."""

    @model_validator(mode="after")
    def the_batch_can_grow(self) -> Retriever:
        own = self.adaptive
        if own is not None and own.batch is not None and self.batch_size % 2:
            raise ValueError(
                f"adaptive.batch: halves of a batch are compared, and batch_size {self.batch_size} has none; take an "
                "even one"
            )
        if own is not None and (own.most or self.batch_size) < self.batch_size:
            raise ValueError(
                f"adaptive.most: {own.most} is below the first batch, batch_size {self.batch_size}; raise it, or lower "
                "that"
            )
        return self

    @model_validator(mode="after")
    def heads_fit(self) -> Retriever:
        inner = {"ssd": 2 * self.d_model, "attention": self.d_model}.get(self.mixer)
        if inner is not None and inner % min(self.headdim, inner):
            raise ValueError(f"headdim {self.headdim} does not divide {inner}, the channels of {self.mixer}")
        return self

    @model_validator(mode="after")
    def the_mixer_can(self) -> Retriever:
        if self.time_scale is not None and self.mixer not in ("ssd", "mamba1"):
            raise ValueError(f"time_scale: {self.mixer} has no step sizes; take ssd or mamba1, or leave it null")
        if self.horizon > 1 and self.loss != "cross_entropy":
            raise ValueError(f"horizon: {self.loss} asks for one item a position; take cross_entropy, or leave it at 1")
        if self.rows == "packed" and self.mixer == "gru":
            raise ValueError("rows: a gru cannot start over inside a row; take bucketed")
        return self
