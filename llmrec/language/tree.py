"""The catalogue as a token tree: which titles there are, and what may come next in one.

Titles that begin alike share a path. Every title ends in the end token, which is a sibling of whatever continues it, so
that a title that is the beginning of another competes with it fairly. Titles with the same tokens share a leaf and a
score. A node stands for a run of tokens up to where titles part (a compressed trie).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmrec.errors import RankingFault


@dataclass
class Node:
    """A run of tokens; `path` is everything from the root to its end."""

    path: tuple[int, ...]
    run: int
    """Tokens of the path that are this node's own."""
    children: list[Node] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    """Items whose titles end here; a node with items has no children."""

    @property
    def firsts(self) -> list[int]:
        """First token of each child."""
        return [child.path[len(self.path)] for child in self.children]


def build_tree(answers: Sequence[Sequence[int]], *, longest: int | None = None) -> Node:
    """The tree over answers (tokens of each item, its end token included), item codes at the leaves.

    A run is `longest` tokens at most: shorter ones take more calls of the model, and let go of a title sooner. Raises
    RankingFault where a title is the beginning of another, which an end token prevents.
    """
    return _node((), 0, [(tuple(ids), item) for item, ids in enumerate(answers)], longest or max(map(len, answers)))


def _node(path: tuple[int, ...], start: int, titles: list[tuple[tuple[int, ...], int]], longest: int) -> Node:
    """The node that begins at `start` tokens' depth with token path[start], above `titles`, which all share `path`."""
    depth = len(path)
    while (
        0 < depth < start + longest
        and all(len(ids) > depth for ids, _ in titles)
        and len({ids[depth] for ids, _ in titles}) == 1
    ):
        depth += 1
    node = Node(path=titles[0][0][:depth], run=depth - start)
    node.items = [item for ids, item in titles if len(ids) == depth]
    below: dict[int, list[tuple[tuple[int, ...], int]]] = defaultdict(list)
    for ids, item in titles:
        if len(ids) > depth:
            below[ids[depth]].append((ids, item))
    if node.items and below:
        raise RankingFault(
            f"item {node.items[0]}'s title begins that of item {next(iter(below.values()))[0][1]}, and answers have no "
            "end token to tell them apart by: set answer.eos: true."
        )
    node.children = [_node(some[0][0][: depth + 1], depth, some, longest) for _, some in sorted(below.items())]
    return node


def choices(tree: Node) -> dict[tuple[int, ...], list[tuple[int, list[int]]]]:
    """Of each title (its tokens) where in it another could have begun: (tokens before, tokens that may come there).

    Everywhere else the catalogue leaves one token only.
    """
    found: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
    open_nodes: list[tuple[Node, list[tuple[int, list[int]]]]] = [(tree, [])]
    while open_nodes:
        node, above = open_nodes.pop()
        if node.items:
            found[node.path] = above
        below = [*above, (len(node.path), node.firsts)] if len(node.children) > 1 else above
        open_nodes += [(child, below) for child in node.children]
    return found
