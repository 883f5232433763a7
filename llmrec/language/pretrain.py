"""A small language model of the recipe's own: pre-trained on the training histories, written as text.

It makes the whole comparison possible without a model hub. What comes out is an ordinary transformers checkpoint; LoRA
and preference tuning treat it like any other.

Shapes: b rows, l tokens, v vocabulary, d width.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    Mamba2Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from llmrec.cross_entropy import cross_entropy
from llmrec.errors import ModelFault, TrainingFault
from llmrec.files import replacing
from llmrec.language.load import hide_bars
from llmrec.language.mamba2 import with_ssd
from llmrec.progress import track
from llmrec.prompts.encoding import Encoder
from llmrec.recipe.sections import Build
from llmrec.rng import rng_for, seed_for

WARMUP = 0.05  # share of steps
FLOOR = 0.05  # of the learning rate, at the end of the cosine


def pretrain(
    histories: Sequence[np.ndarray],
    encoder: Encoder,
    tokenizer: PreTrainedTokenizerFast,
    build: Build,
    *,
    seed: int,
    out: Path,
) -> PreTrainedModel:
    """Trains a causal language model on `histories` (item codes, oldest first), saved in `out` with its `tokenizer`.

    Every token of every row is supervised. A row is what the recipe's own prompt says of a stretch of history, so the
    template has to be a running list (`movies/lines`): a prompt followed by its answer is the next prompt. Resumes from
    the last finished epoch in `out`. Raises ModelFault if the template is no running list, TrainingFault if the
    loss stops being finite.
    """
    out.mkdir(parents=True, exist_ok=True)
    hide_bars()
    head = _head(encoder, max(histories, key=len))
    torch.manual_seed(seed_for(seed, "pretrain", "weights"))
    model: PreTrainedModel = AutoModelForCausalLM.from_config(architecture(build, tokenizer), dtype=torch.float32)
    model = with_ssd(model)
    lines = [encoder.answer_ids(item) for item in range(len(encoder.texts))]
    optimizer = torch.optim.AdamW(_decayed(model, build.weight_decay), lr=build.learning_rate, betas=(0.9, 0.98))

    checkpoint = out / "checkpoint"
    first = _resume(model, optimizer, checkpoint)
    per_epoch = [
        len(_batches(_rows(histories, head, lines, build, seed, e), build, seed, e)) for e in range(build.epochs)
    ]
    total, began = sum(per_epoch), time.monotonic()
    steps = sum(per_epoch[:first])
    kept = (out / "log.jsonl").read_text().splitlines(keepends=True)[:first] if first else []
    with (out / "log.jsonl").open("w") as log:
        log.writelines(kept)  # a pass that was logged and not kept is gone through again
        for epoch in range(first, build.epochs):
            rows = _rows(histories, head, lines, build, seed, epoch)
            batches = _batches(rows, build, seed, epoch)
            model.train()
            nats = tokens = 0.0
            for batch in track(batches, f"pre-training the language model, pass {epoch + 1} of {build.epochs}"):
                for group in optimizer.param_groups:
                    group["lr"] = build.learning_rate * _schedule(steps, total)
                loss, counted = _step(model, [rows[i] for i in batch], tokenizer.pad_token_id)
                if not math.isfinite(loss.item()):
                    raise TrainingFault(
                        f"pretrain: the loss is {loss.item()} at step {steps}; lower model.build.learning_rate "
                        f"(now {build.learning_rate})."
                    )
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                steps += 1
                nats, tokens = nats + loss.item() * counted, tokens + counted
            line = {"epoch": epoch + 1, "step": steps, "samples": len(rows) * (epoch + 1), "loss": nats / tokens}
            log.write(json.dumps({**line, "seconds": round(time.monotonic() - began, 2)}) + "\n")
            log.flush()
            _keep(model, optimizer, checkpoint, epoch + 1)
    model.eval()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    checkpoint.with_suffix(".safetensors").unlink()
    return model


def architecture(build: Build, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    """The transformers configuration of `model.build`."""
    ends = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if build.family == "mamba2":
        inner = 2 * build.d_model
        if inner % build.heads:
            raise ModelFault(f"model.build: heads {build.heads} does not divide the inner width {inner} (2 x d_model).")
        return Mamba2Config(
            vocab_size=len(tokenizer),
            hidden_size=build.d_model,
            num_hidden_layers=build.layers,
            state_size=build.d_state,
            num_heads=build.heads,
            head_dim=inner // build.heads,
            expand=2,
            n_groups=1,
            chunk_size=64,
            tie_word_embeddings=True,
            **ends,
        )
    if build.d_model % build.heads:
        raise ModelFault(f"model.build: heads {build.heads} does not divide d_model {build.d_model}.")
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=build.d_model,
        intermediate_size=build.d_ff,
        num_hidden_layers=build.layers,
        num_attention_heads=build.heads,
        num_key_value_heads=build.heads,
        max_position_embeddings=4 * build.window,
        attention_dropout=build.dropout,
        tie_word_embeddings=True,
        **ends,
    )


def _step(model: PreTrainedModel, rows: list[list[int]], pad: int) -> tuple[Tensor, int]:
    """Mean loss over the rows' tokens, and how many. Padding is on the right, where a causal model never looks."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)  # (b, l)
    real = torch.zeros(len(rows), width, dtype=torch.bool)
    for r, row in enumerate(rows):
        ids[r, : len(row)] = torch.tensor(row)
        real[r, : len(row)] = True
    hidden = model.base_model(ids).last_hidden_state[:, :-1]  # (b, l - 1, d)
    labels, real = ids[:, 1:], real[:, 1:]
    head = model.get_output_embeddings().weight  # (v, d)
    return cross_entropy(hidden[real], head, labels[real]), int(real.sum())


