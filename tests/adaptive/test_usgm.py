"""The universal method against the conditions that define it, on a stochastic quadratic."""

from __future__ import annotations

import pytest
import torch

from llmrec.adaptive.usgm import USGM

N = 20
CURVATURE = torch.linspace(0.05, 1.0, N, dtype=torch.float64)


class Run:
    """Every iterate, gradient, mean and H of a run from 0 on a quadratic around 1, written down as it goes."""

    def __init__(self, D: float, noise: float, steps: int = 300, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        weight = torch.nn.Parameter(torch.zeros(N, dtype=torch.float64))
        optimizer = USGM([weight], D=D)
        self.x, self.g, self.H = [weight.detach().clone()], [], []
        for _ in range(steps):
            gradient = CURVATURE * (weight.detach() - 1)
            weight.grad = gradient + noise * torch.randn(N, generator=generator, dtype=torch.float64)
            self.g.append(weight.grad.clone())
            optimizer.step()
            self.H.append(optimizer.param_groups[0]["H"])
            self.x.append(weight.detach().clone())
        optimizer.eval()
        self.mean = weight.detach().clone()


def value(x: torch.Tensor) -> float:
    return float((CURVATURE * (x - 1) ** 2).sum() / 2)


WORLDS = [(2.0, 0.0), (2.0, 0.3), (5.0, 0.3), (20.0, 0.1), (20.0, 1.0)]


@pytest.mark.parametrize(("D", "noise"), WORLDS)
def test_each_h_solves_the_balance_that_defines_it(D: float, noise: float) -> None:
    run = Run(D, noise)
    assert run.H[0] == 0
    for k in range(1, len(run.H)):
        moved, turned = run.x[k] - run.x[k - 1], run.g[k] - run.g[k - 1]
        left = (run.H[k] - run.H[k - 1]) * D**2
        right = max(float(turned @ moved) - run.H[k] * float(moved @ moved) / 2, 0.0)
        assert left == pytest.approx(right, rel=1e-4, abs=1e-6 * D**2)
        assert run.H[k] >= run.H[k - 1]


@pytest.mark.parametrize(("D", "noise"), WORLDS)
def test_each_iterate_minimises_its_model_over_the_ball(D: float, noise: float) -> None:
    # <g + H (x' - x), y - x'> >= 0 for every y of the ball; the worst y is on the far side of it.
    run = Run(D, noise)
    for k, H in enumerate(run.H):
        slope = run.g[k] + H * (run.x[k + 1] - run.x[k])
        worst = run.x[0] - D * slope / slope.norm().clamp_min(1e-12)
        assert float(slope @ (worst - run.x[k + 1])) >= -1e-5 * D * float(run.g[k].norm())
        assert float((run.x[k + 1] - run.x[0]).norm()) <= D * (1 + 1e-6)


def test_some_candidates_were_projected_and_some_were_not() -> None:
    run = Run(2.0, 0.3)  # the minimum is sqrt(20) away, outside this ball
    reached = torch.stack([(x - run.x[0]).norm() for x in run.x[1:]])
    assert (reached > 2 - 1e-6).any()
    run = Run(20.0, 0.1)
    reached = torch.stack([(x - run.x[0]).norm() for x in run.x[1:]])
    assert reached[0] == pytest.approx(20)
    assert (reached[50:] < 19).all()


@pytest.mark.parametrize(("D", "noise"), WORLDS)
def test_the_answer_is_the_mean_of_the_iterates_after_the_first(D: float, noise: float) -> None:
    run = Run(D, noise)
    assert torch.allclose(run.mean, torch.stack(run.x[1:]).mean(0), atol=1e-9)


@pytest.mark.parametrize(("D", "noise"), [(5.0, 0.0), (5.0, 0.3), (20.0, 0.0), (20.0, 0.3)])
def test_the_error_of_the_mean_is_within_the_bound(D: float, noise: float) -> None:
    errors, bounds = [], []
    for seed in range(5):
        run = Run(D, noise, steps=2000, seed=seed)
        errors.append(value(run.mean))
        bounds.append(5 * run.H[-1] * D**2 / 2000)
    assert sum(errors) <= sum(bounds)
    assert sum(errors) / 5 < 0.05 * value(torch.zeros(N, dtype=torch.float64))


def test_a_gradient_of_nothing_moves_nothing() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = USGM([weight], D=1.0)
    weight.grad = torch.zeros(3)
    optimizer.step()
    assert torch.equal(weight, torch.ones(3))


def test_while_h_is_zero_each_step_leaves_from_the_start() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = USGM([weight], D=1.0)
    for gradient in ([1.0, 0.0], [2.0, 0.0], [0.0, 4.0]):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        assert optimizer.param_groups[0]["H"] == 0  # it stands still at the ball's edge, which shows no curvature
    assert weight.tolist() == [0.0, -1.0]
