"""The recipe, section by section: one field, one type, one sentence.

The sentence under a field becomes its entry in the JSON schema (`llmrec recipes schema`) and in the error message.
`train` and `lora` carry the fields of trl's ORPOConfig and peft's LoraConfig under their own names (see `borrowed`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from llmrec.recipe import borrowed
from llmrec.recipe.adaptive import clashes
from llmrec.recipe.borrowed import check_lora
from llmrec.recipe.presets import Protocol, contradictions, folded

Share = Annotated[float, Field(ge=0, le=1)]
Mapping = dict[str, Any]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]


class Settings(BaseModel):
    """A closed, frozen section: unknown keys are faults, and the docstring under a field is its description."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts True as 1, and YAML reads yes, no, on and off as True and False: `layers: yes` is a fault."""
        hints = _leaves(cls.model_fields[str(info.field_name)].annotation)
        numbers = any(isinstance(hint, type) and issubclass(hint, int | float) for hint in hints)
        if numbers and bool not in hints:
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            switch = next((one for one in held if isinstance(one, bool)), None)
            if switch is not None:
                raise PydanticCustomError("switch", "expected a number", {"switch": switch})
        return value


def _leaves(hint: Any) -> list[Any]:
    """The types that a hint is made of: `list[int] | None` gives int and None's type."""
    inner = get_args(hint)
    return [leaf for one in inner for leaf in _leaves(one)] if inner else [hint]


class Items(Settings):
    """A second file that says what the items are."""

    path: str
    """CSV, TSV, Parquet or JSON lines; relative paths start at the recipe's folder."""
    columns: dict[str, str] = {"item": "item", "title": "title"}
    """Our name -> the file's name; `item` is required, the others become text fields."""


class Data(Settings):
    """Which interactions, and what of them is kept."""

    dataset: str | None = None
    """A shipped manifest (`llmrec datasets ls`) or the path of one; or leave it out and give `path`."""
    path: str | None = None
    """Interactions of one's own: CSV, TSV, Parquet or JSON lines; relative paths start at the recipe's folder."""
    columns: dict[str, str] = {}
    """Our name -> the file's name, for `user`, `item`, `time` and, if there is one, `rating`; others are item text."""
    items: Items | None = None
    """A file with the items' text, if it is not in the interactions."""
    min_rating: float | None = None
    """Interactions rated lower are dropped (and counted)."""
    min_user: PositiveInt = 5
    """Users with fewer interactions are dropped, again and again until none is left (k-core)."""
    min_item: PositiveInt = 1
    """Items with fewer interactions are dropped, together with `min_user`."""
    duplicates: Literal["keep", "first", "last"] = "first"
    """What stays when a user meets the same item again: every time, the first or the last."""
    text: str = "{title}"
    """How an item reads: a format string over the catalogue's text fields."""

    @model_validator(mode="after")
    def one_source(self) -> Data:
        if (self.dataset is None) == (self.path is None):
            raise ValueError("give either dataset (a manifest) or path (a file of one's own)")
        return self


class Split(Settings):
    """Which of each user's interactions are held back, and for what."""

    method: Literal["last", "time"] = "time"
    """`last` holds back each user's final two interactions (validation, test); `time`, everything after a moment."""
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """`time`: the moment, as a quantile of all interactions; validation is the same, one moment earlier."""
    target: Literal["first", "last", "all"] = "last"
    """`time`: which of a user's interactions after the moment are asked for."""


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


class Candidates(Settings):
    """Who is ranked against whom, beside the full catalogue."""

    count: Annotated[int, Field(ge=2)] = 20
    """Candidates a query, the target included."""
    negatives: Literal["uniform"] = "uniform"
    """Drawn uniformly from the items that the user has not touched."""
    two_stage: PositiveInt | None = None
    """Also rerank the retriever's top n, where a missed target counts as a miss; `fused` works on this set."""


class Prompt(Settings):
    """What the model reads."""

    template: str = "movies/next-title"
    """A shipped template (`prompts/<domain>/<name>.jinja`) or a path."""
    budget: Annotated[int, Field(ge=8)] = 512
    """Tokens a prompt may take; the oldest items are dropped first, and no title is cut."""


