"""Writes `borrowed.json`: the fields of the installed trl's ORPOConfig and peft's LoraConfig, as JSON schema.

    python -m llmrec.recipe.generate

The table is committed, so that reading a recipe imports neither; tests/recipe/test_borrowed.py holds it to the
installed versions.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("borrowed.json")
NAMES: dict[type, str] = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}

# Bounds that the libraries check late (at the first step) or not at all.
BOUNDS: dict[str, dict[str, float]] = {
    "adam_epsilon": {"minimum": 0},
    "dataloader_num_workers": {"minimum": 0},
    "eval_steps": {"minimum": 0},
    "gradient_accumulation_steps": {"minimum": 1},
    "learning_rate": {"minimum": 0},
    "logging_steps": {"minimum": 0},
    "lora_dropout": {"minimum": 0, "maximum": 1},
    "num_train_epochs": {"minimum": 0},
    "per_device_eval_batch_size": {"minimum": 1},
    "per_device_train_batch_size": {"minimum": 1},
    "r": {"minimum": 1},
    "save_steps": {"minimum": 0},
    "warmup_steps": {"minimum": 0},
    "weight_decay": {"minimum": 0},
}


def schema_of(hint: Any) -> dict[str, Any] | None:
    """A type hint as JSON schema, or None for what YAML cannot say (another library's object)."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if hint in NAMES:
        return {"type": NAMES[hint]}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [str(choice.value) for choice in hint]}
    if origin is typing.Literal:
        # peft writes one family of choices as a placeholder: "pissa_niter_[number of iters]".
        families = [re.sub(r"\[.*\]", r"\\d+", choice) for choice in inner if "[" in str(choice)]
        choices = {"enum": [choice for choice in inner if "[" not in str(choice)]}
        return _either([choices, *({"type": "string", "pattern": f"^{family}$"} for family in families)])
    if origin in (typing.Union, types.UnionType):
        # "SchedulerType | str": the library takes any text here only to turn it into one of the choices.
        closed = any(isinstance(one, type) and issubclass(one, Enum) for one in inner)
        kept = [schema for one in inner if not (closed and one is str) and (schema := schema_of(one)) is not None]
        return _either(kept)
    if hint is list or origin is list:
        return {"type": "array", "items": (schema_of(inner[0]) if inner else None) or {}}
    if origin is tuple:
        return {"type": "array", "items": _either([schema_of(one) or {} for one in inner])}
    if hint is dict or origin is dict:
        return {"type": "object", "additionalProperties": (schema_of(inner[1]) if inner else None) or {}}
    return None


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    flat = [one for schema in schemas for one in schema.get("anyOf", [schema])]
    different = [schema for n, schema in enumerate(flat) if schema not in flat[:n]]
    return different[0] if len(different) == 1 else {"anyOf": different}


def fields_of(config: type) -> dict[str, dict[str, Any]]:
    """Name -> schema with default, for every field of a dataclass; `x-object` marks what YAML cannot say."""
    hints = typing.get_type_hints(config)
    table = {}
    for field in dataclasses.fields(config):
        schema = schema_of(hints[field.name])
        if not schema or schema == {"type": "null"}:
            schema = {"x-object": True}
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        default = default.value if isinstance(default, Enum) else default
        if isinstance(default, str | int | float | list | dict | None):
            schema["default"] = default
        table[field.name] = schema | BOUNDS.get(field.name, {})
    return table


def table() -> dict[str, Any]:
    """The whole table as the installed versions have it."""
    import peft
    import trl
    from trl.experimental.orpo import ORPOConfig

    return {
        "versions": {"trl": trl.__version__, "peft": peft.__version__},
        "train": fields_of(ORPOConfig),
        "lora": fields_of(peft.LoraConfig),
    }


if __name__ == "__main__":
    TABLE.write_text(json.dumps(table(), indent=1) + "\n", encoding="utf-8")
    print(TABLE)
