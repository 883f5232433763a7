"""What is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from llmrec.recipe.sections.settings import Settings


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
