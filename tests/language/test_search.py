"""Best-first search through the catalogue finds what scoring every title finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from llmrec.language.reading import read
from llmrec.language.search import Rule, beam, recall, top_k
from llmrec.language.tree import build_tree, choices
from tests.language.families import small
from tests.language.test_tree import END, TITLES

PROMPTS = [[1, 22, 33], [1, 44, 45, 46, 47, 48]]
NONE: list[frozenset[int]] = [frozenset()] * 2


@torch.no_grad()
def brute_force(model: PreTrainedModel, prompt: list[int], titles: list[list[int]], rule: Rule) -> np.ndarray:
    """The score of every title, from all that the model says after each of its tokens."""
    state = read(model, [prompt], pad=0)
    said = [s.double().numpy() for s in state.logps([titles])[0]]
    if rule == "sum":
        return np.array([s.sum() for s in said])
    open_at = choices(build_tree(titles))
    scores = []
    for title, own in zip(titles, said, strict=True):
        score = 0.0
        for depth, allowed in open_at[tuple(title)]:
            rivals = state.logps([[[*title[:depth], token] for token in allowed]])[0]
            score += own[depth] - np.logaddexp.reduce([float(rival[-1]) for rival in rivals])
        scores.append(score)
    return np.array(scores)


@pytest.mark.parametrize("family", ["llama", "mamba2", "mamba"])
@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("longest", [None, 1, 2])
@pytest.mark.parametrize("rule", ["sum", "ghost_free"])
def test_the_first_k_are_exact(family: str, longest: int | None, k: int, rule: Rule) -> None:
    model = small(family)
    tree = build_tree(TITLES, longest=longest)
    found = top_k(read(model, PROMPTS, pad=0), tree, k, hidden=NONE, width=2, rule=rule)
    for prompt, best in zip(PROMPTS, found, strict=True):
        every = brute_force(model, prompt, TITLES, rule)
        least = np.sort(every)[::-1][k - 1]
        assert {item for _, item in best} == set(np.flatnonzero(every >= least - 1e-5))
        assert [score for score, _ in best] == pytest.approx(
            sorted(every[[i for _, i in best]], reverse=True), abs=1e-4
        )


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(3, 20), min_size=1, max_size=5), min_size=4, max_size=40, unique_by=tuple),
    st.integers(1, 6),
    st.integers(1, 8),
    st.sampled_from([1, 2, 5, 1 << 16]),
    st.sets(st.integers(0, 3), max_size=2),
    st.sampled_from(["sum", "ghost_free"]),
)
def test_the_first_k_are_exact_for_any_titles_width_room_and_hidden_items(
    titles: list[list[int]], k: int, width: int, most: int, hidden: set[int], rule: Rule
) -> None:
    model, answers = small("llama"), [[*title, END] for title in titles]
    state = read(model, PROMPTS[:1], pad=0)
    [best] = top_k(state, build_tree(answers), k, hidden=[frozenset(hidden)], width=width, most=most, rule=rule)
    every = brute_force(model, PROMPTS[0], answers, rule)
    every[list(hidden)] = -np.inf
    expected = np.sort(every)[::-1][: min(k, len(answers) - len(hidden))]
    assert [score for score, _ in best][: len(expected)] == pytest.approx(expected, abs=1e-4)
    assert not hidden & {item for _, item in best}


def test_ghost_free_scores_are_a_distribution_over_the_catalogue() -> None:
    distinct = [title for n, title in enumerate(TITLES) if title not in TITLES[:n]]
    found = top_k(read(small("llama"), PROMPTS, pad=0), build_tree(distinct), 99, hidden=NONE, rule="ghost_free")
    assert [sum(np.exp(score) for score, _ in best) for best in found] == pytest.approx([1, 1], abs=1e-5)


def test_little_room_opens_other_nodes_and_holds_few(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrec.language import search

    answers = [[a, b, c, END] for a in range(3, 9) for b in range(3, 9) for c in range(3, 9)]
    held: list[int] = []
    inner = search._Search.frontier

    def watched(self: search._Search, width: int) -> list[search.Open]:
        held.append(len(self.heap) + len(self.deep))
        return inner(self, width)

    monkeypatch.setattr(search._Search, "frontier", watched)
    peaks = {}
    for most in (1, 1 << 16):
        held.clear()
        top_k(read(small("llama"), PROMPTS[:1], pad=0), build_tree(answers), 40, hidden=NONE[:1], width=1, most=most)
        peaks[most] = max(held)
    assert peaks[1] <= 6 * 3  # six ways on at each of three places
    assert peaks[1] < peaks[1 << 16]


def test_a_beam_as_wide_as_the_tree_is_exact_and_a_narrow_one_follows_the_best_beginning() -> None:
    model, tree = small("llama"), build_tree(TITLES)
    exact = top_k(read(model, PROMPTS, pad=0), tree, 3, hidden=NONE)
    wide = beam(read(model, PROMPTS, pad=0), tree, 3, hidden=NONE, width=99)
    assert [[i for _, i in best] for best in wide] == [[i for _, i in best] for best in exact]
    narrow = beam(read(model, PROMPTS, pad=0), tree, 1, hidden=NONE, width=1)
    for prompt, best in zip(PROMPTS, narrow, strict=True):
        first = read(model, [prompt], pad=0).first[0]
        favourite = max((10, 13, 18), key=lambda token: float(first[token].detach()))
        assert {TITLES[item][0] for _, item in best} == {favourite}
    assert recall(wide, exact) == 1
    assert recall(narrow, exact) < 1


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(0, 6), max_size=6), st.integers(1, 7), st.integers(1, 3))
def test_a_beam_finds_k_items_wherever_there_are_so_many(hidden: set[int], k: int, width: int) -> None:
    state = read(small("llama"), PROMPTS[:1], pad=0)
    [best] = beam(state, build_tree(TITLES), k, hidden=[frozenset(hidden)], width=width)
    assert len(best) >= min(k, len(TITLES) - len(hidden))
    assert not hidden & {item for _, item in best}
