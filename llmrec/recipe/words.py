"""How faults are worded: what was found, what was expected, what may have been meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing (null)",
}

SWITCH = ". YAML reads no, off, yes and on as false and true"
WORD = f'{SWITCH}: put the word in quotes ("no") to keep it'


def typed(kind: str) -> str:
    """A JSON type in words."""
    return TYPES.get(kind, "a value")


def one_of(choices: Iterable[Any]) -> str:
    """`one of a, b, c`; a long list is cut."""
    names = [str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in choices]
    if len(names) == 1:
        return names[0]
    if len(names) > 12:
        return f"one of {', '.join(names[:12])}, ... ({len(names)} choices)"
    return f"one of {', '.join(names)}"


def near(word: str, names: Iterable[str]) -> str:
    """`; did you mean learning_rate?`, or nothing where no name is near."""
    known = {name.lower(): name for name in names}
    likely = get_close_matches(word.lower().replace("-", "_"), known, n=1, cutoff=0.6)
    return f"; did you mean {known[likely[0]]}?" if likely and known[likely[0]] != word else ""


def found(value: Any) -> str:
    """What stands there, in words: `found the number 3`."""
    return f"found {kind(value)}"


def kind(value: Any) -> str:
    """What a value is, in words: `a list`, `the number 3`, `nothing`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the switch {str(value).lower()}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int | float):
        return f"the number {value}"
    text = str(value)
    return f'the text "{text if len(text) <= 60 else text[:57] + "..."}"'
