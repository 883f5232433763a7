"""A recipe taken apart for doing: its arms, what they build and share, and where their files are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmrec.data.larder import Larder
from llmrec.recipe.sections import From, Recipe
from llmrec.run import Run

MINED = 100  # items of the mining retriever's ranking that negatives are drawn from, unless more are asked for


@dataclass(frozen=True)
class ArmRun:
    """One arm, trained with one seed."""

    name: str
    """Its folder: the arm's name, with -s<seed> where there are several seeds."""
    arm: str
    recipe: Recipe
    """The recipe as the arm sees it."""
    seed: int
    built: tuple[str, ...]
    """The stage that pre-trains its model, if the recipe builds one."""
    start: str | None = None
    """The stage whose adapter it starts from, of the same seed."""


@dataclass(frozen=True)
class Turn:
    """One round of pairs and training; a recipe without rounds has one, of number 0."""

    number: int
    """From 1 upwards where there are rounds."""
    of: int
    """How many rounds there are; 0 where the recipe has none."""
    sources: From
    """Where its rejected items come from."""

    @property
    def plays(self) -> bool:
        """Whether its pairs draw on what the round before ranked: then they belong to one arm and seed."""
        return self.sources.draws("self_play")

    @property
    def pairs(self) -> str:
        """The stage that writes its pairs, where they are for all arms."""
        return f"pairs/round-{self.number}" if self.of else "pairs"

    def pairs_of(self, one: ArmRun) -> str:
        """The stage that writes an arm's pairs."""
        return f"{self.pairs}/{one.name}" if self.plays else self.pairs

    def train(self, one: ArmRun) -> str:
        """The stage that trains an arm; the last round's is the arm that is ranked and reported."""
        return f"train/{one.name}" if self.number == self.of else f"rounds/{self.number}/train/{one.name}"

    def rank(self, one: ArmRun) -> str:
        """The stage in which an arm ranks the next round's training queries."""
        return f"rounds/{self.number}/rank/{one.name}"


@dataclass
class Task:
    """A recipe, where it was read, and the run that it is done in."""

    recipe: Recipe
    here: Path
    run: Run
    built: dict[str, Recipe] = field(init=False)
    """Pre-training stage -> a recipe that says what to build; arms of one architecture share one."""
    arms: list[ArmRun] = field(init=False)

    def __post_init__(self) -> None:
        recipes = {name: self.recipe.arm(name) for name in self.recipe.arms}
        self.built = {}
        for some in [self.recipe, *recipes.values()]:
            if some.model.build is not None and self._stage(some) is None:
                self.built["pretrain" if not self.built else f"pretrain-{len(self.built) + 1}"] = some
        self.arms = []
        for name, recipe in recipes.items():
            seeds = self.recipe.seeds if recipe.objective is not None else 1  # what is not trained has no seeds
            for i in range(seeds):
                seed = self.recipe.seed + i
                folder = name if seeds == 1 else f"{name}-s{seed}"
                stage = self._stage(recipe)
                above = self.recipe.start(name)
                start = above and f"train/{above if seeds == 1 else f'{above}-s{seed}'}"
                self.arms.append(ArmRun(folder, name, recipe, seed, (stage,) if stage else (), start))

    def _stage(self, recipe: Recipe) -> str | None:
        return next((name for name, other in self.built.items() if other.model.build == recipe.model.build), None)

    def folder_of(self, recipe: Recipe) -> str:
        """The stage that pre-trains this recipe's model."""
        stage = self._stage(recipe)
        assert stage is not None
        return stage

    @property
    def mines(self) -> bool:
        """Whether pairs draw on a retriever that was fitted on earlier positions only."""
        return any(one.recipe.objective for one in self.arms) and any(
            one.draws("retrieved") for one in self.recipe.drawn
        )

    @property
    def mined(self) -> int:
        """How many items the retriever that mines lists for a query."""
        asked = [one.retrieved.ranks[1] for one in self.recipe.drawn if one.retrieved and one.retrieved.ranks]
        return max([MINED, *asked])

    @property
    def turns(self) -> list[Turn]:
        """The rounds of pairs and training, one where the recipe has none."""
        many = len(self.recipe.rounds)
        return [Turn(n if many else 0, many, sources) for n, sources in enumerate(self.recipe.drawn, start=1)]

    @property
    def reranks(self) -> bool:
        """Whether the retriever's first n are reranked."""
        return self.recipe.candidates.two_stage is not None and "retriever" in self.recipe.evaluate.rankers

    @property
    def fused(self) -> dict[str, ArmRun]:
        """Fused rankers and the language arm in each: the last arm, with every seed."""
        last = list(self.recipe.arms)[-1]
        ones = [one for one in self.arms if one.arm == last]
        return {one.name.replace(last, "fused", 1): one for one in ones}

    @property
    def control(self) -> ArmRun:
        """The arm whose titles are dealt anew: the last one, its first seed."""
        last = list(self.recipe.arms)[-1]
        return next(one for one in self.arms if one.arm == last)

    def larder(self) -> Larder:
        """What `prepare` wrote."""
        return Larder.read(self.run.path("prepare"))

    def encoder(self, recipe: Recipe, larder: Larder) -> Any:
        """Prompts and answers for a recipe's tokenizer, in the template that models are ranked with."""
        return self.encoders(recipe, larder)[0]

    def encoders(self, recipe: Recipe, larder: Larder) -> list[Any]:
        """One for each of the recipe's templates."""
        from llmrec.language.load import load_tokenizer
        from llmrec.prompts.encoding import Encoder
        from llmrec.prompts.template import load_template

        stage = self._stage(recipe)
        tokenizer = load_tokenizer(recipe.model, here=self.here, built=self.run.path(stage) if stage else None)
        templates = [load_template(name, here=self.here) for name in recipe.prompt.templates]
        encoders = [
            Encoder(tokenizer, template, larder.texts, recipe.prompt.budget, recipe.answer) for template in templates
        ]
        for encoder in encoders:
            encoder.expect_labels(recipe.candidates.count)  # before anything is trained that could not be ranked with
        return encoders
