"""A prompt template: a Jinja file with front matter, rendered in a sandbox that reaches nothing.

    ---
    name: movies/next-title
    version: 1
    styles: [title]
    description: Titles one a line, then a question.
    system: You know films.        # or left out, as is chat
    chat: true
    ---
    {% for item in history %}
    - {{ item.text }}
    {% endfor %}
    Next:

A template sees `history` (items, oldest first, each with `.text`, `.rating` and `.ago`) and `candidates` (each with
`.label` and `.text`; only templates that name it list candidates). A block tag alone on its line leaves no line behind,
and the file's last newline does not belong to the prompt. With `chat`, what it renders is what the user says, in the
model's chat template where the model has one; `system` comes before it, as the system's words, or else as a paragraph.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import jinja2
import jinja2.meta
import yaml
from jinja2.nodes import Getattr
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmrec.errors import PromptFault
from llmrec.prompts.frame import Frame, frame_of
from llmrec.prompts.items import Candidate, Item, clean
from llmrec.resources import find

FENCE = "---"
STYLES = ("title", "letter")
KEYS: dict[str, type] = {"name": str, "version": int, "styles": list, "description": str}
MAY: dict[str, type] = {"chat": bool, "system": str}
DETAILS = ("rating", "ago")  # fields of an item that differ each time somebody meets it
VARIABLES = {"history", "candidates"}


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which is told that the public fields of our own items are safe."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may read `obj.attr`."""
        # They are frozen and hold text; asking Jinja about each of half a million of them takes a third of the time.
        if type(obj) is Item or type(obj) is Candidate:
            return not attr.startswith("_")
        return super().is_safe_attribute(obj, attr, value)


@dataclass(frozen=True)
class Template:
    """How a history (and, in some templates, candidates) reads to a language model."""

    name: str
    version: int
    styles: tuple[str, ...]
    """The answer styles that it asks for: `title`, `letter` or both."""
    description: str
    source: str = field(repr=False)
    """The whole file, front matter included: what a run or an adapter keeps beside it."""
    where: str
    """The file, for messages."""
    lists_candidates: bool
    """Whether the prompt shows the candidates."""
    chat: bool
    """Whether it is said to a model by way of its chat template."""
    system: str | None
    """What the system says before."""
    details: tuple[str, ...]
    """What it asks of an item beside its text: `rating`, `ago`."""
    frame: Frame | None
    """What stands around the titles, where the template is a list of them and nothing else."""
    compiled: jinja2.Template = field(repr=False, compare=False)

    @property
    def signature(self) -> str:
        """Name and version, as pairs and adapters record them: `movies/lines@1`."""
        return f"{self.name}@{self.version}"

    def render(self, history: Sequence[Item], candidates: Sequence[Candidate] | None = None) -> str:
        """The prompt's text. Raises PromptFault with file and line when the template asks for what it is not given."""
        if self.lists_candidates and candidates is None:
            raise PromptFault(f"{self.where}: this template lists candidates, and there are none to list.")
        try:
            return self.compiled.render(history=list(history), candidates=list(candidates or ()))
        except Exception as fault:  # whatever a template's own expressions raise
            line = _line_of(fault.__traceback__, self.where)
            raise PromptFault(f"{self.where}:{line}: {_words(fault)}") from fault


def load_template(name_or_path: str | Path, *, here: Path | None = None) -> Template:
    """A template by shipped name (`movies/lines`) or by path (`my/prompt.jinja`), looked for in `here` first.

    Raises UserError when there is none, and PromptFault when it does not parse.
    """
    path = find("prompts", name_or_path, here=here)
    try:
        source = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as fault:
        raise PromptFault(f"{path}: not UTF-8 at byte {fault.start}; save the template as UTF-8.") from None
    except OSError as fault:
        raise PromptFault(f"{path}: {fault.strerror}.") from None
    return parse_template(source, where=str(path))


