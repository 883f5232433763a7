"""The recipe whole: its sections, and its arms, each of which overrides some of them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PositiveInt, model_validator
from pydantic_core import PydanticCustomError

from llmrec.recipe import borrowed
from llmrec.recipe.adaptive import clashes
from llmrec.recipe.borrowed import check_lora
from llmrec.recipe.needs import unmet
from llmrec.recipe.presets import Protocol, contradictions, folded
from llmrec.recipe.sections.data import Candidates, Data, Split
from llmrec.recipe.sections.evaluate import Evaluate
from llmrec.recipe.sections.model import Model, Objective
from llmrec.recipe.sections.negatives import From, Round
from llmrec.recipe.sections.pairs import Answer, Pairs, Prompt
from llmrec.recipe.sections.retriever import Adaptive, Retriever
from llmrec.recipe.sections.settings import Mapping, Name, Settings

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
    rounds: list[Round] = []
    """Rounds of pairs and training, one after another, each on training positions of its own; none: all at once."""
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
    def sources_have_what_they_need(self) -> Recipe:
        for key, words in unmet(self.model_dump(by_alias=True)):
            raise PydanticCustomError("sources", "{words}", {"words": f"{'.'.join(map(str, key))}: {words}"})
        return self

    @property
    def drawn(self) -> list[From]:
        """Where rejected items come from, round by round; one entry where there are no rounds."""
        return [one.sources or self.pairs.sources for one in self.rounds] or [self.pairs.sources]

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
