"""Objectives against their formulas, written as the papers have them, and at both ends of what a number can hold."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from llmrec.language.objectives import OBJECTIVES, REFERENCED, Answers, log_odds, standing
from llmrec.recipe.sections import BETA, Objective

CHOSEN, REJECTED = [-0.7, -2.0], [[-1.1, -0.4, -3.0], [-2.5, -1.9, -0.1]]
REAL = [[True, True, True], [True, True, False]]
BEFORE = [-1.0, -1.5], [[-1.3, -0.2, -2.0], [-2.0, -2.2, -5.0]]


def answers() -> Answers:
    real = torch.tensor(REAL)
    reference = Answers(torch.tensor(BEFORE[0]), torch.tensor(BEFORE[1]), real)
    chosen, rejected = (torch.tensor(logps, requires_grad=True) for logps in (CHOSEN, REJECTED))
    return Answers(chosen, rejected, real, reference)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def odds(logp: float) -> float:
    return math.exp(logp) / (1 - math.exp(logp))


def by_hand(asked: Objective, row: int) -> float:
    """One pair's loss."""
    beta, chosen = asked.weight, CHOSEN[row]
    some = [(r, b) for r, b, real in zip(REJECTED[row], BEFORE[1][row], REAL[row], strict=True) if real]
    before = BEFORE[0][row]
    terms = {
        "orpo": [math.log(odds(chosen) / odds(r)) for r, _ in some],
        "dpo": [beta * ((chosen - before) - (r - b)) for r, b in some],
        "s_dpo": [beta * ((chosen - before) - (r - b)) for r, b in some],
        "simpo": [beta * (chosen - r) - asked.gamma * beta for r, _ in some],
        "cpo": [beta * (chosen - r) for r, _ in some],
    }[asked.name]
    scale = beta if asked.name == "orpo" else 1.0
    if asked.name == "s_dpo" or (asked.many == "softmax" and asked.name != "dpo"):
        return scale * -math.log(1 / (1 + sum(math.exp(-term) for term in terms)))
    return scale * sum(-math.log(sigmoid(term)) for term in terms) / len(terms)


@pytest.mark.parametrize("many", ["mean", "softmax"])
@pytest.mark.parametrize("name", ["orpo", "dpo", "s_dpo", "simpo", "cpo"])
def test_an_objective_is_its_formula(name: Any, many: Any) -> None:
    asked = Objective(name=name, many=many)
    found = OBJECTIVES[name](answers(), asked)
    assert found.tolist() == pytest.approx([by_hand(asked, 0), by_hand(asked, 1)], rel=1e-5)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"sft"}))
def test_raising_the_chosen_answer_never_raises_the_loss(name: Any) -> None:
    given, asked = answers(), Objective(name=name)
    OBJECTIVES[name](given, asked).sum().backward()
    assert (given.chosen.grad < 0).all()  # type: ignore[operator]
    assert (given.rejected.grad[given.real] > 0).all()  # type: ignore[index]
    assert (given.rejected.grad[~given.real] == 0).all()  # type: ignore[index]


def test_where_all_answers_are_alike_a_loss_is_log_two_or_log_of_all() -> None:
    same = Answers(torch.full((1,), -1.0), torch.full((1, 7), -1.0), torch.ones(1, 7, dtype=torch.bool))
    same = Answers(same.chosen, same.rejected, same.real, same)
    assert standing(Objective(name="s_dpo"), 7) == pytest.approx(math.log(8))
    for name in ("dpo", "cpo"):
        assert float(OBJECTIVES[name](same, Objective(name=name))) == pytest.approx(math.log(2))
    assert float(OBJECTIVES["s_dpo"](same, Objective(name="s_dpo"))) == pytest.approx(math.log(8))
    soft = Objective(name="orpo", many="softmax", beta=1.0)
    assert float(OBJECTIVES["orpo"](same, soft)) == pytest.approx(math.log(8))


@given(st.floats(-80, -1e-6))
def test_log_odds_are_what_double_precision_says(logp: float) -> None:
    wanted = logp - (math.log(-math.expm1(logp)) if logp > -0.693 else math.log1p(-math.exp(logp)))
    assert float(log_odds(torch.tensor(logp, dtype=torch.float64))) == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    assert float(log_odds(torch.tensor(logp))) == pytest.approx(wanted, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("logp", [0.0, -1e-12, -1e-7, -0.69314, -0.6932, -50.0, -1e4])
def test_log_odds_and_their_slope_are_finite_everywhere(logp: float) -> None:
    at = torch.tensor(logp, requires_grad=True)
    found = log_odds(at)
    found.backward()
    assert torch.isfinite(found)
    assert at.grad is not None
    assert torch.isfinite(at.grad)


def test_each_objective_has_its_papers_beta_length_and_likelihood() -> None:
    all_of = {name: Objective(name=name) for name in BETA}
    said = {name: (asked.weight, asked.by, asked.likelihood) for name, asked in all_of.items()}
    assert said == {
        "sft": (0.0, "mean", 1.0),
        "orpo": (0.1, "mean", 1.0),
        "dpo": (0.1, "sum", 0.0),
        "s_dpo": (1.0, "sum", 0.0),
        "simpo": (2.0, "mean", 0.0),
        "cpo": (0.1, "sum", 1.0),
    }  # fmt: skip
    assert {"dpo", "s_dpo"} == REFERENCED
    assert isinstance(OBJECTIVES["sft"](answers(), Objective(name="sft")), Tensor)
