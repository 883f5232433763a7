"""What preference tuning minimises: short functions of the log-probabilities of answers.

Each takes `Answers` and gives one number a pair, (b,), to make small: the preference alone. The likelihood of the
chosen answer (`objective.nll_on`) is added by `judging`. A log-probability is of the whole answer (`length: sum`) or
its mean over the answer's tokens (`length: mean`).

Letters of shapes: b pairs, k rejected answers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from llmrec.recipe.sections import Objective

CERTAIN = -1e-7  # the nearest to 0 that a log-probability comes: the odds of a certain answer have no end


@dataclass(frozen=True)
class Answers:
    """Log-probabilities of chosen (b,) and rejected (b, k) answers.

    `real` (b, k) is False where a pair has fewer rejected answers than others. `reference` is what the model said
    before it was tuned, for the objectives that hold on to it.
    """

    chosen: Tensor
    rejected: Tensor
    real: Tensor
    reference: Answers | None = None

    def gained(self) -> Answers:
        """How much likelier each answer has become than it was to the reference."""
        assert self.reference is not None
        return Answers(self.chosen - self.reference.chosen, self.rejected - self.reference.rejected, self.real)


def log_odds(logps: Tensor) -> Tensor:
    """log(p / (1 - p)) of log p: log p - log1mexp(log p), safe on both sides (Maechler 2012)."""
    logps = logps.clamp(max=CERTAIN)
    near = logps > -0.693
    rest = torch.where(near, (-torch.expm1(torch.where(near, logps, -1.0))).log(), torch.log1p(-logps.exp()))
    return logps - rest


def orpo(answers: Answers, asked: Objective) -> Tensor:
    """beta * -log sigmoid(log odds(chosen) - log odds(rejected)) (Hong et al. 2024, arXiv 2403.07691, equation 7).

    Of k rejected answers the mean (`many: mean`), or the chosen one's share of all their odds (`many: softmax`),
    log(1 + sum_k exp(log odds(rejected_k) - log odds(chosen))).
    """
    return asked.weight * _against(log_odds(answers.chosen), log_odds(answers.rejected), answers.real, asked.many)


def dpo(answers: Answers, asked: Objective) -> Tensor:
    """-log sigmoid(beta (gain(chosen) - gain(rejected))), a gain being log p - log p of the reference.

    Rafailov et al. 2023 (arXiv 2305.18290, equation 7); of k rejected answers the mean.
    """
    gained = answers.gained()
    return _against(asked.weight * gained.chosen, asked.weight * gained.rejected, answers.real, "mean")


def s_dpo(answers: Answers, asked: Objective) -> Tensor:
    """log(1 + sum_k exp(beta (gain(rejected_k) - gain(chosen)))) (Chen et al. 2024, arXiv 2406.09215, equation 7)."""
    gained = answers.gained()
    return _against(asked.weight * gained.chosen, asked.weight * gained.rejected, answers.real, "softmax")


def simpo(answers: Answers, asked: Objective) -> Tensor:
    """-log sigmoid(beta (log p(chosen) - log p(rejected)) - gamma), of mean log-probabilities.

    Meng et al. 2024 (arXiv 2405.14734, equation 6), with gamma as a share of beta (`gamma_beta_ratio` in its code).
    """
    margin = asked.gamma * asked.weight
    return _against(asked.weight * answers.chosen - margin, asked.weight * answers.rejected, answers.real, asked.many)


def cpo(answers: Answers, asked: Objective) -> Tensor:
    """-log sigmoid(beta (log p(chosen) - log p(rejected))) (Xu et al. 2024, arXiv 2401.08417, equation 5)."""
    return _against(asked.weight * answers.chosen, asked.weight * answers.rejected, answers.real, asked.many)


def sft(answers: Answers, asked: Objective) -> Tensor:
    """Nothing: the likelihood of the chosen answer is all there is."""
    return torch.zeros_like(answers.chosen)


OBJECTIVES: dict[str, Callable[[Answers, Objective], Tensor]] = {
    "sft": sft,
    "orpo": orpo,
    "dpo": dpo,
    "s_dpo": s_dpo,
    "simpo": simpo,
    "cpo": cpo,
}


@functools.cache
def standing(asked: Objective, k: int) -> float:
    """The loss where chosen and k rejected answers are all alike: log 2, log(1 + k), or what becomes of them."""
    same = Answers(torch.full((1,), -1.0), torch.full((1, k), -1.0), torch.ones(1, k, dtype=torch.bool))
    same = Answers(same.chosen, same.rejected, same.real, same)
    return float(OBJECTIVES[asked.name](same, asked))


REFERENCED = {"dpo", "s_dpo"}
"""Objectives that need to know what the model said before."""


def _against(chosen: Tensor, rejected: Tensor, real: Tensor, many: str) -> Tensor:
    """-log sigmoid(chosen - rejected), its mean over rejected, or log(1 + sum exp(rejected - chosen)): (b,)."""
    ahead = chosen[:, None] - rejected
    if many == "softmax":
        return F.softplus((-ahead).masked_fill(~real, -torch.inf).logsumexp(1))
    return (F.softplus(-ahead) * real).sum(1) / real.sum(1)
