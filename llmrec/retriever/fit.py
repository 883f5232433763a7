"""Fits a retriever on histories: every position supervised, stopped when validation no longer improves.

What is written to `out`: log.jsonl (a line an epoch), checkpoint.safetensors while it runs, and at the end
model.safetensors and config.json. Killed at any moment, the next call goes on from the last whole epoch, to the same
weights that an undisturbed run would have reached.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from llmrec.errors import DataFault, TrainingFault
from llmrec.metrics import ndcg
from llmrec.progress import note, track
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.adaptive import Adapting
from llmrec.retriever.batches import gaps
from llmrec.retriever.checkpoint import Checkpoint, Epoch, clear, identity, restore, store, write_log
from llmrec.retriever.descent import NORM, decaying, lost
from llmrec.retriever.losses import Loss, loss_of
from llmrec.retriever.model import Retriever
from llmrec.retriever.windows import (
    Batch,
    Window,
    batch,
    bucketed,
    end_to_end,
    packed,
    prefixes,
    side_by_side,
    windows,
)
from llmrec.rng import rng_for, seed_for

DEPTH = 10  # of the NDCG that decides when to stop
VALID = 10_000  # validation queries at most; more would not change a decision
WARMUP = 0.05  # of all steps
FINAL = 0.05  # of the learning rate, where the cosine ends


class Asked(NamedTuple):
    """Contexts, the target of each, and the moments of each context's items, in seconds (None: no clock)."""

    contexts: Sequence[np.ndarray]
    targets: Sequence[int] | np.ndarray
    times: Sequence[np.ndarray] | None = None


def fit(
    histories: Sequence[np.ndarray],
    n_items: int,
    section: Section,
    *,
    valid: Asked | None,
    seed: int,
    out: Path,
    times: Sequence[np.ndarray] | None = None,
    words: str = "fitting the retriever",
) -> Retriever:
    """A retriever fitted on `histories` (item codes, oldest first), saved in `out`.

    `times` are the moments of their items in seconds, for `time_scale`. `valid` holds contexts and their targets: after
    each epoch the whole catalogue is ranked for them, seen items left out, and the weights with the best NDCG@10 are
    kept; without it, the last weights are. With `section.adaptive`, batch and step set themselves (see
    `retriever.adaptive`). `words` say what is fitted. Raises DataFault when there is nothing to learn from,
    TrainingFault when the loss is not finite.
    """
    histories = [np.asarray(h, dtype=np.int64) for h in histories]
    if not any(len(h) for h in histories):
        raise DataFault(f"{words}: none of {len(histories):,} histories has a training interaction.")
    waits = None
    if section.time_scale is not None:
        if times is None:
            raise DataFault(f"{words}: retriever.time_scale needs the moment of each interaction; the data have none.")
        waits = [gaps(moments[: len(h)], section.time_scale) for moments, h in zip(times, histories, strict=True)]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if valid is not None:
        valid = _some(valid, seed)
    with torch.random.fork_rng():  # the caller's draws stay where they were
        torch.manual_seed(seed_for(seed, "retriever", "init"))
        model = Retriever(n_items, section).to(device)
        counts = torch.from_numpy(np.bincount(np.concatenate(histories), minlength=n_items)).to(device)
        loss_fn = loss_of(section, counts)
        adapting = None
        if section.adaptive is not None:
            rows = _rows(model, histories, rng_for(seed, "retriever", "order", 1))
            adapting = Adapting(model, section.adaptive, samples=section.epochs * len(rows))
        optimizer = _optimizer(model, section) if adapting is None else adapting.optimizer
        of = identity(section, [*histories, *(waits or [])], seed, n_items)
        at = restore(out, model, optimizer, of, adapting) or Checkpoint()
        for number in track(range(len(at.epochs) + 1, section.epochs + 1), words, telling=at.line):
            if at.since_best >= section.patience and valid is not None:
                break
            began = time.monotonic()
            torch.manual_seed(seed_for(seed, "retriever", "dropout", number))
            made = partial(batch, histories=histories, gaps=waits, begin=model.begin, horizon=section.horizon)
            rng = rng_for(seed, "retriever", "order", number)
            if adapting is None:
                plan = _plan(model, histories, rng)
                loss = _epoch(model, optimizer, map(made, plan), len(plan), loss_fn, number)
            else:
                loss = adapting.epoch(_rows(model, histories, rng), made, loss_fn, number, rng)
            quality = validate(model, valid) if valid is not None else None
            record = None if adapting is None else adapting.record()
            at.add(Epoch(number, loss, quality, time.monotonic() - began, record), model)
            store(out, at, model, optimizer, of, adapting)
            write_log(out, at.epochs)
        if at.epochs:
            note(f"{words}: done after {len(at.epochs)} epochs, {at.line()}")
    if at.best is not None:
        model.load_state_dict(at.best)
    model.eval()
    model.save(out)
    clear(out)
    return model


