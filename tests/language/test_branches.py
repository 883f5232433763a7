"""Branches of one prompt give the numbers of whole sequences, whatever the family."""

from __future__ import annotations

import pytest
import torch

from llmrec.language.branches import how, read
from tests.language.families import CONFIGS, small

PROMPTS = [[1, 22, 33, 44, 55, 66, 77], [1, 9], [1, *range(10, 40)]]  # of unequal length
BRANCHES = [[[4, 5], [7], [8, 9, 10, 11]], [[12, 13, 14]], [[5], [6]]]  # also of one token


@pytest.mark.parametrize("family", CONFIGS)
def test_a_branch_scores_as_the_whole_sequence_does(family: str) -> None:
    model = small(family)
    said = read(model, PROMPTS, pad=0)(BRANCHES, follow=True)
    for i, prompt in enumerate(PROMPTS):
        for j, branch in enumerate(BRANCHES[i]):
            with torch.no_grad():
                whole = model(torch.tensor([prompt + branch])).logits[0].log_softmax(-1)
            tokens = torch.stack([whole[len(prompt) - 1 + t, token] for t, token in enumerate(branch)])
            torch.testing.assert_close(said.logps[i][j], tokens, atol=1e-4, rtol=0)
            torch.testing.assert_close(said.next[i][j], whole[-1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["llama", "mamba2", "mamba"])
def test_a_prompt_may_be_asked_again_and_has_forgotten_nothing(family: str) -> None:
    state = read(small(family), PROMPTS, pad=0)
    once = state.logps(BRANCHES)
    state.logps([[[3, 3, 3, 3, 3]]] * len(PROMPTS))
    again = state.logps(BRANCHES)
    for row, other in zip(once, again, strict=True):
        for a, b in zip(row, other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_branches_do_not_see_each_other() -> None:
    state = read(small("llama"), [PROMPTS[0]], pad=0)
    alone = state.logps([[[8, 9, 10]]])[0][0]
    beside = state.logps([[[4, 5], [8, 9, 10], [7, 7, 7, 7]]])[0][1]
    torch.testing.assert_close(alone, beside, atol=1e-5, rtol=0)


def test_single_tokens_are_read_off_the_prompt() -> None:
    state = read(small("llama"), PROMPTS, pad=0)
    assert state.logps([[[5], [6]]] * 3)[2][1].item() == state.first[2, 6].item()


def test_what_a_mask_or_a_state_cannot_hold_is_read_whole() -> None:
    assert {family: how(config) for family, config in CONFIGS.items()} == {
        "llama": "packed",
        "mistral": "packed",
        "mistral, windowed": "whole",  # a sliding window counts positions that a packed row does not have
        "qwen2": "packed",
        "qwen3": "packed",
        "gpt_neox": "packed",
        "mamba2": "forked",
        "mamba": "whole",  # its cache is not carried into a second pass of several tokens
    }
