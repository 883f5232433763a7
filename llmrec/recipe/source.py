"""YAML with places: what a recipe says, and on which line it says it.

`read` gives plain values beside a map from each key path to its place, so that a fault found later, by whoever finds
it, can name the line. Faults of the YAML itself (duplicate keys, octal numbers) are collected on the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llmrec.errors import RecipeFault
from llmrec.recipe.words import kind

Key = tuple[str | int, ...]
COMMAND_LINE = "command line"
CORE = "tag:yaml.org,2002:"
PLAIN = {f"{CORE}map", f"{CORE}seq"}
HINTS = {
    r"found character '\t'": "Indent with spaces, not tabs",
    "cannot start any token": "Put the value in quotes",
    "mapping values are not allowed": "Check the indentation; a value that holds `: ` needs quotes",
    "could not find expected ':'": "Give the key a colon and a space after it",
    "found undefined alias": "A value that starts with * needs quotes",
    "expected <block end>": 'Check the indentation; text that starts with { needs quotes, as in "{title} ({year})"',
    "expected ',' or": "Close the bracket that was opened before",
    "quoted scalar": "Close the quote that was opened before",
    "expected a single document": "Keep one recipe a file, without a second `---`",
}


@dataclass(frozen=True)
class Spot:
    """Where a value stands and, for a scalar, how it is written there."""

    place: str
    line: int
    written: str | None = None


@dataclass
class Source:
    """What was read: values, where each stands, and what was wrong already."""

    value: dict[str, Any]
    spots: dict[Key, Spot]
    faults: list[tuple[Key, str]] = field(default_factory=list)

    def spot(self, key: Key) -> Spot:
        """The place of a key, or of the nearest key around it."""
        while key and key not in self.spots:
            key = key[:-1]
        return self.spots[key]

    def put(self, override: str) -> None:
        """Lays one `dotted.key=value` of the command line over the values; the value is read as YAML."""
        dotted, equals, text = override.partition("=")
        dotted = dotted.strip().removeprefix("--")
        if not equals or not dotted:
            raise RecipeFault(f"{COMMAND_LINE}: {override}: overrides are key=value, as in train.learning_rate=1e-4")
        value, spots, faults = _read(text, f"{COMMAND_LINE}: {override}", COMMAND_LINE)
        key = self._locate(dotted.split("."))
        inner: Any = self.value
        for depth, part in enumerate(key[:-1], start=1):
            if inner.get(part) is None:
                inner[part] = {}
                self.spots[key[:depth]] = spots[()]
            inner = inner[part]
            if not isinstance(inner, dict):
                above = ".".join(map(str, key[:depth]))
                raise RecipeFault(f"{COMMAND_LINE}: {override}: {above} is {kind(inner)}, so it has no {key[depth]}")
        inner[key[-1]] = value
        for old in [k for k in self.spots if k[: len(key)] == key]:
            del self.spots[old]
        self.spots |= {key + inside: spot for inside, spot in spots.items()}
        self.faults = [(k, words) for k, words in self.faults if k[: len(key)] != key]
        self.faults += [(key + inside, words) for inside, words in faults]

    def _locate(self, parts: list[str]) -> tuple[str, ...]:
        """Dots split keys, except where a key that is already there has dots in it (an arm named qwen3-0.6b)."""
        key: tuple[str, ...] = ()
        inner: Any = self.value
        while parts:
            there = inner if isinstance(inner, dict) else {}
            size = next((n for n in range(len(parts), 1, -1) if ".".join(parts[:n]) in there), 1)
            part, parts = ".".join(parts[:size]), parts[size:]
            key, inner = (*key, part), there.get(part)
        return key


def read(path: Path, name: str | None = None) -> Source:
    """The file's values and places. Raises RecipeFault where nothing can be read: bytes, syntax, no mapping."""
    name = name or str(path)
    try:
        raw = path.read_bytes()
    except OSError as fault:
        raise RecipeFault(f"{name}: cannot be read: {fault.strerror}") from None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RecipeFault(f"{name}:1: the file is UTF-16; save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        raise RecipeFault(
            f"{name}:{line}: byte 0x{raw[fault.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None
    value, spots, faults = _read(text, name, name)
    if value is None:
        raise RecipeFault(
            f"{name}:1: the file is empty; `llmrec recipes copy quickstart {name}` gives one to start from"
        )
    if not isinstance(value, dict):
        line = spots[()].line
        raise RecipeFault(
            f"{name}:{line}: a recipe is a mapping of sections (`data:`, `model:`, ...); found {kind(value)}"
        )
    return Source(value, spots, faults)


def _read(text: str, name: str, place: str) -> tuple[Any, dict[Key, Spot], list[tuple[Key, str]]]:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        problem = fault.problem or fault.context or "syntax"
        hint = next((hint for words, hint in HINTS.items() if words in f"{fault.context or ''} {problem}"), "")
        at = f":{mark.line + 1}" if mark and place != COMMAND_LINE else ""
        raise RecipeFault(f"{name}{at}: this is not YAML: {problem}. {hint}".rstrip(" ")) from None
    except yaml.reader.ReaderError as fault:
        at = f":{text.count(chr(10), 0, fault.position) + 1}" if place != COMMAND_LINE else ""
        raise RecipeFault(
            f"{name}{at}: character #x{ord(text[fault.position]):04x} may not stand in YAML; remove it"
        ) from None
    reader = _Reader(place)
    if node is None:
        return None, {(): Spot(place, 1, "")}, []
    return reader.value(node, (), node.start_mark.line + 1, ()), reader.spots, reader.faults


class _Reader:
    """Builds plain values out of YAML nodes, noting where each stands."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.spots: dict[Key, Spot] = {}
        self.faults: list[tuple[Key, str]] = []
        self.build = yaml.SafeLoader("").construct_object

    def value(self, node: yaml.Node, key: Key, line: int, around: tuple[int, ...]) -> Any:
        plain = isinstance(node, yaml.ScalarNode)
        self.spots[key] = Spot(self.place, line, node.value if plain else None)
        if id(node) in around:
            self.faults.append((key, f"refers to itself (alias of line {node.start_mark.line + 1})"))
            return None
        around = (*around, id(node))
        if not plain and node.tag not in PLAIN:
            self.faults.append((key, f"the tag {node.tag.replace(CORE, '!!')} cannot be read; leave it out"))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, key, around)
        if isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)
            return [self.value(child, (*key, n), child.start_mark.line + 1, around) for n, child in items]
        return self.scalar(node, key)

    def mapping(self, node: yaml.MappingNode, key: Key, around: tuple[int, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for name, child in node.value:
            line = name.start_mark.line + 1
            if name.tag == f"{CORE}merge":
                for one in reversed(child.value) if isinstance(child, yaml.SequenceNode) else [child]:
                    below = self.value(one, key, line, around)
                    merged |= below if isinstance(below, dict) else {}
                continue
            # The key as written, whatever YAML makes of it: `no:` is "no", not False.
            word = name.value if isinstance(name, yaml.ScalarNode) else str(self.build(name, deep=True))
            if word in mapping:
                first = self.spots[(*key, word)].line
                self.faults.append(((*key, word), f"stands twice, here and in line {first}; keep one"))
            mapping[word] = self.value(child, (*key, word), line, around)
        return {**merged, **mapping}

    def scalar(self, node: yaml.Node, key: Key) -> Any:
        tag = node.tag.rpartition(":")[2]
        if tag == "timestamp" or (tag == "int" and ":" in node.value):
            return node.value  # 2024-01-01 and 12:30:45 are words here, not a date and the number 45,045
        if tag == "int" and re.fullmatch(r"[-+]?0\d[\d_]*", node.value):
            self.faults.append((key, f"YAML reads {node.value} as an octal number; drop the leading zero, or quote it"))
        try:
            return self.build(node)
        except (yaml.YAMLError, ValueError):
            self.faults.append((key, f"the tag or value cannot be read as {tag}; write a plain word, number or switch"))
            return None
