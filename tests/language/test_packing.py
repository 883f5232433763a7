"""A packed row is the tree of its branches: what begins alike is there once, and every token sees what it continues."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig

from llmrec.language.packing import asked_of, branches_row, mask, prompts_row

CONFIG = LlamaConfig(attn_implementation="sdpa")
BRANCHES = st.lists(st.lists(st.lists(st.integers(3, 5), max_size=4), max_size=5), min_size=1, max_size=3)


def beginnings(branches: list[list[int]]) -> set[tuple[int, ...]]:
    return {tuple(branch[: d + 1]) for branch in branches for d in range(len(branch))}


@given(BRANCHES)
def test_every_token_is_there_once_and_sees_the_prompt_and_what_it_continues(branches: list[list[list[int]]]) -> None:
    prompts = [[1, *range(10, 12 + i)] for i in range(len(branches))]  # of unequal length
    row = prompts_row(prompts, 0, torch.device("cpu"))
    p = row.ids.shape[1]
    after, columns = branches_row(branches, row.lengths, 0)
    row = row + after
    seen = mask(CONFIG, row, row.ids.shape[1])
    assert isinstance(seen, torch.Tensor)
    for i, (prompt, some) in enumerate(zip(prompts, branches, strict=True)):
        assert int(row.real[i].sum()) == len(prompt) + len(beginnings(some))
        before = list(range(p - len(prompt), p))
        for branch, cells in zip(some, columns[i], strict=True):
            for d, cell in enumerate(cells):
                assert int(row.ids[i, p + cell]) == branch[d]
                assert int(row.place[i, p + cell]) == len(prompt) + d
                visible = seen[i, 0, p + cell].nonzero()[:, 0].tolist()
                assert visible == [*before, *(p + one for one in cells[: d + 1])]


def test_places_asked_twice_are_made_once() -> None:
    asked, at = asked_of(torch.tensor([4, 1, 4]), 6)
    assert asked.tolist() == [False, True, False, False, True, False]
    assert at.tolist() == [1, 0, 1]
