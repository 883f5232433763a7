"""What the recommender learns from, how it is split, and who is ranked against whom."""

from __future__ import annotations

import codecs
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from llmrec.recipe.sections.settings import Settings

Format = Literal["csv", "tsv", "dat", "inter", "jsonl", "python", "parquet", "arrow", "sqlite", "duckdb"]


class Reading(Settings):
    """How a file reads, where its ending does not tell."""

    format: Format | None = None
    """Left out, the file's ending says it; `python` is a Python literal a line, as in the older McAuley files."""
    separator: Annotated[str, Field(min_length=1)] | None = None
    """Between columns; left out, the format says it (`dat` is `::`)."""
    encoding: str = "utf-8"
    """Of the text, as Python names it: `utf-8`, `latin-1`, `cp1252`, `utf-16`, `shift_jis`."""
    names: list[str] = []
    """Column names, for files without a header line."""
    time_format: str | None = None
    """Of dates that are not ISO's, in the letters of strftime: `%d.%m.%Y`; times without a zone are UTC."""
    query: str | None = None
    """What to ask of a SQLite or DuckDB file: one SELECT; ORDER BY says which of equal times comes first."""

    @field_validator("encoding")
    @classmethod
    def known(cls, name: str) -> str:
        try:
            found = codecs.lookup(name)
            "a".encode(name)  # refuses those that are no text encodings, such as base64
        except LookupError:
            raise ValueError(f"{name!r} is no encoding that Python knows; utf-8, latin-1, cp1252 are") from None
        return {"iso8859-1": "latin-1"}.get(found.name, found.name)


class Items(Reading):
    """A second file that says what the items are."""

    path: str | Annotated[list[str], Field(min_length=1)]
    """As `data.path`."""
    columns: dict[str, str] = {"item": "item", "title": "title"}
    """Our name -> the file's name; `item` is required, the others become text fields."""


class Behaviours(Settings):
    """What a user may do with an item, by the words in the column `behaviour`; rows with other words are left out."""

    target: Annotated[list[str], Field(min_length=1)]
    """What is asked for: only such interactions become queries and pairs (`[buy]`)."""
    context: list[str] = []
    """What stands in histories too, and is never asked for (`[view, cart]`)."""
    exposed: list[str] = []
    """What was only shown: items that a user saw and never took are `declined`, for negatives (`[impression]`)."""

    @property
    def names(self) -> list[str]:
        """The behaviours in histories; a history's `behaviours` are places in this list."""
        return [*self.target, *self.context]

    @model_validator(mode="after")
    def each_once(self) -> Behaviours:
        words = [*self.names, *self.exposed]
        twice = [word for word in words if words.count(word) > 1]
        if twice:
            raise ValueError(f"{twice[0]} is named twice; a behaviour is target, context or exposed")
        return self


class Data(Reading):
    """Which interactions, and what of them is kept."""

    dataset: str | None = None
    """A shipped manifest (`llmrec datasets ls`) or the path of one; or leave it out and give `path`."""
    path: str | Annotated[list[str], Field(min_length=1)] | None = None
    """Interactions of one's own: a file, a folder, a pattern (`logs/*.parquet`), an address (`s3://...`), or a list of
    them; relative paths start at the recipe's folder."""
    columns: dict[str, str] = {}
    """Our name -> the file's name, for `user`, `item`, `time` and, if there are any, `rating`, `behaviour` and `shown`
    (what was on the screen beside the item); others are item text. A log without users: `{user: session_id}`."""
    shown_separator: Annotated[str, Field(min_length=1)] = " "
    """Between the items of `shown`, where it is text; lists (Parquet, JSON) are taken as they are."""
    items: Items | None = None
    """A file with the items' text, if it is not in the interactions."""
    min_rating: float | None = None
    """Interactions rated lower are left out (and counted); of items that stay they are `declined`, for negatives."""
    behaviours: Behaviours | None = None
    """Which words in the column `behaviour` are asked for, stand in histories, or say that an item was only shown."""
    min_user: PositiveInt = 5
    """Users with fewer interactions are dropped, again and again until none is left (k-core)."""
    min_item: PositiveInt = 1
    """Items with fewer interactions are dropped, together with `min_user`."""
    duplicates: Literal["keep", "first", "last"] = "first"
    """What stays when a user meets the same item again: every time, the first or the last. With `behaviours`, an item
    that the user ever took with a target behaviour stays as a target."""
    text: str = "{title}"
    """How an item reads: a format string over the catalogue's text fields."""
    engine: Literal["polars", "spark"] = "polars"
    """What turns interactions into histories: this machine, or Spark (`pip install "llmrec[spark]"`); both alike."""
    spark_master: str = "local[*]"
    """Where Spark runs: `local[*]`, or a cluster that sees the run's folder, `spark://host:port`."""
    memory: PositiveFloat | None = None
    """Gigabytes that `prepare` may take for interactions; what does not fit waits on disk. Left out, half of what is
    free."""

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


class Candidates(Settings):
    """Who is ranked against whom, beside the full catalogue."""

    count: Annotated[int, Field(ge=2)] = 20
    """Candidates a query, the target included."""
    negatives: Literal["uniform"] = "uniform"
    """Drawn uniformly from the items that the user has not touched."""
    two_stage: PositiveInt | None = None
    """Also rerank the retriever's top n, where a missed target counts as a miss; `fused` works on this set."""
