"""What pydantic finds wrong with a recipe, in the recipe's own words and at its own keys."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from llmrec.recipe import borrowed
from llmrec.recipe.adaptive import clashes
from llmrec.recipe.needs import unmet
from llmrec.recipe.presets import contradictions
from llmrec.recipe.sections import (
    SHARES_FOLDERS,
    Adaptive,
    Arm,
    Model,
    Objective,
    Recipe,
    Settings,
    is_taken,
    shares_folders,
)
from llmrec.recipe.source import Key
from llmrec.recipe.words import SWITCH, WORD, found, near, one_of, typed

# Keys that people bring from elsewhere, wherever they put them.
ELSEWHERE = {
    "torch_dtype": "model.dtype",
    "model_name_or_path": "model.name",
    "load_in_4bit": "model.quantize: nf4",
    "load_in_8bit": "model.quantize: int8",
    "max_prompt_length": "prompt.budget",
    "dataset_name": "data.dataset",
    "warmup_ratio": "train.warmup_steps: 0.1",
}
PATTERNS = {
    "name": "lower-case letters, digits, `.`, `_` and `-`, at most 80, not starting with a sign",
    "primary": "hit, ndcg, mrr, recall, precision or map at a depth, as in ndcg@10",
}


def faults_in(values: dict[str, Any]) -> list[tuple[Key, str]]:
    """Every fault of a recipe read as plain values: (key path, words). Nothing is raised."""
    faults = _validated(Recipe, values)
    faults += contradictions(values)
    faults += unmet(values)
    faults += _borrowed(values, ())
    faults += _adaptive(values, values, ())
    arms = values.get("arms")
    for name, arm in arms.items() if isinstance(arms, dict) else ():
        if is_taken(str(name)):
            faults.append((("arms", name), "a ranker has this name; call the arm something else"))
        if values.get("seeds", 1) != 1 and shares_folders(str(name), list(arms or ())):
            faults.append((("arms", name), SHARES_FOLDERS))
        if isinstance(arm, dict):
            faults += _borrowed(arm, ("arms", name))
            faults += _adaptive(values, arm, ("arms", name))
            faults += _arm(values, arm, ("arms", name))
    if arms == {}:
        faults.append((("arms",), "is empty; leave it out for a single arm named orpo"))
    return faults


def _validated(model: type[Settings], values: dict[str, Any]) -> list[tuple[Key, str]]:
    """What pydantic says. It judges a section as a whole only where all its keys hold: unknown ones are taken out."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        faults = list(_worded(error, model))
        unknown = [fault["loc"] for fault in error.errors() if fault["type"] == "extra_forbidden"]
        if unknown:
            pruned = deepcopy(values)
            for key in unknown:
                _prune(pruned, key)
            faults += [fault for fault in _validated(model, pruned) if fault not in faults]
        return faults
    return []


def _prune(values: Any, key: Key) -> None:
    """Takes away the value at a key path, where there is one."""
    for part in key[:-1]:
        inside = part in values if isinstance(values, dict) else isinstance(values, list)  # an entry of `rounds`
        values = values[part] if inside else None
    if isinstance(values, dict) and key:
        values.pop(key[-1], None)


def _borrowed(values: dict[str, Any], around: Key) -> Iterator[tuple[Key, str]]:
    sections: tuple[borrowed.Section, ...] = ("train", "lora")
    for section in sections:
        given = values.get(section)
        for key, words in borrowed.faults_in(section, given) if isinstance(given, dict) else ():
            yield (*around, section, key), words


def _adaptive(values: dict[str, Any], arm: dict[str, Any], around: Key) -> Iterator[tuple[Key, str]]:
    """Faults of a `train.adaptive`, and of what an arm's and the recipe's own `train` come to together."""
    base, own = (_mapping(part.get("train")) for part in (values, arm))
    block = own.get("adaptive")
    if isinstance(block, dict):
        for place, words in _validated(Adaptive, block):
            yield (*around, "train", "adaptive", *place), words
    told = [*clashes(base)] if around else []
    for field, words in clashes({**base, **own}):
        if (field, words) not in told:
            # What the recipe says and only the arm is at odds with is told where the arm says it.
            elsewhere = f"{words} ({field} is the recipe's)"
            yield (*around, "train", field if field in own else "adaptive"), words if field in own else elsewhere


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _arm(values: dict[str, Any], arm: dict[str, Any], key: Key) -> Iterator[tuple[Key, str]]:
    """Faults of an arm's `model` and `objective`, which are checked folded into the recipe's own."""
    sections: dict[str, type[Settings]] = {"model": Model, "objective": Objective}
    for section, settings in sections.items():
        own, base = arm.get(section), values.get(section)
        if not isinstance(own, dict) or not own:
            continue
        base = base if isinstance(base, dict) else {}
        told = _validated(settings, base)
        for place, words in _validated(settings, Recipe.folded(base, own)):
            if (place, words) not in told:  # what the arm takes from the recipe is told there
                yield (*key, section, *place), words


