"""What sources of rejected items, guards and rounds ask of the rest of a recipe: told before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmrec.recipe.source import Key

READS_TARGET = ("same_attribute", "text_similar", "rated_lower", "lesser_behaviour")
"""Sources that look at what the user went on to choose."""


def unmet(values: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    """Faults, as (key path, words), of a recipe read as plain values; what is no mapping is somebody else's fault."""
    pairs = _mapping(values.get("pairs"))
    rounds = values.get("rounds")
    rounds = rounds if isinstance(rounds, list) else []
    letters = _mapping(values.get("answer")).get("style") == "letter"
    first = (
        0 if rounds and not _mapping(rounds[0]).get("from") else 1
    )  # a round that says none draws as pairs.from says
    yield from _sources(("pairs", "from"), pairs, first if rounds else None, letters, values)
    for n, one in enumerate(rounds):
        yield from _sources(("rounds", n, "from"), _mapping(one), n, letters, values)
    after = _mapping(pairs.get("guard")).get("after")
    if isinstance(after, int | float) and after > 0 and _lacks(values, "time"):
        yield ("pairs", "guard", "after"), f"the data have no times{_name_it('time')}, or take 0 or null here"


def _sources(
    key: Key, section: dict[str, Any], turn: int | None, letters: bool, values: dict[str, Any]
) -> Iterator[tuple[Key, str]]:
    """Faults of one `from`; `turn` is its place among the rounds, None where there are none."""
    asked = _mapping(section.get("from"))
    named = [name for name, one in asked.items() if (one.get("share") if isinstance(one, dict) else one)]
    if "self_play" in named and turn in (None, 0):
        why = "before the first round nothing has been trained" if turn == 0 else "an adapter plays itself in rounds"
        yield (*key, "self_play"), f"{why}; give it a share in the second of `rounds`, or a later one"
    if "self_play" in named and letters:
        yield (*key, "self_play"), "letters name listed candidates and rank no catalogue; take answer.style: title"
    for name in READS_TARGET:
        if name in named and letters:
            yield (*key, name), "the prompt would list items drawn around the target, which gives it away; leave it out"
    data = _mapping(values.get("data"))
    if "low_rated" in named and data.get("min_rating") is None:
        yield (*key, "low_rated"), "nothing counts as low; say from which rating on in data.min_rating"
    for name in ("skipped", "lesser_behaviour"):
        if name in named and data.get("path") is not None and not data.get("behaviours"):
            yield (*key, name), "the data have one kind of interaction; tell several apart in data.behaviours"
    for name, column in (("recent", "time"), ("rated_lower", "rating")):
        if name in named and _lacks(values, column):
            yield (*key, name), f"the data have no {column}s{_name_it(column)}, or take the source away"


def _lacks(values: dict[str, Any], column: str) -> bool:
    """Whether a file of one's own has no such column, as far as the recipe says what its columns are."""
    data = _mapping(values.get("data"))
    columns = _mapping(data.get("columns"))
    return data.get("path") is not None and "user" in columns and column not in columns


def _name_it(column: str) -> str:
    return f": name their column in data.columns.{column}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
