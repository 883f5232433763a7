"""The catalogue as a token tree, and exact search for its best titles.

Titles that begin alike share a path. Every title ends in the end token, which is a sibling of whatever continues it, so
that a title that is the beginning of another competes with it fairly. Titles with the same tokens share a leaf and a
score.

A node stands for a run of tokens up to where titles part (a compressed trie). The log-probability of the run's first
token, on top of its parent's, bounds every title below it from above, because later tokens can only subtract.
Best-first search therefore ends, exactly, when k finished titles beat every open bound.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch

from llmrec.language.reading import Read


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

    A run is `longest` tokens at most: shorter ones take more calls of the model, and let go of a title sooner.
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
    assert not (node.items and below), "a title without an end token is the beginning of another"
    node.children = [_node(some[0][0][: depth + 1], depth, some, longest) for _, some in sorted(below.items())]
    return node


@dataclass
class _Search:
    """One prompt's search: open nodes by bound, finished items by score."""

    k: int
    hidden: frozenset[int]
    heap: list[tuple[float, int, Node]] = field(default_factory=list)
    done: list[tuple[float, int]] = field(default_factory=list)
    pushed: int = 0

    def push(self, bound: float, node: Node) -> None:
        """Opens a node, or finishes it: a title whose only token left has been weighed has its score."""
        if node.items and node.run == 1:
            self.finish(bound, node)
        else:
            heapq.heappush(self.heap, (-bound, self.pushed, node))
            self.pushed += 1

    def finish(self, score: float, node: Node) -> None:
        """Notes the score of a title, for each item that has it."""
        self.done += [(score, item) for item in node.items if item not in self.hidden]

    def threshold(self) -> float:
        """The k-th best finished score: an open node below it cannot matter. Equal to it, it still may tie."""
        if len(self.done) < self.k:
            return -np.inf
        return heapq.nlargest(self.k, (score for score, _ in self.done))[-1]

    def frontier(self, width: int) -> list[tuple[float, Node]]:
        """The most promising open nodes, at most `width`, that could still change the first k, and their bounds."""
        nodes: list[tuple[float, Node]] = []
        least = self.threshold()
        while self.heap and len(nodes) < width and -self.heap[0][0] >= least:
            bound, _, node = heapq.heappop(self.heap)
            nodes.append((-bound, node))
        return nodes


@torch.no_grad()
def top_k(
    state: Read,
    tree: Node,
    k: int,
    *,
    hidden: Sequence[frozenset[int]],
    width: int = 16,
    on_expand: Callable[[int], None] = lambda nodes: None,
) -> list[list[tuple[float, int]]]:
    """For each prompt that `state` has read, its k best items and whatever ties with the k-th: (score, item) in order.

    The score is the sum of the answer's token log-probabilities. `hidden[i]` are items never to be returned (those the
    user has seen). `width` nodes a prompt are opened in one call of the model; it changes the cost, not the result.
    `state` is used up: it forgets prompts as their searches end.
    """
    searches = [_Search(k, hidden[i]) for i in range(len(state.first))]
    for search, first in zip(searches, state.first.cpu(), strict=True):
        for child, bound in zip(tree.children, first[tree.firsts].tolist(), strict=True):
            search.push(bound, child)
    active = list(range(len(searches)))
    while True:
        frontier = [searches[i].frontier(width) for i in active]
        if not any(frontier):
            return [_kept(search) for search in searches]
        on_expand(sum(map(len, frontier)))
        # Where most are done: a row of padding costs as much as a row of work.
        if sum(map(bool, frontier)) <= len(active) / 2:
            rows = [row for row, nodes in enumerate(frontier) if nodes]
            state.keep(rows)
            active, frontier = [active[row] for row in rows], [frontier[row] for row in rows]
        said = iter(_weighed(state, frontier))
        for i, nodes in zip(active, frontier, strict=True):
            for bound, node in nodes:
                score = bound + sum(next(said) for _ in range(node.run - 1))
                searches[i].finish(score, node)
                for child in node.children:
                    searches[i].push(score + next(said), child)


def _weighed(state: Read, frontier: list[list[tuple[float, Node]]]) -> list[float]:
    """Of each open node the log-probabilities of its run after the first token, then of its children's first tokens."""
    owner: list[int] = []
    depth: list[int] = []
    ids: list[int] = []
    for n, (_, node) in enumerate(chain(*frontier)):
        length = len(node.path)
        run = range(length - node.run + 1, length)
        depth += [*run, *[length] * len(node.children)]
        ids += [*(node.path[d] for d in run), *node.firsts]
        owner += [n] * (node.run - 1 + len(node.children))
    return state.ask([[node.path for _, node in nodes] for nodes in frontier], owner, depth, ids).double().tolist()


def _kept(search: _Search) -> list[tuple[float, int]]:
    least = search.threshold()
    return sorted(((s, item) for s, item in search.done if s >= least), key=lambda pair: -pair[0])
