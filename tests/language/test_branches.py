"""Branches of one prompt give the numbers of whole sequences, and their gradients, whatever the family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from llmrec.language.branches import branch_logps
from llmrec.language.lora import adapted
from llmrec.language.mamba2 import with_ssd
from llmrec.language.reading import how, read
from tests.language.families import CONFIGS, small

PROMPTS = [[1, 22, 33, 44, 55, 66, 77], [1, 9], [1, *range(10, 40)]]  # of unequal length, past any window here
BRANCHES = [  # some begin alike, some are one token
    [[4, 5], [7], [4, 5, 10, 11], [4, 5]],
    [[12, 13, 14]],
    [[5], [6], [5, 6]],
]
LETTERS = [[[5], [6], [7]]] * 3


def alone(model: Any, prompt: list[int], branch: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities of a branch's tokens, of what follows it, and of the prompt's own, read as one sequence."""
    whole = model(torch.tensor([prompt + branch])).logits[0].float().log_softmax(-1)
    ids = torch.tensor((prompt + branch)[1:])
    said = whole[:-1].gather(1, ids[:, None])[:, 0]
    return said[len(prompt) - 1 :], whole[-1], said[: len(prompt) - 1]


@pytest.mark.parametrize("family", CONFIGS)
@torch.no_grad()
def test_a_branch_scores_as_the_whole_sequence_does(family: str) -> None:
    model = small(family)
    state = read(model, PROMPTS, pad=0)
    said, n = state.logps(BRANCHES), 0
    for i, prompt in enumerate(PROMPTS):
        for j, branch in enumerate(BRANCHES[i]):
            tokens, after, _ = alone(model, prompt, branch)
            torch.testing.assert_close(said[i][j], tokens, atol=1e-4, rtol=0)
            next_two = state.ask(BRANCHES, [n, n], [len(branch)] * 2, [7, 8])  # of one branch alone, the others unread
            torch.testing.assert_close(next_two, after[7:9], atol=1e-4, rtol=0)
            n += 1


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    learned = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    found = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
    return {n: g if g is not None else torch.zeros_like(w) for (n, w), g in zip(learned.items(), found, strict=True)}


def tuned(family: str, impl: str = "sdpa", *, ours: bool = True) -> Any:
    """A model with an adapter that does something, in training mode; `ours`: Mamba-2 by our kernel."""
    model = small(family)
    if hasattr(model, "set_attn_implementation") and not family.startswith("mamba"):
        model.set_attn_implementation(impl)
    model = with_ssd(model) if ours else model
    wrapped = adapted(model, {"r": 4, "lora_dropout": 0.0}, here=None)  # type: ignore[arg-type]
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    wrapped.train()
    return wrapped


@pytest.mark.parametrize("branches", [BRANCHES, LETTERS], ids=["titles", "letters"])
@pytest.mark.parametrize("own", [False, True], ids=["branches", "prompts too"])
@pytest.mark.parametrize("family", [*CONFIGS, "mamba2, theirs"])
def test_training_hears_what_whole_sequences_would_tell_it(family: str, own: bool, branches: Any) -> None:
    model = tuned(family.split(", theirs")[0], ours="theirs" not in family)
    said = branch_logps(model, PROMPTS, branches, pad=0, own=own)
    weights = [0.3, -1.0, 2.0, 0.7]  # of tokens, so that no two errors cancel
    mine, theirs = [], []
    for i, prompt in enumerate(PROMPTS):
        for j, branch in enumerate(branches[i]):
            tokens, _, head = alone(model, prompt, branch)
            torch.testing.assert_close(said.logps[i][j], tokens, atol=1e-4, rtol=0)
            mine.append(weights[j] * said.logps[i][j].sum())
            theirs.append(weights[j] * tokens.sum())
            if own and j == 0:
                assert said.prompts is not None
                torch.testing.assert_close(said.prompts[i], head, atol=1e-4, rtol=0)
                mine.append(0.7 * said.prompts[i].square().sum())
                theirs.append(0.7 * head.square().sum())
    ours, right = gradients(model, torch.stack(mine).sum()), gradients(model, torch.stack(theirs).sum())
    assert any(gradient.abs().max() > 0 for gradient in right.values())
    for name, gradient in right.items():
        worst = (ours[name] - gradient).abs().max()
        assert worst <= 1e-3 * gradient.abs().max() + 1e-7, name


@pytest.mark.parametrize("family", ["llama", "gemma3", "mistral, windowed"])
def test_a_models_own_attention_takes_the_mask_too(family: str) -> None:
    said = {impl: branch_logps(tuned(family, impl), PROMPTS, BRANCHES, pad=0).tokens for impl in ("sdpa", "eager")}
    torch.testing.assert_close(said["eager"], said["sdpa"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["llama", "gemma3", "mamba2"])
def test_checkpointing_changes_no_number(family: str) -> None:
    plain, kept = tuned(family), tuned(family)
    kept.activation_checkpointing_enable({"use_reentrant": False})
    said = [branch_logps(model, PROMPTS, BRANCHES, pad=0) for model in (plain, kept)]
    torch.testing.assert_close(said[1].tokens, said[0].tokens, atol=1e-4, rtol=0)
    found = [gradients(model, one.tokens.sum()) for model, one in zip((plain, kept), said, strict=True)]
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-3 * float(gradient.abs().max()) + 1e-7, rtol=0)


@pytest.mark.parametrize("family", ["llama", "gemma3", "mamba2", "mamba"])
@torch.no_grad()
def test_a_prompt_may_be_asked_again_and_has_forgotten_nothing(family: str) -> None:
    state = read(small(family), PROMPTS, pad=0)
    once = state.logps(BRANCHES)
    state.logps([[[3, 3, 3, 3, 3]]] * len(PROMPTS))
    state.keep([2, 0])
    again = state.logps([BRANCHES[2], BRANCHES[0]])
    for row, other in zip([once[2], once[0]], again, strict=True):
        for a, b in zip(row, other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["llama", "mamba2", "mamba"])
def test_branches_do_not_see_each_other(family: str) -> None:
    model = small(family)
    state = read(model, [PROMPTS[0]], pad=0)
    crowd = [[4, 5], [8, 9, 10], [7, 7, 7, 7]]
    for said in (state.logps, lambda row: branch_logps(model, [PROMPTS[0]], row, pad=0).logps):
        lone, beside = said([crowd[1:2]])[0][0], said([crowd])[0][1]
        torch.testing.assert_close(lone, beside, atol=1e-5, rtol=0)


def test_single_tokens_are_read_off_the_prompt() -> None:
    state = read(small("llama"), PROMPTS, pad=0)
    assert state.logps([[[5], [6]]] * 3)[2][1].item() == state.first[2, 6].item()


def test_what_a_mask_or_a_state_cannot_hold_is_read_whole() -> None:
    ways = {family: how(small(family).config) for family in CONFIGS}
    assert {family for family, way in ways.items() if way == "forked"} == {"mamba2"}
    assert {family for family, way in ways.items() if way == "whole"} == {"mamba"}  # its cache takes single tokens
    flash = small("llama").config
    flash._attn_implementation = "flash_attention_2"  # takes no mask of branches
    assert how(flash) == "whole"
