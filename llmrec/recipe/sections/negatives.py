"""Where rejected items come from, by name, and what is never rejected."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from llmrec.recipe.sections.settings import Settings

Ranks = Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]


class Drawn(Settings):
    """A source of rejected items: its share, or a mapping of its share and its own fields."""

    share: Annotated[float, Field(ge=0)]
    """Its part of the rejected items, relative to the other sources' shares."""

    @model_validator(mode="before")
    @classmethod
    def a_number_is_its_share(cls, given: Any) -> Any:
        """`popular: 0.2` says what `popular: {share: 0.2}` says."""
        return {"share": given} if isinstance(given, int | float) else given

    @model_serializer(mode="wrap")
    def short(self, written: SerializerFunctionWrapHandler) -> Any:
        """A number where nothing but the share is said: a source reads as it did before it had fields."""
        whole = written(self)
        own = {name: field for name, field in type(self).model_fields.items() if name != "share"}
        return whole if any(getattr(self, name) != field.default for name, field in own.items()) else whole["share"]

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        reference = handler(core)
        schema = handler.resolve_ref_schema(reference)
        if schema["required"] == ["share"]:
            schema.update({"type": ["object", "number"], "minimum": 0})
        return reference

    @field_validator("ranks", check_fields=False)
    @classmethod
    def first_to_last(cls, ranks: list[int] | None) -> list[int] | None:
        """[a, b] with a at most b."""
        if ranks is not None and ranks[0] > ranks[1]:
            raise ValueError(f"found {ranks}; give the first rank and the last, as in [{ranks[1]}, {ranks[0]}]")
        return ranks


class Uniform(Drawn):
    """Every item alike."""


class Popular(Drawn):
    """Items in proportion to a power of their count in the training prefixes."""

    exponent: Annotated[float, Field(ge=0, le=10)] = 1.0
    """The power: 1 is popularity itself, 0.75 flattens it, 0 is uniform."""


class Retrieved(Drawn):
    """What the retriever, fitted on earlier positions only, ranked for the query."""

    ranks: Ranks | None = None
    """The first and the last rank that are drawn from, as in [10, 60]; null: all that was mined."""


class Recent(Drawn):
    """Items in proportion to how often anybody took them up shortly before the query."""

    days: PositiveFloat = 30.0
    """How long before the query that window begins; it ends there."""


class SameAttribute(Drawn):
    """Items that share a value with the target in one field of the catalogue."""

    field: Annotated[str, Field(min_length=1)]
    """The catalogue's field: text, text with values between `|` or commas, or lists."""


class TextSimilar(Drawn):
    """Items whose texts are nearest to the target's, by the cosine of their character trigrams."""

    ranks: Ranks = [1, 50]
    """The first and the last rank that are drawn from; 1 is the nearest text."""


class InBatch(Drawn):
    """The targets of other queries in the same drawn group."""

    size: Annotated[int, Field(ge=2)] = 64
    """Queries a group."""


class Skipped(Drawn):
    """What the user was shown and passed over, where the log says so."""


class LowRated(Drawn):
    """What the user rated below `data.min_rating`."""


class SelfPlay(Drawn):
    """What the adapter of the round before ranks on top and is wrong."""

    ranks: Ranks = [1, 10]
    """The first and the last rank that are drawn from."""
    queries: PositiveInt = 10_000
    """Training queries of a round that the adapter ranks, at most; the others' share is made up uniformly."""


class RatedLower(Drawn):
    """Items of the user's own training history that they rated lower than the target."""

    margin: PositiveFloat = 1.0
    """How much lower, in the data's unit."""


class LesserBehaviour(Drawn):
    """Items of the user's own history that never got as far as the target: viewed, and never bought."""


class From(Settings):
    """Shares of the sources of rejected items; what they come to together is 1, whatever their sum."""

    uniform: Uniform | None = None
    """Every item alike."""
    popular: Popular | None = None
    """Items in proportion to a power of their count in training."""
    retrieved: Retrieved | None = None
    """What a retriever ranked for the query, out of fold."""
    recent: Recent | None = None
    """What was in fashion shortly before the query, never after."""
    same_attribute: SameAttribute | None = None
    """What shares a value with the target in a field of the catalogue."""
    text_similar: TextSimilar | None = None
    """What reads most like the target."""
    in_batch: InBatch | None = None
    """What others in the same drawn group of queries went on to choose."""
    skipped: Skipped | None = None
    """What the user was shown and passed over."""
    low_rated: LowRated | None = None
    """What the user rated too low to be learned as chosen."""
    self_play: SelfPlay | None = None
    """What the adapter of the round before ranks on top; only in `rounds`, from the second."""
    rated_lower: RatedLower | None = None
    """What the same user rated lower than the target."""
    lesser_behaviour: LesserBehaviour | None = None
    """What the same user viewed and never bought, for targets that they bought."""

    @property
    def shares(self) -> dict[str, float]:
        """Source -> share, of those that are named."""
        return {name: one.share for name, one in self.named.items()}

    @property
    def named(self) -> dict[str, Drawn]:
        """Source -> its fields, of those that are named; in the order above."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: one for name, one in found.items() if one is not None}

    def draws(self, name: str) -> bool:
        """Whether a source has a share above 0."""
        return self.shares.get(name, 0) > 0

    @model_serializer(mode="wrap")
    def those_that_are_named(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the sources that are not named."""
        return {name: value for name, value in written(self).items() if value is not None}

    @model_validator(mode="after")
    def some_source(self) -> From:
        if sum(self.shares.values()) <= 0:
            raise ValueError("needs at least one source with a share above 0")
        return self


class Guard(Settings):
    """What is never rejected, beside the target: what the user liked, or may have liked, all the same."""

    after: Annotated[float, Field(ge=0)] | None = None
    """Days after the query within which what the user took up is never rejected; null: ever after."""
    near_text: Annotated[float, Field(gt=0, le=1)] | None = None
    """The cosine of character trigrams from which texts count as one; null: only texts that read the same."""


class Round(Settings):
    """One of several rounds of pairs and training; each goes on from the adapter of the one before."""

    sources: From | None = Field(None, alias="from")
    """Where this round's rejected items come from, as shares; null: as `pairs.from` says."""