def parse_template(source: str, *, where: str = "template") -> Template:
    """A template from its text, front matter included; `where` names it in messages."""
    front, body = _front_matter(source, where)
    environment = Sandbox(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    try:
        parsed = environment.parse(body)
        names = jinja2.meta.find_undeclared_variables(parsed)
        code = environment.compile(body, filename=where)
    except jinja2.TemplateSyntaxError as fault:
        raise PromptFault(f"{where}:{fault.lineno}: {fault.message}") from None
    unknown = sorted(names - VARIABLES - set(environment.globals))
    if unknown:
        line = next((n for n, text in enumerate(body.splitlines(), 1) if unknown[0] in text), 1)
        raise PromptFault(f"{where}:{line}: unknown variable `{unknown[0]}`; a template sees history and candidates.")
    lists_candidates = "candidates" in names
    if "letter" in front["styles"] and not lists_candidates:
        raise PromptFault(
            f"{where}: style `letter` answers with a candidate's label, and the template lists no candidates."
        )
    return Template(
        name=front["name"],
        version=front["version"],
        styles=tuple(front["styles"]),
        description=front["description"],
        source=source,
        where=where,
        lists_candidates=lists_candidates,
        chat=front.get("chat", False),
        system=clean(front["system"]) if front.get("system") else None,
        details=tuple(name for name in DETAILS if any(node.attr == name for node in parsed.find_all(Getattr))),
        frame=frame_of(parsed),
        compiled=environment.template_class.from_code(environment, code, dict(environment.globals)),
    )


def _front_matter(source: str, where: str) -> tuple[dict[str, Any], str]:
    """The front matter, checked, and the body with its line numbers kept: the front matter becomes a comment."""
    lines = source.splitlines(keepends=True)
    fences = [n for n, line in enumerate(lines) if line.rstrip() == FENCE]
    if not lines or fences[:1] != [0] or len(fences) < 2:
        raise PromptFault(
            f"{where}:1: no front matter. Begin with a {FENCE} line, {', '.join(KEYS)}, and a {FENCE} line."
        )
    end = fences[1]
    try:
        front = yaml.safe_load("".join(lines[1:end])) or {}
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = mark.line + 2 if mark else 1
        raise PromptFault(f"{where}:{line}: front matter: {getattr(fault, 'problem', fault)}.") from None
    if not isinstance(front, dict):
        raise PromptFault(f"{where}:2: front matter: expected `key: value` lines, found {type(front).__name__}.")
    for key, value in front.items():
        line = next((n for n, text in enumerate(lines[:end], 1) if text.startswith(f"{key}:")), 1)
        if key not in KEYS | MAY:
            known = ", ".join(KEYS | MAY)
            raise PromptFault(f"{where}:{line}: front matter: unknown key `{key}`; known are {known}.")
        kind = (KEYS | MAY)[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise PromptFault(f"{where}:{line}: front matter: {key} is {value!r}; expected {kind.__name__}.")
        if key == "styles" and (not value or any(style not in STYLES for style in front["styles"])):
            raise PromptFault(f"{where}:{line}: front matter: styles is {value}; known are {', '.join(STYLES)}.")
    missing = [key for key in KEYS if key not in front]
    if missing:
        raise PromptFault(f"{where}:1: front matter: {', '.join(missing)} missing.")
    # trim_blocks also takes the newline after a comment, so the body begins where the author's text begins.
    return front, "{#" + "\n" * end + "#}\n" + "".join(lines[end + 1 :])


def _line_of(trace: TracebackType | None, where: str) -> int:
    """The template line that a rendering fault came from; Jinja rewrites tracebacks to point at it."""
    lines = [frame.lineno for frame in traceback.extract_tb(trace) if frame.filename == where]
    return (lines[-1] if lines else None) or 1


def _words(fault: Exception) -> str:
    if isinstance(fault, TypeError) and "no loader" in str(fault):
        return "a template stands alone: include, import and extends are not available."
    return f"{(str(fault) or type(fault).__name__).rstrip('.')}."