def validate(model: Retriever, asked: Asked) -> float:
    """Mean NDCG@10 of the targets in the whole catalogue, the items of each context left out."""
    return float(ndcg(*places(model.scores, asked), DEPTH).mean())


def places(score: Callable[..., np.ndarray], asked: Asked, *, masked: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """How many items each target's score lies below, and how many it equals, itself included: two arrays of counts.

    Where `masked`, the items of each context are left out. `score` gives rows of scores of contexts and their times.
    """
    targets, above, tied = np.asarray(asked.targets), [], []
    for start in range(0, len(targets), 1024):
        cut = slice(start, start + 1024)
        some, target = asked.contexts[cut], targets[cut, None]
        scores = np.array(score(some, asked.times and asked.times[cut]))
        wanted = np.take_along_axis(scores, target, 1)
        if masked:
            rows = np.repeat(np.arange(len(some)), [len(c) for c in some])
            scores[rows, np.concatenate(some)] = -np.inf
            np.put_along_axis(scores, target, wanted, 1)  # a target seen before is still asked for
        above.append((scores > wanted).sum(1))
        tied.append((scores == wanted).sum(1))
    return np.concatenate(above), np.concatenate(tied)


def _cut(model: Retriever, histories: Sequence[np.ndarray], rng: np.random.Generator) -> list[Window]:
    """One epoch's windows."""
    section, lengths = model.section, [len(h) for h in histories]
    if section.supervise == "prefixes":
        cut = prefixes(lengths, section.max_length)
    else:
        cut = windows(lengths, section.max_length, rng)
    if model.begin is None:
        cut = [window for window in cut if window.stop - window.start > 1]  # nothing predicts a first item
    return cut


def _plan(model: Retriever, histories: Sequence[np.ndarray], rng: np.random.Generator) -> list[list[list[Window]]]:
    """One epoch's batches, each a list of rows of windows, in an order drawn for it."""
    section, cut = model.section, _cut(model, histories, rng)
    if section.rows == "packed":
        return list(packed(cut, section.batch_size, section.max_length, rng))
    return list(bucketed(cut, section.batch_size, rng))


def _rows(model: Retriever, histories: Sequence[np.ndarray], rng: np.random.Generator) -> list[list[Window]]:
    """One epoch's rows, for batches of which none knows yet how large it will be."""
    section, cut = model.section, _cut(model, histories, rng)
    return end_to_end(cut, section.max_length, rng) if section.rows == "packed" else side_by_side(cut, rng)


def _epoch(
    model: Retriever, optimizer: torch.optim.Optimizer, batches: Iterable[Batch], steps: int, loss_fn: Loss, number: int
) -> float:
    """One pass over the training histories, in so many `steps`; the mean loss of a position."""
    model.train()
    section = model.section
    total, count = 0.0, 0
    for step, one in enumerate(batches):
        loss, positions = lost(model, loss_fn, one)
        if not torch.isfinite(loss):
            raise TrainingFault(
                f"retriever: the loss is {loss.item()} in epoch {number}, step {step + 1}. Lower "
                f"retriever.learning_rate ({section.learning_rate:g})."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), NORM)
        done = (number - 1 + step / steps) / section.epochs
        for group in optimizer.param_groups:
            group["lr"] = section.learning_rate * _share(done)
        optimizer.step()
        total, count = total + loss.item() * positions, count + positions
    return total / count


def _share(done: float) -> float:
    """Of the learning rate when a share `done` of all steps lies behind: a line up, then a cosine down."""
    if done < WARMUP:
        return (done + WARMUP / 10) / (WARMUP * 1.1)
    return FINAL + (1 - FINAL) * (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP))) / 2


def _optimizer(model: Retriever, section: Section) -> torch.optim.AdamW:
    """AdamW, of weights of which matrices decay."""
    groups = decaying(model, section.weight_decay)
    return torch.optim.AdamW(groups, lr=section.learning_rate, betas=(0.9, 0.98), fused=True)


def _some(valid: Asked, seed: int) -> Asked | None:
    if not len(valid.contexts):
        return None
    if len(valid.contexts) <= VALID:
        return valid
    rows = rng_for(seed, "retriever", "valid").choice(len(valid.contexts), VALID, replace=False)
    times = None if valid.times is None else [valid.times[i] for i in rows]
    return Asked([valid.contexts[i] for i in rows], np.asarray(valid.targets)[rows], times)
