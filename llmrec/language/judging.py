"""What a model says of pairs, judged by an objective: a loss for each pair, and what is watched.

Letters of shapes: b pairs, k rejected answers of a pair, n answers in all.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from llmrec.language.branches import branch_logps
from llmrec.language.examples import Batch
from llmrec.language.objectives import OBJECTIVES, Answers, log_odds
from llmrec.recipe.sections import Objective


def judged(model: Any, pairs: Batch, asked: Objective, *, pad: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Each pair's loss (b,), differentiable, and metrics, (b,) each.

    A loss is the preference and, times `asked.likelihood`, the mean negative log-likelihood of the pair's own tokens
    (`asked.nll_on`). No mean is taken over tokens of several pairs, so what is in a batch changes no pair's loss.
    """
    prompts_too = asked.likelihood > 0 and asked.nll_on != "branch"
    said = branch_logps(model, pairs.prompts, pairs.answers, pad=pad, own=prompts_too)
    counts = [len(row) for row in pairs.answers]
    lengths = said.tokens.new_tensor([len(answer) for row in pairs.answers for answer in row])  # (n,)
    sums = said.sums
    chosen, rejected, real = _table(sums / lengths if asked.by == "mean" else sums, counts)
    reference = None
    if pairs.reference is not None:
        before = sums.new_tensor([logp for row in pairs.reference for logp in row])
        reference = Answers(*_table(before / lengths if asked.by == "mean" else before, counts))
    answers = Answers(chosen, rejected, real, reference)

    first = torch.tensor([*accumulate(counts[:-1], initial=0)], device=sums.device)  # each pair's chosen answer
    spoken, words = sums[first], lengths[first]
    if said.prompts is not None:
        heard = [torch.ones_like(head) for head in said.prompts]
        if asked.nll_on == "history":
            assert pairs.titles is not None
            heard = [head.new_tensor(of_titles[1:]) for head, of_titles in zip(said.prompts, pairs.titles, strict=True)]
        spoken = spoken + torch.stack([head @ some for head, some in zip(said.prompts, heard, strict=True)])
        words = words + torch.stack([some.sum() for some in heard])
    nll = -spoken / words
    preference = OBJECTIVES[asked.name](answers, asked)
    losses = preference + asked.likelihood * nll
    with torch.no_grad():
        return losses, {"preference": preference.detach(), "nll_loss": nll.detach(), **_watched(answers, asked)}


def _watched(answers: Answers, asked: Objective) -> dict[str, Tensor]:
    """Names as TRL's where it has one; `ndcg` is that of the chosen answer among its pair's, ties counting half."""
    gained = answers if answers.reference is None else answers.gained()
    real, chosen = answers.real, answers.chosen[:, None]

    def mean(values: Tensor) -> Tensor:
        return (values * real).sum(1) / real.sum(1)

    ahead = gained.chosen[:, None] - gained.rejected
    above = (((answers.rejected > chosen) + 0.5 * (answers.rejected == chosen)) * real).sum(1)
    return {
        "logps/chosen": answers.chosen.detach(),
        "logps/rejected": mean(answers.rejected),
        "log_odds": mean(log_odds(chosen) - log_odds(answers.rejected)),
        "rewards/margins": asked.weight * mean(ahead),
        "rewards/accuracies": mean((ahead > 0).float()),
        "ndcg": 1 / torch.log2(2 + above),
    }


def _table(values: Tensor, counts: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Of each pair the chosen answer's value (b,), the rejected ones' (b, k), and which of those are real."""
    width, at, start = max(counts), [], 0
    for count in counts:
        at.append([*range(start, start + count), *[start] * (width - count)])
        start += count
    table = values[torch.tensor(at, device=values.device)]
    real = torch.arange(1, width) < torch.tensor(counts)[:, None]
    return table[:, 0], table[:, 1:], real.to(values.device)