def _rows(
    histories: Sequence[np.ndarray], head: list[int], lines: list[list[int]], build: Build, seed: int, epoch: int
) -> list[list[int]]:
    """Histories cut into windows of whole titles; the first cut is drawn anew each epoch, so that borders move."""
    rng = rng_for(seed, "pretrain", "windows", epoch)
    room = build.window - len(head)
    sizes = np.array([len(line) for line in lines])
    rows = []
    for history in histories:
        ends = np.cumsum(sizes[history])
        start = 0
        space = room if not len(ends) or ends[-1] <= room else int(rng.integers(room // 4, room + 1))
        while start < len(history):
            used = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, used + space, side="right")))
            rows.append([*head, *(token for item in history[start:stop] for token in lines[item])])
            start, space = stop, room
    return rows


def _batches(rows: list[list[int]], build: Build, seed: int, epoch: int) -> list[np.ndarray]:
    """Rows of about one length together, the batches in random order."""
    rng = rng_for(seed, "pretrain", "batches", epoch)
    order = np.argsort([len(row) + 30 * rng.random() for row in rows])
    batches = [order[i : i + build.batch_size] for i in range(0, len(order), build.batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _schedule(step: int, total: int) -> float:
    warmup = max(1, int(WARMUP * total))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(total, 1))))
    return min(1.0, (step + 1) / warmup) * max(FLOOR, cosine)


def _decayed(model: PreTrainedModel, decay: float) -> list[dict[str, object]]:
    """Matrices decay; norms, biases and the state space's own parameters (A, D, Δ's bias) do not."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _head(encoder: Encoder, history: np.ndarray) -> list[int]:
    """What a prompt holds before its first title. ModelFault unless a prompt and its answer make the next prompt."""
    items = [int(item) for item in history[:3]]
    head = encoder.prompt(items[:1]).ids[: -len(encoder.answer_ids(items[0]))]
    said = head
    for n, item in enumerate(items, start=1):
        said = said + encoder.answer_ids(item)
        if said != encoder.prompt(items[:n]).ids:
            raise ModelFault(
                f"model.build: the template {encoder.template.name} is not a running list (a prompt and its answer do "
                "not make the next prompt), so histories written with it teach nothing about its answers. Use "
                "prompt.template: movies/lines with answer: {style: title, eos: true}, or a model.name."
            )
    return head


def _named(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            yield f"{index}.{name}", value if isinstance(value, Tensor) else torch.tensor(value)


def _keep(model: PreTrainedModel, optimizer: torch.optim.Optimizer, checkpoint: Path, epoch: int) -> None:
    """The last finished epoch, as safetensors, under a temporary name until it is whole."""
    from safetensors.torch import save_file

    weights = {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}
    moments = {f"optimizer.{n}": t.clone() for n, t in _named(optimizer)}
    with replacing(checkpoint.with_suffix(".safetensors")) as partial:
        save_file({**weights, **moments}, partial, metadata={"epoch": str(epoch)})


def _resume(model: PreTrainedModel, optimizer: torch.optim.Optimizer, checkpoint: Path) -> int:
    """Loads the last finished epoch, if there is one; its number, or 0."""
    from safetensors import safe_open

    path = checkpoint.with_suffix(".safetensors")
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as stored:
        epoch = int(stored.metadata()["epoch"])
        own = dict(model.named_parameters())
        state: dict[int, dict[str, Tensor]] = {}
        for key in stored.keys():  # noqa: SIM118 - safe_open is not a mapping
            kind, _, name = key.partition(".")
            if kind == "model":
                own[name].data.copy_(stored.get_tensor(key))
            else:
                index, _, field = name.partition(".")
                state.setdefault(int(index), {})[field] = stored.get_tensor(key)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return epoch
