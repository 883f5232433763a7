"""Which rows each process of a launch trains on: every row once an epoch, each step's rows shared out evenly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from llmrec.errors import TrainingFault
from llmrec.rng import rng_for


class Shares(Sampler[list[int]]):
    """One process's batches of row numbers.

    accelerate's own shards are evened out with rows that come twice, as many as a whole step. Here an epoch has as many
    steps as `batch` rows a process need, of the same size to within one row, and each step's rows are shared out to
    within one row. A step has the same rows however many processes share them, so two processes with batches of 8
    are one process with batches of 16. Raises TrainingFault for fewer rows than processes.

    >>> [list(Shares(10, 3, seed=7, process=p, processes=2)) for p in (0, 1)]
    [[[1, 2, 7], [0, 6, 4]], [[5, 3], [8, 9]]]
    """

    def __init__(self, rows: int, batch: int, *, seed: int, process: int = 0, processes: int = 1) -> None:
        if rows < processes:
            raise TrainingFault(f"train: {rows} rows for {processes} processes; start fewer, or make more pairs.")
        self.rows, self.seed, self.process, self.processes = rows, seed, process, processes
        # Never so many steps that some process has nothing to do in one: with batches of one row, one may have two.
        self.steps = min(-(-rows // (batch * processes)), rows // processes)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Each epoch has an order of its own, drawn from the seed and the epoch alone: a stopped run finds it again."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        order = rng_for(self.seed, "train", "order", self.epoch).permutation(self.rows)
        for step in np.array_split(order, self.steps):
            yield np.array_split(step, self.processes)[self.process].tolist()


class SharedRows(DataLoader[Any]):
    """A loader whose epochs reach its batches; the trainer tells a loader, and torch's own would not listen."""

    batch_sampler: Shares

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)
