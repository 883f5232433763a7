"""One update's gradient, taken apart into those of its micro-batches and processes while it adds up.

Micro-batches add to the same gradient, so each one's own is the difference that it makes. Several processes average
theirs with the last micro-batch; a hook hears what each of them has before that.

Letters of shapes: n weights, m groups of this process, M of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed import GradBucket  # type: ignore[attr-defined]  # re-exported all the same
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from llmrec.adaptive.statistics import Moments, moments_of

MOST = 8  # groups that are kept apart, each as large as the adapter; what they say is averaged over updates anyway


class Groups:
    """The gradients of an update's groups, and in the end its statistics.

    A group is every so many-th micro-batch of a process. Dealt out like that, the groups of two processes are those of
    one that accumulates twice as many micro-batches, whose rows are the same.
    """

    def __init__(self, weights: Sequence[Tensor], processes: int = 1) -> None:
        self.weights, self.processes = list(weights), processes
        ends = torch.tensor([weight.numel() for weight in self.weights]).cumsum(0).tolist()
        self.spots = {id(w): slice(end - w.numel(), end) for w, end in zip(self.weights, ends, strict=True)}
        self.size: int = ends[-1]
        self.heard: Tensor | None = None
        self.kept = torch.zeros(0)
        self.begin(0)

    def listen(self, model: DistributedDataParallel) -> None:
        """Hears each process's own gradient before it is averaged with the others'."""
        model.register_comm_hook(self, lambda groups, bucket: groups.hear(bucket))

    def begin(self, batches: int) -> None:
        """Before an update of so many micro-batches (or parts of them); 0 measures nothing until the next."""
        self.rows = [0] * dealt(batches, self.processes)
        self.batches, self.at = batches, 0
        self.before: Tensor | None = None

    def add(self, times: float, rows: int) -> None:
        """After a micro-batch's backward pass, with how many of this process's rows it had.

        `times` makes the mean gradient of those rows of what it added to the gradient, which weighs micro-batches
        and processes.
        """
        if not self.batches:
            self.heard = None
            return
        now = self._flat() if self.heard is None else self.heard  # (n,)
        self.heard = None
        if not self.at and len(self.kept) == len(self.rows):
            self.kept.zero_()
        elif not self.at:
            self.kept = now.new_zeros(len(self.rows), self.size)  # (m, n)
        group = self.at % len(self.rows)
        self.kept[group].add_(now if self.before is None else now - self.before, alpha=times)
        self.rows[group] += rows
        self.before, self.at = now, self.at + 1

    def moments(self, gather: Callable[[Tensor], Tensor], times: float = 1.0) -> Moments:
        """The statistics of the update, the same on all processes.

        `gather` lays tensors (m, ...) of all processes below one another (M, ...); `times` undoes the loss's scale.
        """
        mean = self._flat() * times  # (n,); of all processes, by now
        apart = self.kept.mul_(len(self.rows) / self.batches).sub_(mean)
        told = [
            (row @ row, row @ mean, mean @ mean, mean.new_tensor(rows))
            for row, rows in zip(apart, self.rows, strict=True)
        ]
        table = gather(torch.stack([torch.stack(one) for one in told])).tolist()  # (M, 4)
        size = max(1, round(sum(rows for *_, rows in table) / len(table)))
        # A group that has more rows than others says as much more of a row's variance.
        squares = [square * rows / size for square, _, _, rows in table]
        along = [one * (rows / size) ** 0.5 for _, one, _, rows in table]
        return moments_of(squares, along, table[0][2], size)

    def hear(self, bucket: GradBucket) -> Any:
        """Notes this process's own gradient of a bucket's weights, and averages it with the others', as ever."""
        if self.batches:
            if self.heard is None:
                self.heard = torch.zeros(self.size, device=bucket.buffer().device)
            for weight, grad in zip(bucket.parameters(), bucket.gradients(), strict=True):
                self.heard[self.spots[id(weight)]].copy_(grad.reshape(-1))
        return allreduce_hook(None, bucket)  # type: ignore[arg-type]  # of all processes

    def _flat(self) -> Tensor:
        """The gradient as it stands (n,), in float32."""
        none = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in self.weights]
        return torch.cat([grad.reshape(-1).float() for grad in none])


def dealt(batches: int, processes: int) -> int:
    """Groups of one process: equal ones, `MOST` of all processes together where that divides.

    >>> [dealt(batches, 1) for batches in (1, 2, 6, 11, 16)], [dealt(batches, 2) for batches in (1, 3, 8)]
    ([1, 2, 6, 11, 8], [1, 3, 4])
    """
    few = [some for some in range(1, batches + 1) if batches % some == 0 and some * processes <= MOST]
    found = max(few, default=1)
    return batches if found * processes == 1 and batches > 1 else found
