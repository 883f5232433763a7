"""Each step against its definition, its resumption, and what it refuses."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator

import pytest
import torch

from llmrec.adaptive.steps import SCALES, STEPS, averages, growth, make_step
from llmrec.errors import TrainingFault

ONE_SIZE = ["dowg", "usgm", "adabatchgrad", "prodigy"]


def bowl(seed: int = 0) -> tuple[torch.nn.ParameterList, Iterator[torch.Tensor]]:
    """Weights in two pieces, and the noisy losses of a quadratic whose minimum lies at 1 everywhere."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.nn.ParameterList([torch.zeros(3, 2), torch.zeros(4)])
    curvature = torch.linspace(0.2, 2.0, 10)

    def losses() -> Iterator[torch.Tensor]:
        while True:
            x = torch.cat([weight.flatten() for weight in weights]) - 1
            noise = 0.1 * torch.randn(10, generator=generator)
            yield (curvature * x * x).sum() / 2 + (noise * x).sum()

    return weights, losses()


def steps(optimizer: torch.optim.Optimizer, losses: Iterator[torch.Tensor], count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        next(losses).backward()
        optimizer.step()


def flat(weights: torch.nn.ParameterList) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in weights]).double()


def away(weights: torch.nn.ParameterList) -> float:
    return float((flat(weights) - 1).norm())


@pytest.mark.parametrize("name", STEPS)
def test_every_step_comes_nearer_to_the_minimum(name: str) -> None:
    weights, losses = bowl()
    scale = {"prodigy": 1e-2, "dowg": 1e-2, "usgm": 5.0, "adabatchgrad": 1.0, "adamw": 1e-2, "schedule_free": 1e-1}.get(
        name
    )
    optimizer = make_step(name, weights.parameters(), scale=scale)
    before = away(weights)
    steps(optimizer, losses, 400)
    if averages(optimizer):
        optimizer.eval()  # type: ignore[attr-defined]
    assert away(weights) < before / 3


@pytest.mark.parametrize("name", STEPS)
def test_a_step_goes_on_from_its_state_to_the_same_weights(name: str) -> None:
    whole, losses = bowl()
    optimizer = make_step(name, whole.parameters())
    steps(optimizer, losses, 30)

    weights, losses = bowl()
    first = make_step(name, weights.parameters())
    steps(first, losses, 13)
    kept, state = [weight.detach().clone() for weight in weights], copy.deepcopy(first.state_dict())
    again = torch.nn.ParameterList(kept)
    second = make_step(name, again.parameters())
    second.load_state_dict(state)
    curvature, generator = torch.linspace(0.2, 2.0, 10), torch.Generator().manual_seed(0)
    for _ in range(13):
        torch.randn(10, generator=generator)

    def rest() -> Iterator[torch.Tensor]:
        while True:
            x = torch.cat([weight.flatten() for weight in again]) - 1
            yield (curvature * x * x).sum() / 2 + (0.1 * torch.randn(10, generator=generator) * x).sum()

    steps(second, rest(), 17)
    assert torch.equal(flat(again), flat(whole))


@pytest.mark.parametrize("name", STEPS)
def test_the_numbers_of_a_state_are_plain_and_travel_as_json(name: str) -> None:
    import json

    weights, losses = bowl()
    optimizer = make_step(name, weights.parameters())
    steps(optimizer, losses, 3)
    groups = optimizer.state_dict()["param_groups"]
    assert json.loads(json.dumps(groups)) == [
        {key: list(value) if isinstance(value, tuple) else value for key, value in group.items()} for group in groups
    ]


@pytest.mark.parametrize("name", ["usgm", "schedule_free"])
def test_averages_are_put_in_place_and_taken_out_again(name: str) -> None:
    weights, losses = bowl()
    optimizer = make_step(name, weights.parameters())
    assert averages(optimizer)
    steps(optimizer, losses, 10)
    iterate = flat(weights)
    optimizer.eval()  # type: ignore[attr-defined]
    mean = flat(weights)
    optimizer.eval()  # type: ignore[attr-defined]
    assert torch.equal(flat(weights), mean)
    optimizer.train()  # type: ignore[attr-defined]
    assert not torch.allclose(mean, iterate, atol=1e-6)
    assert torch.allclose(flat(weights), iterate, atol=1e-6)


def test_a_step_from_averages_is_refused() -> None:
    weights, losses = bowl()
    optimizer = make_step("usgm", weights.parameters())
    optimizer.eval()  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match=r"call train\(\) first"):
        steps(optimizer, losses, 1)


@pytest.mark.parametrize("name", ["adamw", "dowg", "adabatchgrad", "sgd", "prodigy"])
def test_the_others_have_nothing_to_put_in_place(name: str) -> None:
    assert not averages(make_step(name, bowl()[0].parameters()))


@pytest.mark.parametrize("name", ONE_SIZE)
def test_one_step_size_for_all_refuses_rates_of_groups(name: str) -> None:
    weights = list(bowl()[0].parameters())
    groups = [{"params": weights[:1], "lr": 1.0}, {"params": weights[1:], "lr": 16.0}]
    with pytest.raises(TrainingFault, match=f"{name} finds one step size for all weights.* 1, 16"):
        make_step(name, groups)


