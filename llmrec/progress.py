"""Progress for people: a bar where stderr is a terminal, a line now and then where it is not."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

from llmrec.launch import rank

T = TypeVar("T")
EVERY = 15.0  # seconds between plain lines


def leads() -> bool:
    """Whether this process speaks for the run: rank 0, or the only one."""
    return rank() == 0


def watched() -> bool:
    """Whether somebody looks at this process' stderr: other people's bars are for them alone."""
    return leads() and os.isatty(2)


def plain(text: str, *, keep: str = "") -> str:
    """Text that a terminal prints and does not obey: names come from other people's files. `keep` names exceptions.

    >>> plain("Am\u00e9lie \x1b[2J")
    'Am\u00e9lie \ufffd[2J'
    """
    kept = (letter.isprintable() or unicodedata.category(letter) == "Zs" or letter in keep for letter in text)
    return "".join(letter if keep else "\N{REPLACEMENT CHARACTER}" for letter, keep in zip(text, kept, strict=True))


def note(words: str) -> None:
    """One line to stderr, from the leading process only."""
    if leads():
        print(plain(words, keep="\n\t"), file=sys.stderr, flush=True)


def track(
    things: Iterable[T], words: str, *, total: int | None = None, telling: Callable[[], str] | None = None
) -> Iterator[T]:
    """Yields `things`, showing how far along they are; `total` where the iterable has no length.

    `telling` gives what else there is to say after each, such as the loss.
    """
    if total is None and isinstance(things, Sized):
        total = len(things)
    if not leads():
        yield from things
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task(words, total=total)
            for thing in things:
                yield thing
                bar.update(task, advance=1, description=f"{words}: {telling()}" if telling else words)
    else:
        began = last = time.monotonic()
        for done, thing in enumerate(things, start=1):
            yield thing
            now = time.monotonic()
            if now - last > EVERY:
                last = now
                left = f", about {(now - began) / done * (total - done):.0f} s left" if total else ""
                said = f", {telling()}" if telling else ""
                note(f"{words}: {done:,}{f' of {total:,}' if total else ''}{said}{left}")