def _worded(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Key, str]]:
    for fault in error.errors(include_url=False):
        key: Key = tuple(part for part in fault["loc"] if part != "[key]")
        if fault["type"] in ("arms", "protocol", "sources") or (
            model is Recipe and key in (("train",), ("lora",)) and fault["type"] == "value_error"
        ):
            continue  # told field by field
        settings, field = _at(model, key)
        yield key, _words(fault, key, settings, field)


def _at(model: type[BaseModel], key: Key) -> tuple[type[BaseModel], FieldInfo | None]:
    """The section that a key path ends in, and the field there (None for keys that are no field)."""
    settings, rest = model, list(key)
    field: FieldInfo | None = None
    while rest:
        part = rest.pop(0)
        field = next((f for name, f in settings.model_fields.items() if part == (f.alias or name)), None)
        inner = next((leaf for leaf in _leaves(field.annotation) if _is_section(leaf)), None) if field else None
        if field is None or inner is None:
            break
        settings = inner
        if get_origin(field.annotation) is dict:
            rest = rest[1:]  # the name of an arm
    return settings, field


def _leaves(hint: Any) -> list[Any]:
    inner = get_args(hint)
    if not inner or get_origin(hint) is Literal:
        return [hint]
    return [leaf for one in inner for leaf in _leaves(one)]


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Settings)


def _names(settings: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in settings.model_fields.items()]


def _words(fault: Any, key: Key, settings: type[BaseModel], field: FieldInfo | None) -> str:
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    name = str(key[-1]) if key else ""
    meaning = f" ({field.description.rstrip('.')})" if field is not None and field.description else ""
    if kind == "extra_forbidden":
        return _unknown(name, settings)
    if kind == "missing":
        purpose = meaning or f" ({_purpose(field)})"
        return f"is missing{purpose}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        choices = (
            [choice for leaf in _leaves(field.annotation) for choice in get_args(leaf)] if field is not None else []
        )
        advice = WORD if isinstance(value, bool) else near(str(value), map(str, choices))
        return f"{found(value)}; expected {one_of(choices)}{advice}{meaning}"
    if kind == "string_pattern_mismatch":
        return f"{found(value)}; expected {PATTERNS.get(name, PATTERNS['name'])}"
    if kind == "switch":
        return f"{found(context['switch'])}; expected a number{SWITCH}{meaning}"
    if kind in ("too_short", "too_long"):
        limit = f"at least {context['min_length']}" if kind == "too_short" else f"at most {context['max_length']}"
        return f"found a list of {context['actual_length']}; expected {limit}{meaning}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        if value is None:
            return "is empty; leave it out to take its defaults" if key[0] not in ("data", "model") else "is empty"
        return f"{found(value)}; expected a mapping of keys{meaning}"
    if kind.startswith(("int", "float", "string_type", "bool", "list", "finite", "less", "greater")):
        return f"{found(value)}; expected {_expected(kind, context)}{_advice(kind, value)}{meaning}"
    return f"{found(value)}; {str(fault['msg']).lower()}{meaning}"


def _purpose(field: FieldInfo | None) -> str:
    """What the section that a field holds is for."""
    inner = next((leaf for leaf in _leaves(field.annotation) if _is_section(leaf)), None) if field is not None else None
    return str(inner.__doc__).rstrip(".") if inner is not None else "required"


def _expected(kind: str, context: dict[str, Any]) -> str:
    bounds = {
        "greater_than": "a number above {gt}",
        "greater_than_equal": "at least {ge}",
        "less_than": "a number below {lt}",
        "less_than_equal": "at most {le}",
    }
    if kind in bounds:
        return bounds[kind].format(**context)
    json = {
        "int": "integer",
        "float": "number",
        "finite": "number",
        "string": "string",
        "bool": "boolean",
        "list": "array",
    }
    return typed(json.get(kind.partition("_")[0], ""))


def _advice(kind: str, value: Any) -> str:
    if kind == "string_type" and isinstance(value, bool):
        return WORD
    if kind == "string_type" and isinstance(value, int | float):
        return ". Put it in quotes to make it text"
    if kind == "string_type" and isinstance(value, dict):
        return '. A value that starts with { needs quotes, as in "{title}"'
    return ""


def _unknown(name: str, settings: type[BaseModel]) -> str:
    """What to say about a key that a section does not have."""
    named = {Recipe: "a recipe", Arm: "an arm"}
    where = next((words for one, words in named.items() if one is settings), f"`{settings.__name__.lower()}`")
    fault = f"is not a key of {where}"
    likely = near(name, _names(settings))
    if likely:
        return fault + likely
    if name in ELSEWHERE:
        return f"{fault}; use {ELSEWHERE[name]}"
    homes = [section for section, field in Recipe.model_fields.items() if name in _inside(section, field)]
    if name in _names(Recipe):
        return f"{fault}; `{name}` is a section of its own, so indent it less"
    if homes:
        return f"{fault}; it belongs to {' or '.join(f'{home}.{name}' for home in homes)}"
    return f"{fault}; it has {', '.join(_names(settings))}"


def _inside(section: str, field: FieldInfo) -> list[str]:
    if section in ("train", "lora"):
        return list(borrowed.fields(section))
    inner = next((leaf for leaf in _leaves(field.annotation) if _is_section(leaf)), None)
    return _names(inner) if inner is not None and section != "arms" else []
