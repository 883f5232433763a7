"""Templates that are a list and nothing else: text, one line an item of the history, text.

Most templates are. Their prompts can be put together from pieces that are known once an item, and need no Jinja.
"""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import nodes

FIELD = "text"


@dataclass(frozen=True)
class Frame:
    """A prompt is `head`, then `before` + the item's text + `after` for each item, then `tail`."""

    head: str
    before: str
    after: str
    tail: str


def frame_of(body: nodes.Template) -> Frame | None:
    """The frame of a parsed template; None where it does anything else with its history, or lists candidates."""
    loops = [n for n, node in enumerate(body.body) if isinstance(node, nodes.For)]
    if len(loops) != 1:
        return None
    loop = body.body[loops[0]]
    assert isinstance(loop, nodes.For)
    over_history = isinstance(loop.iter, nodes.Name) and loop.iter.name == "history"
    if not over_history or loop.else_ or loop.test or loop.recursive or not isinstance(loop.target, nodes.Name):
        return None
    head, tail = _constant(body.body[: loops[0]]), _constant(body.body[loops[0] + 1 :])
    line = _outputs(loop.body)
    if head is None or tail is None or line is None:
        return None
    shown = [n for n, part in enumerate(line) if not isinstance(part, nodes.TemplateData)]
    if len(shown) != 1 or not _is_text(line[shown[0]], loop.target.name):
        return None
    before, after = (_joined(part) for part in (line[: shown[0]], line[shown[0] + 1 :]))
    return Frame(head, before, after, tail)


def _outputs(parts: list[nodes.Node]) -> list[nodes.Expr] | None:
    """What the statements print, one after another; None where one does more than print."""
    found: list[nodes.Expr] = []
    for part in parts:
        if not isinstance(part, nodes.Output):
            return None
        found += part.nodes
    return found


def _constant(parts: list[nodes.Node]) -> str | None:
    printed = _outputs(parts)
    if printed is None or not all(isinstance(part, nodes.TemplateData) for part in printed):
        return None
    return _joined(printed)


def _joined(parts: list[nodes.Expr]) -> str:
    return "".join(part.data for part in parts if isinstance(part, nodes.TemplateData))


def _is_text(part: nodes.Expr, name: str) -> bool:
    """Whether this is `item.text` of the loop's own item."""
    if not isinstance(part, nodes.Getattr) or part.attr != FIELD:
        return False
    return isinstance(part.node, nodes.Name) and part.node.name == name
