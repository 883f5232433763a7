"""Best-first search through the catalogue finds what scoring every title finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from llmrec.language.reading import read
from llmrec.language.tree import Node, build_tree, top_k
from tests.language.families import small

END = 2
TITLES = [
    [10, END],
    [10, 11, END],
    [10, 11, 12, END],
    [13, 14, END],
    [13, 15, 16, 17, END],
    [18, END],
    [10, 11, 12, END],
]
PROMPTS = [[1, 22, 33], [1, 44, 45, 46, 47, 48]]


def leaves(node: Node) -> dict[tuple[int, ...], list[int]]:
    own = {node.path: node.items} if node.items else {}
    return {**own, **{k: v for child in node.children for k, v in leaves(child).items()}}


def below(node: Node) -> list[Node]:
    return [one for child in node.children for one in [child, *below(child)]]


def test_every_title_is_a_leaf_and_equal_titles_share_one() -> None:
    assert leaves(build_tree(TITLES)) == {
        (10, END): [0], (10, 11, END): [1], (10, 11, 12, END): [2, 6], (13, 14, END): [3],
        (13, 15, 16, 17, END): [4], (18, END): [5],
    }  # fmt: skip


def test_a_run_of_tokens_without_a_choice_is_one_node() -> None:
    tree = build_tree(TITLES)
    [long] = [child for child in tree.children if child.path[0] == 18]
    assert (long.path, long.run) == ((18, END), 2)


@given(st.lists(st.lists(st.integers(3, 8), min_size=1, max_size=4), min_size=1, max_size=12), st.integers(1, 6))
def test_the_tree_loses_no_title(titles: list[list[int]], longest: int) -> None:
    answers = [[*title, END] for title in titles]
    tree = build_tree(answers, longest=longest)
    assert all(1 <= node.run <= longest for node in below(tree))
    found = leaves(tree)
    assert {i for items in found.values() for i in items} == set(range(len(answers)))
    assert all(list(path) == answers[i] for path, items in found.items() for i in items)


def brute_force(model: PreTrainedModel, prompt: list[int], titles: list[list[int]]) -> np.ndarray:
    scores = read(model, [prompt], pad=0).logps([titles])[0]
    return np.array([s.double().sum().item() for s in scores])


@pytest.mark.parametrize("family", ["llama", "mamba2", "mamba"])
@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("longest", [None, 1, 2])
def test_the_first_k_are_exact(family: str, longest: int | None, k: int) -> None:
    model = small(family)
    found = top_k(
        read(model, PROMPTS, pad=0), build_tree(TITLES, longest=longest), k, hidden=[frozenset()] * 2, width=2
    )
    for prompt, best in zip(PROMPTS, found, strict=True):
        every = brute_force(model, prompt, TITLES)
        least = np.sort(every)[::-1][k - 1]
        assert {item for _, item in best} == set(np.flatnonzero(every >= least - 1e-5))
        assert [score for score, _ in best] == pytest.approx(
            sorted(every[[i for _, i in best]], reverse=True), abs=1e-4
        )


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.lists(st.integers(3, 20), min_size=1, max_size=5), min_size=4, max_size=40, unique_by=tuple),
    st.integers(1, 6),
    st.integers(1, 8),
    st.sets(st.integers(0, 3), max_size=2),
)
def test_the_first_k_are_exact_for_any_titles_width_and_hidden_items(
    titles: list[list[int]], k: int, width: int, hidden: set[int]
) -> None:
    model, answers = small("llama"), [[*title, END] for title in titles]
    [best] = top_k(read(model, PROMPTS[:1], pad=0), build_tree(answers), k, hidden=[frozenset(hidden)], width=width)
    every = brute_force(model, PROMPTS[0], answers)
    every[list(hidden)] = -np.inf
    expected = np.sort(every)[::-1][: min(k, len(answers) - len(hidden))]
    assert [score for score, _ in best][: len(expected)] == pytest.approx(expected, abs=1e-4)
    assert not hidden & {item for _, item in best}
