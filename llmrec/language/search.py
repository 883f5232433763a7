"""The best titles of the whole catalogue after a prompt: exactly, or with a beam.

Two rules have a partial title bound all its completions, since later tokens only subtract. `sum`: the log-probability
of the answer's tokens. `ghost_free`: the same, each token's probability renormalised over those that the catalogue
allows at its place, so that a token without a choice counts nothing (Bao et al. 2024, "Decoding Matters", call such
tokens ghosts; they leave out near-certain ones by a threshold). Best-first search therefore ends, exactly, when k
finished titles beat every open bound.

No state is kept for an open node: its path is read again, in one packed row with the other paths of a call, behind the
prompt, which is read once.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import numpy as np
import torch

from llmrec.language.reading import Read
from llmrec.language.tree import Node

Rule = Literal["sum", "ghost_free"]
Open = tuple[float, Node]  # a node and the bound of every title below it


@dataclass
class _Search:
    """One prompt's search: open nodes by bound, finished items by score."""

    k: int
    hidden: frozenset[int]
    most: int
    """Nodes ranked by their bounds; beyond, the search goes deep before it goes wide, which adds few."""
    ghost_free: bool
    heap: list[tuple[float, int, Node]] = field(default_factory=list)
    deep: list[Open] = field(default_factory=list)
    aside: list[tuple[float, int, Node]] = field(default_factory=list)
    """What a beam did not follow."""
    done: list[tuple[float, int]] = field(default_factory=list)
    pushed: int = 0

    def push(self, found: Sequence[Open]) -> None:
        """Opens nodes, or finishes them: a title of which nothing is left to weigh has its score."""
        for bound, node in sorted(found, key=lambda one: one[0]):  # the best comes last, and off the stack first
            while self.ghost_free and len(node.children) == 1:
                [node] = node.children
            if node.items and (self.ghost_free or node.run == 1):
                self.finish(bound, node)
            elif len(self.heap) < self.most:
                heapq.heappush(self.heap, (-bound, self.pushed, node))
                self.pushed += 1
            else:
                self.deep.append((bound, node))

    def finish(self, score: float, node: Node) -> None:
        """Notes the score of a title, for each item that has it."""
        self.done += [(score, item) for item in node.items if item not in self.hidden]

    def threshold(self) -> float:
        """The k-th best finished score: an open node below it cannot matter. Equal to it, it still may tie."""
        if len(self.done) < self.k:
            return -np.inf
        return heapq.nlargest(self.k, (score for score, _ in self.done))[-1]

    def frontier(self, width: int) -> list[Open]:
        """The most promising open nodes, at most `width`, that could still change the first k."""
        nodes: list[Open] = []
        least = self.threshold()
        while self.deep and len(nodes) < width:
            bound, node = self.deep.pop()
            if bound >= least:
                nodes.append((bound, node))
        while self.heap and len(nodes) < width and -self.heap[0][0] >= least:
            bound, _, node = heapq.heappop(self.heap)
            nodes.append((-bound, node))
        return nodes

    def beam(self, width: int) -> list[Open]:
        """The best open nodes, the others set aside; those come back where the beam ends with fewer than k items."""
        nodes = self.frontier(width)
        self.aside += self.heap
        self.heap = []
        if not nodes and len(self.done) < self.k and self.aside:
            self.heap, self.aside = self.aside, []
            heapq.heapify(self.heap)
            return self.beam(width)
        return nodes

    def best(self) -> list[tuple[float, int]]:
        """The first k finished items and whatever ties with the k-th."""
        least = self.threshold()
        return sorted(((s, item) for s, item in self.done if s >= least), key=lambda pair: -pair[0])


@torch.no_grad()
def top_k(
    state: Read,
    tree: Node,
    k: int,
    *,
    hidden: Sequence[frozenset[int]],
    rule: Rule = "sum",
    width: int = 16,
    most: int = 1 << 16,
    on_expand: Callable[[int], None] = lambda nodes: None,
) -> list[list[tuple[float, int]]]:
    """For each prompt that `state` has read, its k best items and whatever ties with the k-th: (score, item) in order.

    `hidden[i]` are items never to be returned (those the user has seen). `width` nodes a prompt are opened in one call
    of the model, and no more than about `most` are held open: both change the cost, not the result. `state` is used up:
    it forgets prompts as their searches end.
    """
    return _searched(state, tree, k, hidden, rule, most, on_expand, lambda search: search.frontier(width))


