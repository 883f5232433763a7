"""`train` and `lora`: the fields of trl's ORPOConfig and peft's LoraConfig, without importing either.

`borrowed.json` (see `generate`) has each field as JSON schema, under its own name. Some fields are refused because
another part of the recipe owns them: set twice, they would disagree one day.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

from llmrec.recipe.words import SWITCH, WORD, found, near, one_of, typed

Section = Literal["train", "lora"]
CONFIG = {"train": "trl's ORPOConfig", "lora": "peft's LoraConfig"}

# Fields that exist over there and are set elsewhere in a recipe, with where.
OWNED: dict[Section, dict[str, str]] = {
    "train": {
        "output_dir": "the run folder is `--runs DIR` and the recipe's `name`",
        "max_length": "prompt.budget decides, and no answer is ever cut",
        "max_completion_length": "no answer is ever cut; prompt.budget decides about prompts",
        "seed": "use the recipe's own `seed`",
        "data_seed": "every draw derives from the recipe's own `seed`",
        "beta": "use objective.beta",
        "remove_unused_columns": "llmrec's own batches decide which columns stay",
        "resume_from_checkpoint": "a run that was stopped goes on by itself",
        "do_train": "`llmrec train` trains",
        "do_eval": "set eval_strategy",
        "do_predict": "`llmrec rank` ranks",
        "local_rank": "the launcher (`accelerate launch`) sets it",
        "logging_nan_inf_filter": "llmrec turns it off: a loss that is not finite stops the run instead of reading 0",
        "generate_during_eval": "answers are scored, never generated",
        "is_encoder_decoder": "only decoder models are supported",
        "model_init_kwargs": "use `model`",
        "trust_remote_code": "use model.trust_remote_code",
        "label_names": "llmrec's own batches name the labels",
        "push_to_hub": "use `llmrec publish`",
        "hub_token": "a recipe is copied into its run; put the token into the environment as HF_TOKEN",
        "hub_model_id": "use `llmrec publish --to ORG/NAME`",
        "hub_strategy": "use `llmrec publish`",
        "hub_always_push": "use `llmrec publish`",
        "hub_private_repo": "use `llmrec publish`",
        "hub_revision": "use `llmrec publish`",
    },
    "lora": {
        "task_type": "it is always CAUSAL_LM here",
        "peft_type": "it is always LORA here",
        "peft_version": "the run's manifest.json records versions",
        "base_model_name_or_path": "use model.name",
        "revision": "use model.revision",
        "inference_mode": "`llmrec rank` sets it",
        "auto_mapping": "peft fills it in",
    },
}

# Fields of other versions, other trainers and other people's recipes, with what to write here.
RENAMED: dict[Section, dict[str, str]] = {
    "train": {
        "warmup_ratio": "transformers 5 has no such field; use warmup_steps: 0.1 (below 1 it is a share of all steps)",
        "max_prompt_length": "trl 1.x has no such field; use prompt.budget",
        "truncation_mode": "trl 1.x has no such field; prompt.budget drops the oldest items first",
        "evaluation_strategy": "it is called eval_strategy now",
        "no_cuda": "it is called use_cpu now",
        "group_by_length": "write train_sampling_strategy: group_by_length",
        "overwrite_output_dir": "a run never overwrites a finished stage",
        "logging_dir": "set the TENSORBOARD_LOGGING_DIR variable",
        "torch_dtype": "use model.dtype",
        "dtype": "use model.dtype",
        "model_name_or_path": "use model.name",
        "load_in_4bit": "use model.quantize: nf4",
        "load_in_8bit": "use model.quantize: int8",
        "lr": "it is called learning_rate",
        "epochs": "it is called num_train_epochs",
        "batch_size": "it is called per_device_train_batch_size",
        "orpo_alpha": "use objective.beta",
    },
    "lora": {
        "rank": "it is called r",
        "lora_r": "it is called r",
        "alpha": "it is called lora_alpha",
        "dropout": "it is called lora_dropout",
        "lora_target_modules": "it is called target_modules",
        "lora_modules_to_save": "it is called modules_to_save",
        "lora_task_type": "it is always CAUSAL_LM here",
    },
}

# llmrec's own, beside trl's and peft's.
OURS: dict[Section, dict[str, dict[str, Any]]] = {
    "train": {
        "patience": {
            "anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}],
            "default": None,
            "description": "Evaluations without a better NDCG on validation pairs before it stops, and keeps the best.",
        },
        "adaptive": {  # what it holds is checked as llmrec.recipe.adaptive.Adaptive
            "anyOf": [{"type": "object"}, {"type": "null"}],
            "default": None,
            "description": "Batch and step size that set themselves; null: as the other fields say.",
        },
    },
    "lora": {
        "init_from": {
            "anyOf": [{"type": "string"}, {"type": "null"}],
            "default": None,
            "description": "A trained adapter to start from: a folder, or an arm that is listed above.",
        }
    },
}


@cache
def fields(section: Section) -> dict[str, dict[str, Any]]:
    """Name -> JSON schema of every field that a recipe may set."""
    free = {name: schema for name, schema in table()[section].items() if name not in OWNED[section]}
    return OURS[section] | {name: schema for name, schema in free.items() if "x-object" not in schema}


@cache
def table() -> dict[str, Any]:
    """`borrowed.json`: versions, train, lora."""
    whole: dict[str, Any] = json.loads(Path(__file__).with_name("borrowed.json").read_text(encoding="utf-8"))
    return whole


def faults_in(section: Section, values: dict[str, Any]) -> list[tuple[str, str]]:
    """Everything wrong with a `train` or `lora` mapping: (key, fault)."""
    faults = []
    for key, value in values.items():
        schema = fields(section).get(key)
        if schema is None:
            faults.append((key, _unknown(section, key)))
            continue
        try:
            fitted(value, schema)
        except ValueError as fault:
            faults.append((key, str(fault)))
    return faults


def check_train(values: dict[str, Any]) -> dict[str, Any]:
    """The `train` section with its numbers as numbers (`5e-6` is text in YAML). Raises ValueError with every fault."""
    return _checked("train", values)


def check_lora(values: dict[str, Any]) -> dict[str, Any]:
    """The `lora` section with its numbers as numbers. Raises ValueError with every fault."""
    return _checked("lora", values)


def _checked(section: Section, values: dict[str, Any]) -> dict[str, Any]:
    faults = faults_in(section, values)
    if faults:
        raise ValueError("; ".join(f"{section}.{key}: {words}" for key, words in faults))
    return {key: fitted(value, fields(section)[key]) for key, value in values.items()}


def _unknown(section: Section, key: str) -> str:
    if key in OWNED[section]:
        return f"is not set here: {OWNED[section][key]}"
    if key in RENAMED[section]:
        return f"is not a field of {CONFIG[section]}: {RENAMED[section][key]}"
    if key in table()[section]:
        return f"is an object of {CONFIG[section]}'s library, which a recipe cannot write down; leave it out"
    other: Section = "lora" if section == "train" else "train"
    hint = near(key, fields(section)) or (f"; it belongs to {other}.{key}" if key in fields(other) else "")
    return f"is not a field of {CONFIG[section]}{hint}"


def fitted(value: Any, schema: dict[str, Any]) -> Any:
    """The value as its schema types it. Raises ValueError saying what was expected and what was found."""
    either = schema.get("anyOf", [schema])
    for one in [*(s for s in either if _is(value, s.get("type"))), *either]:
        try:
            value = _one(value, one)
            break
        except ValueError:
            continue
    else:
        raise ValueError(f"{found(value)}; expected {expected(schema)}{_advice(value, schema)}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum"), schema.get("maximum")
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f"found {value}; expected {expected(schema)}")
    return value


def expected(schema: dict[str, Any]) -> str:
    """What a schema asks for, in words: `a whole number`, `one of linear, cosine`."""
    if "anyOf" in schema:
        words = " or ".join(expected(one) for one in schema["anyOf"])
    elif "enum" in schema:
        words = one_of(schema["enum"])
    elif "pattern" in schema:
        words = f"text like {schema['pattern'].strip('^$')}"
    else:
        words = typed(schema.get("type", ""))
    low, high = schema.get("minimum"), schema.get("maximum")
    bounds = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    return ", ".join([words, *bounds])


def _is(value: Any, kind: str | None) -> bool:
    """Whether the value has that JSON type as it stands, without conversion."""
    kinds: dict[str | None, type | tuple[type, ...]] = {
        "string": str, "boolean": bool, "null": type(None), "array": list, "object": dict,
        "integer": int, "number": (int, float),
    }  # fmt: skip
    return kind in kinds and isinstance(value, kinds[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _one(value: Any, schema: dict[str, Any]) -> Any:
    """The value under a schema without alternatives; ValueError where it does not fit."""
    kind = schema.get("type")
    if "enum" in schema:
        # `False` is not the choice 0, and `no` (False) is not the choice "no": types must agree too.
        if any(value == choice and type(value) is type(choice) for choice in schema["enum"]):
            return value
        raise ValueError
    if kind in ("number", "integer") and isinstance(value, str):
        value = float(value)  # YAML reads 5e-6 as text
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if kind == "number" and _is(value, "integer"):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    if kind is not None and not _is(value, kind):
        raise ValueError
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise ValueError
    if kind == "array":
        return [fitted(item, schema.get("items", {})) for item in value]
    if kind == "object":
        return {key: fitted(item, schema.get("additionalProperties", {})) for key, item in value.items()}
    return value


def _advice(value: Any, schema: dict[str, Any]) -> str:
    choices = [choice for one in schema.get("anyOf", [schema]) for choice in one.get("enum", [])]
    if isinstance(value, bool):
        return WORD if choices else SWITCH
    return near(str(value), choices) if choices and isinstance(value, str) else ""