@pytest.mark.parametrize("name", ["dowg", "usgm", "adabatchgrad"])
def test_rates_that_come_apart_later_are_refused_too(name: str) -> None:
    weights, losses = bowl()
    optimizer = make_step(name, [{"params": [weight]} for weight in weights])
    optimizer.param_groups[1]["lr"] = 0.5
    with pytest.raises(TrainingFault, match="one step size"):
        steps(optimizer, losses, 1)


def test_groups_keep_rates_and_decays_of_their_own_where_that_is_allowed() -> None:
    weights = list(bowl()[0].parameters())
    groups = [{"params": weights[:1], "lr": 1e-2, "weight_decay": 0.0}, {"params": weights[1:]}]
    optimizer = make_step("adamw", groups, scale=1e-3, weight_decay=0.1)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(1e-2, 0.0), (1e-3, 0.1)]


@pytest.mark.parametrize("name", STEPS)
def test_weights_decay_under_steps_like_adams_alone(name: str) -> None:
    weights = bowl()[0]
    groups = make_step(name, [{"params": list(weights), "weight_decay": 0.1}]).param_groups
    assert groups[0]["weight_decay"] == (0.1 if name in ("adamw", "schedule_free", "prodigy") else 0)


@pytest.mark.parametrize("name", ["adamw", "schedule_free", "prodigy"])
def test_betas_arrive(name: str) -> None:
    assert make_step(name, bowl()[0].parameters(), betas=(0.8, 0.98)).param_groups[0]["betas"] == (0.8, 0.98)


def test_a_warm_up_counts_once_for_prodigy() -> None:
    assert make_step("prodigy", bowl()[0].parameters()).param_groups[0]["safeguard_warmup"]


def test_two_groups_are_one_vector_to_dowg() -> None:
    together, losses = bowl()
    steps(make_step("dowg", together.parameters()), losses, 20)
    apart, losses = bowl()
    steps(make_step("dowg", [{"params": [weight]} for weight in apart]), losses, 20)
    assert torch.equal(flat(apart), flat(together))


def test_prodigy_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    make_step("prodigy", bowl()[0].parameters(), weight_decay=0.1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["prodigy", "schedule_free"])
def test_a_package_that_is_not_there_is_named_with_its_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = {"prodigy": "prodigyopt", "schedule_free": "schedulefree"}[name]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TrainingFault, match=f"{name} needs the package {package}.*pip install '{package}>="):
        make_step(name, bowl()[0].parameters())


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(TrainingFault, match=r"adaptive\.scale: .* for dowg; a scale is a positive number \(0\.0001\)"):
        make_step("dowg", bowl()[0].parameters(), scale=scale)


def test_an_unknown_step_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TrainingFault, match="'adam' is no step; there are adamw, sgd, schedule_free"):
        make_step("adam", bowl()[0].parameters())


def test_every_step_has_a_scale() -> None:
    assert set(SCALES) == set(STEPS)


def test_dowg_is_its_definition() -> None:
    weights, losses = bowl()
    optimizer = make_step("dowg", weights.parameters(), scale=1e-2)
    x0 = x = flat(weights)
    reach, squares = 1e-2, 0.0
    for _ in range(25):
        steps(optimizer, losses, 1)
        g = torch.cat([weight.grad.flatten() for weight in weights]).double()  # type: ignore[union-attr]
        reach = max(float((x - x0).norm()), reach)
        squares += reach**2 * float(g @ g)
        x = x - reach**2 / squares**0.5 * g
        assert torch.allclose(flat(weights), x, atol=1e-5)


def test_adabatchgrad_is_its_definition_and_leaves_the_gradient_at_hand_out() -> None:
    weights, losses = bowl()
    optimizer = make_step("adabatchgrad", weights.parameters(), scale=0.7)
    x, before = flat(weights), 0.0
    for _ in range(25):
        steps(optimizer, losses, 1)
        g = torch.cat([weight.grad.flatten() for weight in weights]).double()  # type: ignore[union-attr]
        x = x - 0.7 / (1 + before) ** 0.5 * g
        before += float(g @ g)
        assert torch.allclose(flat(weights), x, atol=1e-5)


def test_rates_follow_a_growing_batch_by_the_square_root_for_adam_and_not_at_all_where_nothing_was_tuned() -> None:
    assert {name: growth(name, 2) for name in STEPS} == {
        "adamw": math.sqrt(2),
        "schedule_free": math.sqrt(2),
        "sgd": 2,
        "prodigy": 1,
        "dowg": 1,
        "usgm": 1,
        "adabatchgrad": 1,
    }


def test_sgd_follows_no_further_than_the_noise_scale() -> None:
    assert [growth("sgd", 2, room=room) for room in (0.5, 1.0, 1.5, 8.0)] == [1, 1, 1.5, 2]
