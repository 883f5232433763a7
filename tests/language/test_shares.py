"""Every row once an epoch, on any number of processes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llmrec.errors import TrainingFault
from llmrec.language.shares import SharedRows, Shares


def everybody(rows, batch, processes, epoch=0, seed=7):
    """What each process gets, step by step."""
    all_shares = [Shares(rows, batch, seed=seed, process=p, processes=processes) for p in range(processes)]
    for shares in all_shares:
        shares.set_epoch(epoch)
    return list(zip(*all_shares, strict=True))  # strict: all have as many steps, or they would wait for each other


@given(some.integers(1, 60), some.integers(1, 9), some.integers(1, 5))
def test_every_row_is_seen_once_and_everybody_always_has_some(rows, batch, processes):
    if rows < processes:
        with pytest.raises(TrainingFault, match=f"{rows} rows for {processes} processes"):
            everybody(rows, batch, processes)
        return
    steps = everybody(rows, batch, processes)
    assert sorted(row for step in steps for share in step for row in share) == list(range(rows))
    sizes = [len(share) for step in steps for share in step]
    assert min(sizes) >= 1
    assert max(sizes) <= max(batch, 2)
    assert all(max(map(len, step)) - min(map(len, step)) <= 1 for step in steps)
    assert len(steps) == len(Shares(rows, batch, seed=7, processes=processes))


@given(some.integers(4, 60), some.integers(1, 8))
def test_two_processes_take_the_steps_of_one_with_twice_the_batch(rows, batch):
    if rows % 2 and batch == 1:
        return  # there a step of one row cannot be shared
    alone = [share for [share] in everybody(rows, 2 * batch, 1)]
    assert [first + second for first, second in everybody(rows, batch, 2)] == alone


def test_steps_are_of_one_size_without_a_small_one_at_the_end():
    assert [len(share) for [share] in everybody(33, 16, 1)] == [11, 11, 11]


def test_epochs_differ_and_come_back():
    first, second, again = (everybody(20, 5, 2, epoch=epoch) for epoch in (0, 1, 0))
    assert first == again
    assert first != second
    assert everybody(20, 5, 2, seed=8) != first


def test_a_loader_tells_its_epoch_to_the_shares():
    loader = SharedRows(list(range(20)), batch_sampler=Shares(20, 5, seed=7), collate_fn=list)
    first = list(loader)
    loader.set_epoch(1)
    assert list(loader) != first
    assert list(loader) == [share for [share] in everybody(20, 5, 1, epoch=1)]
