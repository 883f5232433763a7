"""What must not stand beside `adaptive` in `train`: fields that decide the same, and what it could not work with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmrec.recipe import borrowed

# Fields of `train` that an adaptive block decides, with what it says in their place.
DECIDED = {
    "optim": "step",
    "optim_args": "scale",
    "optim_target_modules": "step",
    "lr_scheduler_type": "schedule",
    "lr_scheduler_kwargs": "schedule",
}


def clashes(train: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What stands in the way of an adaptive block among the other fields of `train`: (field, words)."""
    own = train.get("adaptive")
    if not isinstance(own, dict):
        return
    for field, instead in DECIDED.items():
        if train.get(field) is not None:
            yield field, f"stands beside train.adaptive, whose `{instead}` decides; take one of them away"
    for field, name in (("deepspeed", "DeepSpeed"), ("fsdp", "FSDP")):
        if train.get(field):
            yield (
                field,
                f"stands beside train.adaptive, but {name} accumulates and shards gradients itself: they cannot be "
                "measured whole. Take DDP or one device, or leave adaptive out",
            )
    if own.get("batch") is not None:
        if train.get("auto_find_batch_size"):
            yield (
                "auto_find_batch_size",
                "stands beside train.adaptive.batch, which decides; set per_device_train_batch_size to what there is "
                "memory for",
            )
        if own.get("micro") is not None:
            yield "adaptive", "micro is of the retriever; here per_device_train_batch_size says it. Leave it out"
        yield from _bound(train, own.get("most"))


def _bound(train: dict[str, Any], most: Any) -> Iterator[tuple[str, str]]:
    """The fault of a bound below the batch of one device, which several devices can only make larger."""
    fields = ("per_device_train_batch_size", "gradient_accumulation_steps")
    each, times = (train.get(field, borrowed.fields("train")[field]["default"]) for field in fields)
    if all(isinstance(number, int) for number in (each, times, most)) and most < each * times:
        words = f"{fields[0]} {each} times {fields[1]} {times}"
        yield "adaptive", f"most: {most} is below the first batch, {words}; raise it, or lower those"
