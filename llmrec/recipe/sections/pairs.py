"""What the language model reads and answers, and which preferences it learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from llmrec.recipe.sections.negatives import From, Guard
from llmrec.recipe.sections.settings import Settings


class Prompt(Settings):
    """What the model reads."""

    template: str = "movies/next-title"
    """A shipped template (`prompts/<domain>/<name>.jinja`) or a path."""
    mix: list[str] = []
    """More templates: each pair's is drawn from `template` and these. Models are ranked with `template`."""
    budget: Annotated[int, Field(ge=8)] = 512
    """Tokens a prompt may take; the oldest items are dropped first, and no title is cut."""

    @property
    def templates(self) -> list[str]:
        """All of them, the first being what models are ranked with."""
        return [self.template, *self.mix]


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
    sources: From = Field(From.model_validate({"uniform": 0.4, "popular": 0.2, "retrieved": 0.4}), alias="from")
    """Where rejected items come from, as shares."""
    guard: Guard = Guard()
    """What is never rejected, beside the target."""
