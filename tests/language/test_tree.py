"""The catalogue's tree holds every title once, and knows what may come next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.errors import RankingFault
from llmrec.language.tree import Node, build_tree, choices

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


def test_where_another_title_could_have_begun() -> None:
    found = choices(build_tree(TITLES))
    start = (0, [10, 13, 18])
    assert found[18, END] == [start]
    assert found[10, 11, 12, END] == [start, (1, [END, 11]), (2, [END, 12])]
    assert found[13, 14, END] == [start, (1, [14, 15])]


@given(st.lists(st.lists(st.integers(3, 8), min_size=1, max_size=4), min_size=1, max_size=12), st.integers(1, 6))
def test_choices_are_what_the_titles_themselves_leave_open(titles: list[list[int]], longest: int) -> None:
    answers = [(*title, END) for title in titles]
    for answer, places in choices(build_tree(answers, longest=longest)).items():
        nexts = [{other[d] for other in answers if other[:d] == answer[:d]} for d in range(len(answer))]
        assert places == [(d, sorted(tokens)) for d, tokens in enumerate(nexts) if len(tokens) > 1]


def test_titles_without_an_end_that_begin_one_another_are_a_fault() -> None:
    with pytest.raises(RankingFault, match=r"item 0's title begins that of item 1.*answer.eos: true"):
        build_tree([[10], [10, 11]])
