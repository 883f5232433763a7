"""The sources of rejected items, by name.

A source is a function from an `Ask` to a stream of items, with the rank and score that it has for them, if any. What
the user has touched is taken out afterwards (see `guards`). A new source is one function, one entry in `SOURCES`, and
one class of its fields in `llmrec.recipe.sections.negatives`.

Most streams know the query and the catalogue, never the target. Those that look at the target say so, and are for
training alone: what is rejected then depends on the answer, which a prompt that lists candidates would give away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmrec.candidates.negatives.pool import Found, Pool
from llmrec.candidates.uniform import uniform_stream
from llmrec.columns import POSITION, TARGET, TIME

DRAWS = 4096  # after which a source with repeats has nothing new to say: the user has touched what it has


@dataclass(frozen=True)
class Ask:
    """One query, as a source sees it; `fields` are the source's own in the recipe."""

    query: int
    rng: np.random.Generator
    pool: Pool
    fields: Any = None
    user: int = -1
    position: int | None = None
    time: int | None = None
    target: int | None = None
    """Given to sources that say they read it."""


def uniform(ask: Ask) -> Iterator[Found]:
    """Every item alike, without end."""
    for item in uniform_stream(ask.rng, ask.pool.n_items):
        yield item, None, None


def popular(ask: Ask) -> Iterator[Found]:
    """Items in proportion to a power of their count in the training prefixes."""
    upto = ask.pool.popularity(ask.fields.exponent)
    if upto[-1] > 0:
        for _ in range(DRAWS // 64):
            whole = ask.fields.exponent == 1
            drawn = ask.rng.integers(upto[-1], size=64) if whole else ask.rng.random(64) * upto[-1]
            for item in np.searchsorted(upto, drawn, side="right").tolist():
                yield item, None, None


def retrieved(ask: Ask) -> Iterator[Found]:
    """What the retriever ranked for this query, in random order, with its rank and score there."""
    yield from _in_random_order(ask, ask.pool.listed("retrieved").of(ask.query, ask.fields.ranks))


def recent(ask: Ask) -> Iterator[Found]:
    """Items in proportion to their training interactions in the days before the query; none at its time or after."""
    items, times = ask.pool.fashion
    if ask.time is not None:
        first, end = np.searchsorted(times, [ask.time - ask.fields.days * ask.pool.day, ask.time], side="left")
        if end > first:
            for _ in range(DRAWS // 64):
                for item in items[ask.rng.integers(first, end, size=64)].tolist():
                    yield item, None, None


def same_attribute(ask: Ask) -> Iterator[Found]:
    """Items that share a value with the target in a field, in random order; those that share two are no likelier."""
    held, items = ask.pool.values(ask.fields.field)
    assert ask.target is not None
    those = [items[value] for value in held[ask.target]]
    if those:
        for item in ask.rng.permutation(np.unique(np.concatenate(those))).tolist():
            yield item, None, None


def text_similar(ask: Ask) -> Iterator[Found]:
    """The items that read most like the target, in random order, with place and cosine."""
    first, last = ask.fields.ranks
    assert ask.target is not None
    yield from _in_random_order(ask, ask.pool.nearest(ask.target, last)[first - 1 :])


def in_batch(ask: Ask) -> Iterator[Found]:
    """The targets of the other queries in the same drawn group, in random order."""
    yield from _in_random_order(ask, [(item, None, None) for item in ask.pool.group(ask.query, ask.fields.size)])


def skipped(ask: Ask) -> Iterator[Found]:
    """What the user was shown and passed over, in random order."""
    yield from _in_random_order(ask, ask.pool.declined("skipped").get(ask.user, []))


def low_rated(ask: Ask) -> Iterator[Found]:
    """What the user rated below `data.min_rating`, in random order, with the rating as its score."""
    yield from _in_random_order(ask, ask.pool.declined("low_rated").get(ask.user, []))


def self_play(ask: Ask) -> Iterator[Found]:
    """What the adapter of the round before ranked first for this query, in random order, with rank and score."""
    yield from _in_random_order(ask, ask.pool.listed("self_play").of(ask.query, ask.fields.ranks))


def rated_lower(ask: Ask) -> Iterator[Found]:
    """What the user rated lower than the target by a margin, every time, in their training history; with the rating."""
    ratings, items = ask.pool.ratings[ask.user], ask.pool.histories[ask.user]
    enough = ratings[ask.position] - ask.fields.margin
    liked = set(items[ratings > enough].tolist())
    rated = zip(items.tolist(), ratings[: ask.pool.trained[ask.user]].tolist(), strict=False)
    yield from _in_random_order(ask, [(i, None, r) for i, r in rated if r <= enough and i not in liked])


def lesser_behaviour(ask: Ask) -> Iterator[Found]:
    """What the user met in training and never took as far as the target, later ones included: viewed, never bought."""
    how, items = ask.pool.behaviours[ask.user], ask.pool.histories[ask.user]
    reached = set(items[how <= how[ask.position]].tolist())  # what the recipe names first is what is wanted most
    met = dict.fromkeys(items[: ask.pool.trained[ask.user]].tolist())
    yield from _in_random_order(ask, [(item, None, None) for item in met if item not in reached])


def _in_random_order(ask: Ask, listed: list[Found]) -> Iterator[Found]:
    for place in ask.rng.permutation(len(listed)).tolist():
        yield listed[place]


@dataclass(frozen=True)
class Source:
    """A source: its stream, and what is known of it."""

    stream: Callable[[Ask], Iterator[Found]]
    ready: Callable[[Pool, Any], object] = lambda pool, fields: None
    """Makes what the stream reads, or raises DataFault where the data do not have it."""
    reads: tuple[str, ...] = ()
    """Columns of the queries that it cannot do without."""
    own: bool = False
    """Whether it gives items of the user's own history: they are touched, and that is no reason to leave them out."""

    @property
    def reads_target(self) -> bool:
        """Whether what it gives depends on the target: for training only, and never where prompts list candidates."""
        return TARGET in self.reads


SOURCES: dict[str, Source] = {
    "uniform": Source(uniform),
    "popular": Source(popular),
    "retrieved": Source(retrieved, lambda pool, fields: pool.listed("retrieved")),
    "recent": Source(recent, lambda pool, fields: pool.fashion, reads=(TIME,)),
    "same_attribute": Source(same_attribute, lambda pool, fields: pool.values(fields.field), reads=(TARGET,)),
    "text_similar": Source(text_similar, lambda pool, fields: pool.alike, reads=(TARGET,)),
    "in_batch": Source(in_batch, lambda pool, fields: pool.groups(fields.size)),
    "skipped": Source(skipped, lambda pool, fields: pool.declined("skipped")),
    "low_rated": Source(low_rated, lambda pool, fields: pool.declined("low_rated")),
    "self_play": Source(self_play, lambda pool, fields: pool.listed("self_play")),
    "rated_lower": Source(rated_lower, lambda pool, fields: pool.ratings, reads=(POSITION, TARGET), own=True),
    "lesser_behaviour": Source(
        lesser_behaviour, lambda pool, fields: pool.behaviours, reads=(POSITION, TARGET), own=True
    ),
}
