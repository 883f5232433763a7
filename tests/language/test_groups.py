"""A gradient taken apart again: what each micro-batch, half or process had in it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from llmrec.adaptive.statistics import moments
from llmrec.language.groups import MOST, Groups, dealt

WEIGHTS = [(3, 2), (4,)]


def world(rows: int, seed: int = 0) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Weights, and rows whose loss is an inner product with them: a row is its own gradient."""
    draw = torch.Generator().manual_seed(seed)
    weights = [torch.randn(shape, generator=draw, requires_grad=True) for shape in WEIGHTS]
    return weights, torch.randn(rows, 10, generator=draw) + 0.3


def loss(weights: list[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    return (rows @ torch.cat([weight.reshape(-1) for weight in weights])).mean()


def alone(table: torch.Tensor) -> torch.Tensor:
    """What one process gathers."""
    return table


@pytest.mark.parametrize("batches", [2, 3, 8])
@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_the_gradients_of_micro_batches_come_apart(batches: int, scale: float) -> None:
    weights, rows = world(4 * batches)
    groups = Groups(weights)
    groups.begin(batches)
    for one in rows.split(4):
        (loss(weights, one) * scale / batches).backward()  # half precision's loss scale with it
        groups.add(batches / scale, 4)
    found = groups.moments(alone, 1 / scale)
    known = moments(torch.stack([one.mean(0) for one in rows.split(4)]), 4)
    assert (found.groups, found.size) == (batches, 4)
    for name in ("norm_sq", "trace", "inner", "orthogonal", "mean_sq"):
        assert getattr(found, name) == pytest.approx(getattr(known, name), rel=1e-4, abs=1e-6), name


def test_an_update_knows_nothing_of_the_one_before() -> None:
    weights, rows = world(16)
    groups = Groups(weights)
    found = []
    for _ in range(2):
        for weight in weights:
            weight.grad = None
        groups.begin(4)
        for one in rows.split(4):
            (loss(weights, one) / 4).backward()
            groups.add(4.0, 4)
        found.append(groups.moments(alone))
    assert found[0] == found[1]


def test_halves_of_unequal_size_weigh_as_they_have_rows() -> None:
    """Over many draws the trace is that of a row's covariance, the ten weights' variances of 1."""
    found = []
    for seed in range(300):
        weights, rows = world(3, seed)
        groups = Groups(weights)
        groups.begin(2)
        for part in (rows[:2], rows[2:]):
            (loss(weights, part) * len(part) / 3).backward()
            groups.add(3 / len(part), len(part))
        found.append(groups.moments(alone).trace)
    assert sum(found) / len(found) == pytest.approx(10, rel=0.1)


def told(batches: list[torch.Tensor], processes: int) -> torch.Tensor:
    """What the groups say of micro-batches that are dealt to processes in turn: a row a group, ordered."""
    mean = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    tables = []
    for process in range(processes):
        weights, _ = world(1)
        groups, own = Groups(weights, processes), batches[process::processes]
        groups.begin(len(own))
        for batch in own:
            (loss(weights, batch) / len(own)).backward()
            groups.add(len(own), len(batch))
        for weight, grad in zip(weights, mean.split([w.numel() for w in weights]), strict=True):
            weight.grad = grad.reshape(weight.shape).clone()  # what the processes' mean would be
        groups.moments(lambda table: tables.append(table) or torch.cat([table, table]))
    table = torch.cat(tables)
    return table[table[:, 1].argsort()]  # two groups are as far from their mean, on either side


@pytest.mark.parametrize("batches", [2, 4, 8, 16, 32])
def test_two_processes_have_the_groups_of_one_that_accumulates_twice_as_much(batches: int) -> None:
    _, rows = world(2 * batches)
    micro = list(rows.split(2))
    torch.testing.assert_close(told(micro, 1), told(micro, 2), atol=1e-5, rtol=1e-4)
    assert len(told(micro, 2)) == min(batches, MOST)


@given(some.integers(1, 64), some.integers(1, 8))
def test_groups_are_equal_and_few_and_there_are_two_where_there_can_be(batches: int, processes: int) -> None:
    each = dealt(batches, processes)
    assert batches % each == 0
    assert each * processes >= 2 or batches * processes == 1
    prime = all(batches % some for some in range(2, batches))
    assert each * processes <= MOST or (prime and each == batches)


def test_an_update_that_is_not_measured_leaves_nothing_behind() -> None:
    weights, rows = world(4)
    groups = Groups(weights)
    groups.begin(0)
    loss(weights, rows).backward()
    groups.add(1.0, 4)
    assert groups.kept.numel() == 0
