"""Fits a retriever on histories: every position supervised, stopped when validation no longer improves.

What is written to `out`: log.jsonl (a line an epoch), checkpoint.safetensors while it runs, and at the end
model.safetensors and config.json. Killed at any moment, the next call goes on from the last whole epoch, to the same
weights that an undisturbed run would have reached.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from llmrec.errors import DataFault, TrainingFault
from llmrec.metrics import ndcg
from llmrec.progress import note, track
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.batches import padded
from llmrec.retriever.checkpoint import Checkpoint, Epoch, clear, restore, store, write_log
from llmrec.retriever.losses import LOSSES
from llmrec.retriever.model import Retriever
from llmrec.rng import rng_for, seed_for

DEPTH = 10  # of the NDCG that decides when to stop
VALID = 10_000  # validation queries at most; more would not change a decision
WARMUP = 0.05  # of all steps
FINAL = 0.05  # of the learning rate, where the cosine ends
NORM = 1.0  # gradients longer than this are shortened to it

Valid = tuple[Sequence[np.ndarray], Sequence[int] | np.ndarray]


@dataclass(frozen=True)
class Window:
    """Items `start` to `stop` of one history, of which each predicts the next; the first is predicted at 0 only."""

    history: int
    start: int
    stop: int


def fit(
    histories: Sequence[np.ndarray],
    n_items: int,
    section: Section,
    *,
    valid: Valid | None,
    seed: int,
    out: Path,
    words: str = "fitting the retriever",
) -> Retriever:
    """A retriever fitted on `histories` (item codes, oldest first), saved in `out`.

    `valid` holds contexts and their targets: after each epoch the whole catalogue is ranked for them, seen items left
    out, and the weights with the best NDCG@10 are kept; without it, the last weights are. `words` say what is fitted.
    Raises DataFault when there is nothing to learn from, TrainingFault when the loss is not finite.
    """
    histories = [np.asarray(h, dtype=np.int64) for h in histories]
    if not any(len(h) for h in histories):
        raise DataFault(f"{words}: none of {len(histories):,} histories has a training interaction.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if valid is not None:
        valid = _some(valid, seed)
    with torch.random.fork_rng():  # the caller's draws stay where they were
        torch.manual_seed(seed_for(seed, "retriever", "init"))
        model = Retriever(n_items, section).to(device)
        optimizer = _optimizer(model, section)
        at = restore(out, model, optimizer, section, histories, seed) or Checkpoint()
        for number in track(range(len(at.epochs) + 1, section.epochs + 1), words, telling=at.line):
            if at.since_best >= section.patience and valid is not None:
                break
            began = time.monotonic()
            torch.manual_seed(seed_for(seed, "retriever", "dropout", number))
            loss = _epoch(model, optimizer, histories, section, number, rng_for(seed, "retriever", "order", number))
            quality = validate(model, *valid) if valid is not None else None
            at.add(Epoch(number, loss, quality, time.monotonic() - began), model)
            store(out, at, model, optimizer, section, histories, seed)
            write_log(out, at.epochs)
        if at.epochs:
            note(f"{words}: done after {len(at.epochs)} epochs, {at.line()}")
    if at.best is not None:
        model.load_state_dict(at.best)
    model.eval()
    model.save(out)
    clear(out)
    return model


def validate(model: Retriever, contexts: Sequence[np.ndarray], targets: Sequence[int] | np.ndarray) -> float:
    """Mean NDCG@10 of the targets in the whole catalogue, the items of each context left out."""
    targets, values = np.asarray(targets), []
    for start in range(0, len(contexts), 1024):
        some, target = contexts[start : start + 1024], targets[start : start + 1024, None]
        scores = model.scores(some)
        wanted = np.take_along_axis(scores, target, 1)
        rows = np.repeat(np.arange(len(some)), [len(c) for c in some])
        scores[rows, np.concatenate(some)] = -np.inf
        np.put_along_axis(scores, target, wanted, 1)  # a target seen before is still asked for
        values.append(ndcg((scores > wanted).sum(1), (scores == wanted).sum(1), DEPTH))
    return float(np.concatenate(values).mean())


def windows(lengths: Sequence[int], longest: int, rng: np.random.Generator) -> list[Window]:
    """Each history cut into windows of at most `longest` items and the one they predict, at a random phase.

    Every item but a history's first is predicted exactly once, from what its window holds before it.
    """
    cut = []
    for history, length in enumerate(lengths):
        ends = [length]
        if length > longest + 1:
            ends = [*range(int(rng.integers(2, longest + 2)), length, longest), length]
        for start, stop in zip([0, *(end - 1 for end in ends[:-1])], ends, strict=True):
            cut.append(Window(history, start, stop))
    return [window for window in cut if window.stop]


def _epoch(
    model: Retriever,
    optimizer: torch.optim.Optimizer,
    histories: Sequence[np.ndarray],
    section: Section,
    number: int,
    rng: np.random.Generator,
) -> float:
    """One pass over the training histories; the mean loss of a position."""
    model.train()
    batches = list(_batches(windows([len(h) for h in histories], section.max_length, rng), section.batch_size, rng))
    device = model.begin.device
    total, count = 0.0, 0
    for step, batch in enumerate(batches):
        items, lengths = padded([histories[w.history][w.start : w.stop] for w in batch])
        asked = torch.arange(items.shape[1]) < lengths[:, None]
        asked[:, 0] &= torch.tensor([w.start == 0 for w in batch])
        vectors = model(items[:, :-1].to(device))[asked.to(device)]
        loss = LOSSES[section.loss](vectors, model.items.weight, items[asked].to(device))
        if not torch.isfinite(loss):
            raise TrainingFault(
                f"retriever: the loss is {loss.item()} in epoch {number}, step {step + 1}. Lower "
                f"retriever.learning_rate ({section.learning_rate:g})."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), NORM)
        done = (number - 1 + step / len(batches)) / section.epochs
        for group in optimizer.param_groups:
            group["lr"] = section.learning_rate * _share(done)
        optimizer.step()
        total, count = total + loss.item() * len(vectors), count + len(vectors)
    return total / count


def _batches(some: list[Window], size: int, rng: np.random.Generator) -> Iterator[list[Window]]:
    """Windows of like length together, so that little is padding; which ones, and in what order, by chance."""
    lengths = np.array([w.stop - w.start for w in some])
    order = np.argsort(lengths * rng.uniform(0.9, 1.1, len(lengths)), kind="stable")
    starts = np.arange(0, len(order), size)
    for start in rng.permutation(starts):
        yield [some[i] for i in order[start : start + size]]


def _share(done: float) -> float:
    """Of the learning rate when a share `done` of all steps lies behind: a line up, then a cosine down."""
    if done < WARMUP:
        return (done + WARMUP / 10) / (WARMUP * 1.1)
    return FINAL + (1 - FINAL) * (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP))) / 2


def _optimizer(model: Retriever, section: Section) -> torch.optim.AdamW:
    """AdamW that decays matrices only; norms, biases, A_log, D, dt_bias and the start vector have one dimension."""
    groups = [
        {"params": [w for w in model.parameters() if w.dim() > 1], "weight_decay": section.weight_decay},
        {"params": [w for w in model.parameters() if w.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=section.learning_rate, betas=(0.9, 0.98), fused=True)


def _some(valid: Valid, seed: int) -> Valid | None:
    contexts, targets = valid
    if not len(contexts):
        return None
    if len(contexts) <= VALID:
        return contexts, np.asarray(targets)
    rows = rng_for(seed, "retriever", "valid").choice(len(contexts), VALID, replace=False)
    return [contexts[i] for i in rows], np.asarray(targets)[rows]