class Answer(Settings):
    """What the model answers with, and how an answer becomes a number."""

    style: Literal["title", "letter"] = "title"
    """`title`: the item's text; `letter`: the label of a listed candidate."""
    eos: bool = True
    """Whether the end token belongs to the answer (letters want false: TRL would average over it)."""
    rank_by: Literal["sum", "mean", "pmi", "ghost_free", "validation"] | None = None
    """How a title's token log-probabilities become its score; `validation` takes what ranks best there; null: as
    `objective.length`. The catalogue is searched by `sum`, or by `ghost_free` where that is the rule."""
    beam: PositiveInt | None = None
    """Search the catalogue with a beam of this width, its recall measured on a sample of queries; null: exactly."""
    orders: PositiveInt = 1
    """Letters: orders in which each list of candidates is read; scores are averaged over them."""

    @model_validator(mode="after")
    def fits_the_style(self) -> Answer:
        if self.style == "letter" and self.rank_by in ("pmi", "ghost_free"):
            raise ValueError(f"rank_by: {self.rank_by} is of titles; a letter is one token, leave rank_by out")
        if self.style == "letter" and self.beam is not None:
            raise ValueError("beam: letters name listed candidates and search no catalogue; leave it out")
        if self.style == "title" and self.orders > 1:
            raise ValueError("orders: titles are scored without a list to turn; leave it out, or take style: letter")
        return self


class Pairs(Settings):
    """Which preferences are learned."""

    rejected: PositiveInt = 7
    """Rejected answers a pair."""
    per_user: PositiveInt = 8
    """Training positions a user gives, the latest ones; models that mine are fitted on what came before them."""
    sources: dict[Literal["uniform", "popular", "retrieved"], Annotated[float, Field(ge=0)]] = Field(
        {"uniform": 0.4, "popular": 0.2, "retrieved": 0.4}, alias="from"
    )
    """Where rejected items come from, as shares."""

    @model_validator(mode="after")
    def some_source(self) -> Pairs:
        if sum(self.sources.values()) <= 0:
            raise ValueError("`from` needs at least one source with a share above 0")
        return self


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


class Evaluate(Settings):
    """What is measured."""

    at: list[PositiveInt] = [1, 5, 10, 20]
    """Depths of the metrics."""
    primary: Annotated[str, Field(pattern=r"^(hit|ndcg|mrr|recall|precision|map)@\d+$")] = "ndcg@10"
    """The one metric that decides."""
    seen: Literal["masked", "ranked"] = "masked"
    """In rankings of the catalogue, items of the user's history are left out, or ranked like any other."""
    rankers: list[
        Literal["popularity", "recent", "transitions", "retriever", "language", "shuffled_titles", "fused"]
    ] = ["popularity", "recent", "transitions", "retriever", "language", "fused"]
    """Who is compared; `language` stands for every arm. `shuffled_titles` is a control: the last arm again, after the
    titles were dealt anew among the items, so that what is left of its quality was not in them."""
    bootstrap: Annotated[int, Field(ge=200)] = 2000
    """Resamples of the users behind every interval."""

    @model_validator(mode="after")
    def rankers_have_their_sides(self) -> Evaluate:
        missing = [side for side in ("retriever", "language") if side not in self.rankers]
        if "fused" in self.rankers and missing:
            raise ValueError(f"rankers has fused, which mixes retriever and language, without {' and '.join(missing)}")
        if "shuffled_titles" in self.rankers and "language" not in self.rankers:
            raise ValueError("rankers has shuffled_titles, a control of the language arms, without language")
        return self

    @property
    def masks(self) -> bool:
        """Whether rankings of the catalogue leave out what the user has seen."""
        return self.seen == "masked"

    @model_validator(mode="after")
    def primary_is_measured(self) -> Evaluate:
        if int(self.primary.split("@")[1]) not in self.at:
            raise ValueError(f"primary is {self.primary}, but `at` has only {self.at}")
        return self


SHARES_FOLDERS = "another arm's seeds have folders of this name (<arm>-s<seed>); call it something else"


def shares_folders(name: str, arms: Collection[str]) -> bool:
    """Whether an arm is called what another arm's folder for one of its seeds is called."""
    found = re.fullmatch(r"(.+)-s\d+", name)
    return found is not None and found[1] in arms


def is_taken(name: str) -> bool:
    """Whether an arm of this name would be ranked in another ranker's folder."""
    own = ("popularity", "recent", "transitions", "retriever", "shuffled_titles", "fused")
    return name in own or name.startswith("fused-s")


def check_train(values: Mapping) -> Mapping:
    """The `train` section with its numbers as numbers, `adaptive` included. Raises ValueError with every fault."""
    values = borrowed.check_train(values)
    faults = [f"train.{field}: {words}" for field, words in clashes(values)]
    if faults:
        raise ValueError("; ".join(faults))
    own = values.get("adaptive")
    return values if own is None else {**values, "adaptive": Adaptive.model_validate(own).model_dump()}


