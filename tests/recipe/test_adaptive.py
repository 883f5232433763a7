"""`adaptive`, inside `retriever` and inside `train`: what it says, and what must not stand beside it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from llmrec.adaptive.batch import TESTS
from llmrec.adaptive.steps import STEPS
from llmrec.recipe.loader import dump_recipe, load_recipe
from llmrec.recipe.schema import json_schema
from llmrec.recipe.sections import RATED, Adaptive
from tests.recipe.desk import fault, faults, read, written


def test_a_recipe_names_the_tests_and_steps_that_there_are() -> None:
    test, step = (get_args(Adaptive.model_fields[name].annotation) for name in ("batch", "step"))
    assert get_args(test[0]) == tuple(TESTS)
    assert step == tuple(STEPS)
    assert set(RATED) <= set(STEPS)


def test_without_it_nothing_adapts(tmp_path: Path) -> None:
    recipe = read(tmp_path, "")
    assert recipe.retriever.adaptive is None
    assert "adaptive" not in recipe.train


def test_both_sides_take_the_same_block(tmp_path: Path) -> None:
    recipe = read(
        tmp_path,
        """\
        retriever: {adaptive: {batch: norm, step: dowg, scale: 1e-5, most: 64}}
        train: {adaptive: {batch: norm, step: dowg, scale: 1e-5, most: 64}}
        """,
    )
    assert recipe.retriever.adaptive == Adaptive(batch="norm", step="dowg", scale=1e-5, most=64)
    assert Adaptive.model_validate(recipe.train["adaptive"]) == recipe.retriever.adaptive


def test_written_out_it_has_every_default_and_reads_back_the_same(tmp_path: Path) -> None:
    recipe = read(
        tmp_path,
        """\
        retriever: {adaptive: {batch: noise_scale}}
        train: {adaptive: {batch: noise_scale}}
        arms: {grown: {train: {adaptive: {step: prodigy}}}, still: {train: {adaptive: null}}}
        """,
    )
    text = dump_recipe(recipe)
    assert text.count("smoothing: 0.95") == 2
    assert load_recipe(written(tmp_path, text, "again.yaml")).recipe == recipe
    assert recipe.arm("grown").train["adaptive"]["step"] == "prodigy"
    assert recipe.arm("grown").train["adaptive"]["batch"] is None  # an arm says the whole block
    assert recipe.arm("still").train["adaptive"] is None


def test_the_command_line_reaches_inside(tmp_path: Path) -> None:
    recipe = read(tmp_path, "train: {adaptive: {batch: norm}}", "train.adaptive.threshold=0.3")
    assert recipe.train["adaptive"]["threshold"] == 0.3


def test_every_fault_is_told_at_its_line(tmp_path: Path) -> None:
    told = faults(
        tmp_path,
        """\
        retriever:
          adaptive:
            batch: nrom
        train:
          optim: adamw_torch
          lr_scheduler_type: cosine
          adaptive:
            stepp: dowg
            patience: 0
        """,
    )
    assert [line.split(" (")[0] for line in told] == [
        'r.yaml:6: retriever.adaptive.batch: found the text "nrom"; expected one of norm, inner_product, augmented, '
        "noise_scale, adabatchgrad; did you mean norm?",
        "r.yaml:8: train.optim: stands beside train.adaptive, whose `step` decides; take one of them away",
        "r.yaml:9: train.lr_scheduler_type: stands beside train.adaptive, whose `schedule` decides; take one of them "
        "away",
        "r.yaml:11: train.adaptive.stepp: is not a key of `adaptive`; did you mean step?",
        "r.yaml:12: train.adaptive.patience: found the number 0; expected a number above 0",
    ]


@pytest.mark.parametrize("field", ["fsdp: full_shard", "deepspeed: zero3.json"])
def test_what_shards_gradients_is_refused_with_the_reason(tmp_path: Path, field: str) -> None:
    told = fault(tmp_path, f"train:\n  adaptive: {{step: dowg}}\n  {field}\n")
    assert told.startswith(f"r.yaml:6: train.{field.split(':')[0]}: stands beside train.adaptive, but ")
    assert "accumulates and shards gradients itself" in told
    assert "Take DDP or one device" in told


def test_a_bound_below_the_first_batch_is_refused(tmp_path: Path) -> None:
    told = fault(tmp_path, "retriever: {batch_size: 32, adaptive: {batch: norm, most: 16}}")
    assert told == (
        "r.yaml:4: retriever: adaptive.most: 16 is below the first batch, batch_size 32; raise it, or lower that"
    )
    told = fault(tmp_path, "train: {gradient_accumulation_steps: 4, adaptive: {batch: norm, most: 31}}")
    assert told == (
        "r.yaml:4: train.adaptive: most: 31 is below the first batch, per_device_train_batch_size 8 times "
        "gradient_accumulation_steps 4; raise it, or lower those"
    )
    read(tmp_path, "train: {gradient_accumulation_steps: 4, adaptive: {batch: norm, most: 32}}")


def test_a_batch_without_halves_cannot_be_measured(tmp_path: Path) -> None:
    assert "batch_size 5 has none" in fault(tmp_path, "retriever: {batch_size: 5, adaptive: {batch: norm}}")
    read(tmp_path, "retriever: {batch_size: 5, adaptive: {step: prodigy}}")


@pytest.mark.parametrize("place", ["retriever", "train"])
def test_averaged_weights_take_no_decay(tmp_path: Path, place: str) -> None:
    told = fault(tmp_path, f"{place}: {{adaptive: {{step: schedule_free, schedule: cosine}}}}")
    assert f"{place}.adaptive: schedule: schedule_free averages its weights and takes no cosine" in told


def test_two_things_that_set_the_batch_are_one_too_many(tmp_path: Path) -> None:
    told = fault(tmp_path, "train: {auto_find_batch_size: true, adaptive: {batch: norm}}")
    assert "auto_find_batch_size: stands beside train.adaptive.batch" in told
    assert "per_device_train_batch_size says it" in fault(tmp_path, "train: {adaptive: {batch: norm, micro: 4}}")
    read(tmp_path, "train: {auto_find_batch_size: true, adaptive: {step: prodigy}}")


def test_an_arm_is_told_what_it_and_the_recipe_come_to_together(tmp_path: Path) -> None:
    told = faults(
        tmp_path,
        """\
        train: {optim: adamw_torch}
        arms:
          one: {train: {adaptive: {step: dowg}}}
          two: {train: {adaptive: {step: dwog}}}
          three: {}
        """,
    )
    words = "stands beside train.adaptive, whose `step` decides; take one of them away (optim is the recipe's)"
    assert told[0] == f"r.yaml:6: arms.one.train.adaptive: {words}"
    assert 'r.yaml:7: arms.two.train.adaptive.step: found the text "dwog"' in "\n".join(told)
    assert len(told) == 3  # three says nothing of it


def test_what_the_recipe_has_wrong_is_not_told_again_for_each_arm(tmp_path: Path) -> None:
    assert fault(tmp_path, "train: {optim: sgd, adaptive: {}}\narms: {a: {}, b: {train: {bf16: true}}}").startswith(
        "r.yaml:4: train.optim"
    )


@pytest.mark.parametrize("block", ["3", "[norm]", "norm"])
def test_a_block_that_is_none_is_told_so(tmp_path: Path, block: str) -> None:
    assert "expected a mapping" in fault(tmp_path, f"train: {{adaptive: {block}}}")
    assert "expected a mapping" in fault(tmp_path, f"retriever: {{adaptive: {block}}}")


def test_editors_know_the_block_in_both_places() -> None:
    definitions = json_schema()["$defs"]
    for section in ("Retriever", "Train"):
        assert {"$ref": "#/$defs/Adaptive"} in definitions[section]["properties"]["adaptive"]["anyOf"]


@pytest.mark.parametrize(
    ("step", "given"), [("adamw", 0.02), ("schedule_free", 0.02), ("prodigy", None), ("usgm", None)]
)
def test_a_learning_rate_beside_it_is_the_scale_of_steps_that_have_one(step: str, given: float | None) -> None:
    assert Adaptive.model_validate({"step": step}).rate(0.02) == given
    assert Adaptive.model_validate({"step": step, "scale": 0.5}).rate(0.02) == 0.5