@torch.no_grad()
def beam(
    state: Read,
    tree: Node,
    k: int,
    *,
    hidden: Sequence[frozenset[int]],
    width: int,
    rule: Rule = "sum",
    on_expand: Callable[[int], None] = lambda nodes: None,
) -> list[list[tuple[float, int]]]:
    """As `top_k`, but of the nodes at one depth of the tree only the best `width` are followed: quick, not exact.

    Where that ends with fewer than k items, it begins again from the best of what was not followed.
    """
    return _searched(state, tree, k, hidden, rule, 1 << 62, on_expand, lambda search: search.beam(width))


def recall(found: Sequence[Sequence[tuple[float, int]]], exact: Sequence[Sequence[tuple[float, int]]]) -> float:
    """The mean share of each exact list that was found.

    >>> recall([[(-1.0, 7)], []], [[(-1.0, 7), (-2.0, 9)], [(-1.0, 3)]])
    0.25
    """
    shares = [
        len({item for _, item in some} & {item for _, item in all_}) / max(1, len(all_))
        for some, all_ in zip(found, exact, strict=True)
    ]
    return sum(shares) / max(1, len(shares))


def _searched(
    state: Read,
    tree: Node,
    k: int,
    hidden: Sequence[frozenset[int]],
    rule: Rule,
    most: int,
    on_expand: Callable[[int], None],
    chosen: Callable[[_Search], list[Open]],
) -> list[list[tuple[float, int]]]:
    searches = [_Search(k, hidden[i], most, rule == "ghost_free") for i in range(len(state.first))]
    for search, first in zip(searches, state.first.cpu(), strict=True):
        search.push(_children(0.0, tree, first[tree.firsts].tolist(), rule))
    active = list(range(len(searches)))
    while True:
        frontier = [chosen(searches[i]) for i in active]
        if not any(frontier):
            return [search.best() for search in searches]
        on_expand(sum(map(len, frontier)))
        # Where most are done: a row of padding costs as much as a row of work.
        if sum(map(bool, frontier)) <= len(active) / 2:
            rows = [row for row, nodes in enumerate(frontier) if nodes]
            state.keep(rows)
            active, frontier = [active[row] for row in rows], [frontier[row] for row in rows]
        said = _weighed(state, frontier, rule)
        for i, nodes in zip(active, frontier, strict=True):
            for bound, node in nodes:
                score = bound + sum(next(said) for _ in range(_weight(node, rule)))
                searches[i].finish(score, node)
                searches[i].push(_children(score, node, [next(said) for _ in node.children], rule))


def _weight(node: Node, rule: Rule) -> int:
    """Tokens of an open node that are still to be weighed: its run after the first, of which its bound knows."""
    return node.run - 1 if rule == "sum" else 0


def _children(score: float, node: Node, logps: list[float], rule: Rule) -> list[Open]:
    """The children of a node that scores `score`, with their bounds, from the log-probabilities of their firsts."""
    mass = float(np.logaddexp.reduce(logps)) if rule == "ghost_free" and logps else 0.0
    return [(score + logp - mass, child) for logp, child in zip(logps, node.children, strict=True)]


def _weighed(state: Read, frontier: list[list[Open]], rule: Rule) -> Iterator[float]:
    """Of each open node the log-probabilities of what is left to weigh, then of its children's first tokens."""
    owner: list[int] = []
    depth: list[int] = []
    ids: list[int] = []
    for n, (_, node) in enumerate(chain(*frontier)):
        length, left = len(node.path), _weight(node, rule)
        run = range(length - left, length)
        depth += [*run, *[length] * len(node.children)]
        ids += [*(node.path[d] for d in run), *node.firsts]
        owner += [n] * (left + len(node.children))
    asked = state.ask([[node.path for _, node in nodes] for nodes in frontier], owner, depth, ids)
    return iter(asked.double().tolist())