class Arm(Settings):
    """One way to tune the language model; what it does not say is taken from the recipe."""

    model: Mapping = {}
    """Fields of `model` that differ."""
    lora: Mapping = {}
    """Fields of `lora` that differ."""
    objective: Mapping | None = {}
    """Fields of `objective` that differ; `null` leaves the model as it is."""
    train: Mapping = {}
    """Fields of `train` that differ."""


class Recipe(Settings):
    """What to do, from interactions to report."""

    name: Name
    """The run's folder: `runs/<name>`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7
    """Every draw of the run derives from it."""
    seeds: PositiveInt = 1
    """How many times each arm is trained, with seeds `seed`, `seed + 1`, ..."""
    data: Data
    protocol: Protocol | None = None
    """A published way to ask, by name, with its `split`, `candidates` and `evaluate`; null: as these say (`time`)."""
    split: Split = Split()
    retriever: Retriever = Retriever()
    candidates: Candidates = Candidates()
    prompt: Prompt = Prompt()
    answer: Answer = Answer()
    pairs: Pairs = Pairs()
    model: Model
    lora: Annotated[Mapping, AfterValidator(check_lora)] = {}
    """Fields of peft.LoraConfig, and `init_from`, an adapter to start from: a folder, or an arm listed above."""
    objective: Objective | None = Objective()
    """What fine-tuning minimises; `null` ranks with the model as it is."""
    train: Annotated[Mapping, AfterValidator(check_train)] = {}
    """Fields of trl's ORPOConfig, and `patience` and `adaptive`, which are llmrec's own."""
    arms: dict[Name, Arm] = {"orpo": Arm()}
    """Named variants of model, lora, objective and train; all meet in one report."""
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="before")
    @classmethod
    def the_protocol_s_fields(cls, values: Any) -> Any:
        """What the protocol says where the recipe does not."""
        return folded(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def the_protocol_is_kept(self) -> Recipe:
        for key, words in contradictions(self.model_dump()):
            raise PydanticCustomError("protocol", f"{'.'.join(key)}: {words}")
        return self

    @model_validator(mode="after")
    def arms_hold(self) -> Recipe:
        if not self.arms:
            raise PydanticCustomError("arms", "arms is empty; leave it out for a single arm named orpo")
        for name in self.arms:
            if is_taken(name):
                raise PydanticCustomError("arms", f"arms.{name}: a ranker has this name; call the arm something else")
            if self.seeds > 1 and shares_folders(name, self.arms):
                raise PydanticCustomError("arms", f"arms.{name}: {SHARES_FOLDERS}")
            try:
                self.arm(name)
            except ValueError as fault:
                words = str(fault).replace("{", "{{").replace("}", "}}")
                raise PydanticCustomError("arms", f"arms.{name}: {words}") from None
            self._starts_well(name)
        return self

    def start(self, name: str) -> str | None:
        """The arm whose adapter an arm starts from, where its `lora.init_from` names one."""
        start = self.arm(name).lora.get("init_from")
        return start if start in self.arms and self.arms[name].objective is not None else None

    def _starts_well(self, name: str) -> None:
        start, names = self.start(name), list(self.arms)
        if start is None:
            return
        if names.index(start) >= names.index(name) or self.arm(start).objective is None:
            raise PydanticCustomError(
                "arms", f"arms.{name}.lora.init_from: {start} is no arm that is tuned before it; list it above"
            )
        if self.arm(start).model != self.arm(name).model:
            raise PydanticCustomError("arms", f"arms.{name}.lora.init_from: {start} tunes another model")

    @staticmethod
    def folded(base: Mapping, own: Mapping) -> Mapping:
        """A section with an arm's fields laid over it; where both have a mapping (`build`), they are folded too."""
        both = {key for key in own if isinstance(own[key], dict) and isinstance(base.get(key), dict)}
        return {**base, **own, **{key: Recipe.folded(base[key], own[key]) for key in both}}

    def arm(self, name: str) -> Recipe:
        """The recipe as one arm sees it: its overrides folded in, itself as the only arm."""
        arm = self.arms[name]
        objective = None
        if arm.objective is not None:
            base = self.objective or Objective()
            objective = Objective.model_validate(self.folded(base.model_dump(), arm.objective))
        return self.model_copy(
            update={
                "model": Model.model_validate(self.folded(self.model.model_dump(), arm.model)),
                "lora": check_lora({**self.lora, **arm.lora}),
                "train": check_train({**self.train, **arm.train}),
                "objective": objective,
                "arms": {name: Arm()},
            }
        )
