"""A recipe written out and read back is the same recipe, whatever it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmrec.errors import RecipeFault
from llmrec.recipe.loader import dump_recipe, load_recipe
from llmrec.recipe.presets import PRESETS
from llmrec.recipe.sections import Adaptive, Recipe

NAMES = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,20}\Z")
# Text that a file can hold: no lone surrogates.
WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
RATES = st.floats(min_value=1e-12, max_value=1e3)

# Nothing here stands beside `optim` or a schedule, which are faults next to it (tests/recipe/test_adaptive.py).
ADAPTIVE = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "batch": st.none() | st.sampled_from(list(get_args(get_args(Adaptive.model_fields["batch"].annotation)[0]))),
        "step": st.sampled_from(list(get_args(Adaptive.model_fields["step"].annotation))),
        "scale": st.none() | RATES | RATES.map(str),
        "threshold": st.none() | RATES,
        "most": st.none() | st.integers(100, 10_000),
        "patience": st.integers(1, 9),
        "smoothing": st.floats(0, 0.999),
        "schedule": st.sampled_from([None, "constant"]),
    },
)
TRAIN = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": RATES | RATES.map(str),
        "num_train_epochs": st.integers(1, 5) | st.floats(0.1, 3),
        "bf16": st.none() | st.booleans(),
        "eval_strategy": st.sampled_from(["no", "steps", "epoch"]),
        "adaptive": ADAPTIVE,
        "report_to": st.none() | WORDS | st.lists(WORDS, max_size=3),
        "fsdp_config": st.dictionaries(WORDS, st.floats(0, 1) | st.booleans() | WORDS, max_size=3),
    },
)
LORA = st.fixed_dictionaries(
    {},
    optional={
        "r": st.integers(1, 64),
        "target_modules": WORDS | st.lists(WORDS, min_size=1, max_size=3),
        "rank_pattern": st.dictionaries(WORDS, st.integers(1, 8), max_size=2),
        "init_from": st.none(),
    },
) | st.fixed_dictionaries({"init_from": WORDS.map("runs/{}".format)})
ARM = st.fixed_dictionaries(
    {},
    optional={"train": TRAIN, "lora": LORA, "objective": st.none() | st.fixed_dictionaries({"beta": st.floats(0, 9)})},
)
RANKS = st.tuples(st.integers(1, 9), st.integers(9, 99)).map(list)
GUARD = st.fixed_dictionaries({"after": st.none() | RATES})
FROM = st.fixed_dictionaries(
    {"uniform": st.just(0.1)},
    optional={
        "popular": RATES | st.fixed_dictionaries({"share": RATES}, optional={"exponent": st.floats(0, 10)}),
        "retrieved": st.fixed_dictionaries({"share": RATES, "ranks": RANKS}),
        "same_attribute": st.fixed_dictionaries({"share": RATES, "field": st.just("genre")}),
    },
)
RECIPES = st.fixed_dictionaries(
    {
        "name": NAMES,
        "data": st.fixed_dictionaries(
            {"path": WORDS, "columns": st.dictionaries(WORDS, WORDS, max_size=4).map({"genre": "g"}.__or__)},
            optional={"text": WORDS},
        ),
        "model": st.one_of(st.just({"build": {}}), st.fixed_dictionaries({"name": WORDS})),
    },
    optional={
        "seed": st.integers(0, 2**32 - 1),
        "protocol": st.none() | st.sampled_from(list(PRESETS)),
        "split": st.fixed_dictionaries({}, optional={"quantile": st.floats(0.01, 0.99)}),
        "retriever": st.fixed_dictionaries({"adaptive": ADAPTIVE}),
        "pairs": st.fixed_dictionaries({"from": FROM}, optional={"guard": GUARD}),
        "rounds": st.lists(st.fixed_dictionaries({}, optional={"from": FROM}), max_size=3),
        "objective": st.none() | st.fixed_dictionaries({}, optional={"beta": st.floats(0, 10)}),
        "train": TRAIN,
        "lora": LORA,
        "arms": st.dictionaries(NAMES, ARM, min_size=1, max_size=3),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=RECIPES)
def test_a_recipe_written_out_and_read_back_is_the_same(values: dict[str, Any], tmp_path: Path) -> None:
    recipe = Recipe.model_validate(values)
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8", newline="")
    again = load_recipe(path).recipe
    assert again == recipe
    assert dump_recipe(again) == dump_recipe(recipe)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_whatever_a_file_holds_is_refused_in_words(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeFault):
        load_recipe(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = st.dictionaries(st.sampled_from(sorted({*Recipe.model_fields, "datta"})), VALUES, max_size=6)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=SECTIONS)
def test_whatever_stands_in_a_section_is_refused_in_words(values: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(RecipeFault) as caught:  # never anything else
        load_recipe(path)
    assert all(line.startswith(str(path)) for line in caught.value.faults)
