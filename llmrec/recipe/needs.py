"""What sources of rejected items, guards and rounds ask of the rest of a recipe: told before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter
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
    # A round that says none draws as pairs.from says.
    first = 0 if rounds and not _mapping(rounds[0]).get("from") else 1
    yield from _sources(("pairs", "from"), pairs, first if rounds else None, letters, values)
    for n, one in enumerate(rounds):
        yield from _sources(("rounds", n, "from"), _mapping(one), n, letters, values)
    if any("self_play" in _named(_mapping(one).get("from") or pairs.get("from")) for one in rounds):
        yield from _starts(values)
    after = _mapping(pairs.get("guard")).get("after")
    if isinstance(after, int | float) and after > 0 and _lacks(values, "time"):
        yield ("pairs", "guard", "after"), f"the data have no times{_name_it('time')}, or take 0 or null here"


def _sources(
    key: Key, section: dict[str, Any], turn: int | None, letters: bool, values: dict[str, Any]
) -> Iterator[tuple[Key, str]]:
    """Faults of one `from`; `turn` is its place among the rounds, None where there are none."""
    asked = _mapping(section.get("from"))
    named = _named(asked)
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
    behaviours = _mapping(data.get("behaviours"))
    several = len(_list(behaviours.get("target")) + _list(behaviours.get("context"))) > 1
    if "lesser_behaviour" in named and not several:
        yield (*key, "lesser_behaviour"), "the data have one kind of interaction; tell several apart in data.behaviours"
    if "skipped" in named and not behaviours.get("exposed"):
        yield (*key, "skipped"), "nothing says what was only shown; name it in data.behaviours.exposed"
    attribute, fields = _mapping(asked.get("same_attribute")).get("field"), _fields(data)
    if "same_attribute" in named and isinstance(attribute, str) and fields is not None and attribute not in fields:
        known = f"has {', '.join(map(str, fields))}" if fields else "has no fields"
        yield (
            (*key, "same_attribute", "field"),
            f"the catalogue {known}; found {attribute}. Name one of those, or one more in data.items.columns",
        )
    for name, column in (("recent", "time"), ("rated_lower", "rating")):
        if name in named and _lacks(values, column):
            yield (*key, name), f"the data have no {column}s{_name_it(column)}, or take the source away"


def _starts(values: dict[str, Any]) -> Iterator[tuple[Key, str]]:
    """Arms that start where another ended: it was tuned on every round's positions, which they are to play on."""
    arms = _mapping(values.get("arms"))
    for name, arm in arms.items():
        start = _mapping(_mapping(arm).get("lora")).get("init_from")
        if isinstance(start, str) and start in arms:
            why = f"{start} was tuned on the positions that {name} plays itself on, and would rank their targets first"
            yield ("arms", name, "lora", "init_from"), f"{why}; leave it out, or take self_play away"


def _named(asked: Any) -> list[str]:
    """The sources with a share."""
    return [name for name, one in _mapping(asked).items() if (one.get("share") if isinstance(one, dict) else one)]


def _fields(data: dict[str, Any]) -> list[str] | None:
    """The most fields that the catalogue of a file of one's own can have: what the recipe maps, or asks for as text."""
    if data.get("path") is None:
        return None
    if data.get("items"):
        return [
            name for name in _mapping(_mapping(data["items"]).get("columns") or {"title": "title"}) if name != "item"
        ]
    text = data.get("text", "{title}")
    try:
        asked = [name for _, name, _, _ in Formatter().parse(str(text)) if name]
    except ValueError:  # a stray brace is told of at its own key
        return None
    known = ("user", "item", "time", "rating", "behaviour")
    return [name for name in dict.fromkeys([*_mapping(data.get("columns")), *asked]) if name not in known]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _lacks(values: dict[str, Any], column: str) -> bool:
    """Whether a file of one's own has no such column, as far as the recipe tells: one with a header may have it."""
    data = _mapping(values.get("data"))
    names = _list(data.get("names"))
    return data.get("path") is not None and bool(names) and column not in (*names, *_mapping(data.get("columns")))


def _name_it(column: str) -> str:
    return f": name their column in data.columns.{column}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
