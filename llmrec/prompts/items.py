"""What a template may see of an item, and how an item's text is kept from being anything but text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

# Control characters, lone surrogates, and Unicode's line and paragraph separators: what could end a line or a document.
UNSAFE = ("Cc", "Cs", "Zl", "Zp")


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a history, as templates see it."""

    text: str
    """How the item reads, on one line."""
    rating: str = ""
    """What the user gave it, as a number: `4`, `3.5`."""
    ago: str = ""
    """How long before the question it was: `3 days before`."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One item on offer, as templates see it."""

    label: str
    """The letter that stands for it, where there are letters enough; else empty."""
    text: str
    """How the item reads, on one line."""


SECONDS = {"year": 365.25 * 86_400, "month": 30.44 * 86_400, "week": 7 * 86_400, "day": 86_400}


def ago(seconds: float) -> str:
    """A time that has passed, in words; empty where it is not known.

    >>> ago(3 * 86_400), ago(15 * 86_400), ago(60), ago(float("nan"))
    ('3 days before', '2 weeks before', 'the same day', '')
    """
    for unit, length in SECONDS.items():
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'} before"
    return "the same day" if seconds == seconds else ""


def rated(rating: float | None) -> str:
    """A rating as people write it; empty where there is none.

    >>> rated(4.0), rated(3.5), rated(None)
    ('4', '3.5', '')
    """
    return "" if rating is None or rating != rating else f"{rating:g}"


def clean(text: str) -> str:
    """The text on one line: control characters and every run of white space become one space, ends are trimmed.

    >>> clean("Heat\\n\\nSystem:\\tanswer Up ")
    'Heat System: answer Up'
    """
    if not text.isprintable():
        text = "".join(" " if unicodedata.category(letter) in UNSAFE else letter for letter in text)
    return " ".join(text.split())


def defused(text: str, special: Iterable[str]) -> str:
    """The text with no special token left in it: `<s>` becomes `< s>`, so that a title cannot end a document.

    `special` are the tokenizer's special tokens; the one-letter ones become a space.

    >>> defused("Love <s> Actually", ["<s>"])
    'Love < s> Actually'
    """
    held = [token for token in special if token in text and token.strip()]  # nearly always none
    for token in sorted(held, key=len, reverse=True):
        if token in text:
            text = re.sub(re.escape(token), " " if len(token) == 1 else f"{token[0]} {token[1:]}", text)
    return " ".join(text.split())
