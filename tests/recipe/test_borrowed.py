"""`train` and `lora` take exactly what the installed trl and peft take, minus what another part of the recipe owns."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from llmrec.recipe import borrowed
from llmrec.recipe.borrowed import OWNED, RENAMED, check_lora, check_train, faults_in, fields


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_table_is_that_of_the_installed_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from llmrec.recipe.generate import table

    # Through JSON, as 1e-08 is written and read there.
    installed = json.loads(json.dumps(table()))
    assert in_one_order(borrowed.table()) == in_one_order(installed), "run python -m llmrec.recipe.generate"


def in_one_order(part: Any) -> Any:
    """Alternatives sorted. To Python `list[int] | int` equals `int | list[int]`, and typing's cache gives whichever of
    the two any library wrote first: their order depends on what was imported before."""
    if isinstance(part, dict):
        return {
            key: sorted(map(in_one_order, inner), key=json.dumps) if key == "anyOf" else in_one_order(inner)
            for key, inner in part.items()
        }
    return [in_one_order(inner) for inner in part] if isinstance(part, list) else part


def test_every_refused_field_exists_over_there() -> None:
    assert set(OWNED["train"]) <= set(borrowed.table()["train"])
    assert set(OWNED["lora"]) <= set(borrowed.table()["lora"])


def test_no_renamed_field_exists_over_there() -> None:
    assert not set(RENAMED["train"]) & set(borrowed.table()["train"])
    assert not set(RENAMED["lora"]) & set(borrowed.table()["lora"])


@pytest.mark.parametrize("section", ["train", "lora"])
def test_every_default_fits_its_own_field(section: borrowed.Section) -> None:
    defaults = {name: schema["default"] for name, schema in fields(section).items() if "default" in schema}
    assert len(defaults) > 20
    assert faults_in(section, defaults) == []


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("learning_rate", "5e-6", 5e-6),
        ("learning_rate", 1, 1.0),
        ("num_train_epochs", 3, 3.0),
        ("per_device_train_batch_size", 4.0, 4),
        ("warmup_steps", 0.1, 0.1),
        ("report_to", ["wandb", "trackio"], ["wandb", "trackio"]),
        ("lr_scheduler_kwargs", {"num_cycles": 3}, {"num_cycles": 3}),
        ("bf16", None, None),
        ("bf16", False, False),
        ("optim", "adamw_torch", "adamw_torch"),
        ("max_steps", -1, -1),
    ],
)
def test_values_that_fit(key: str, value: Any, meant: Any) -> None:
    taken = check_train({key: value})[key]
    assert taken == meant
    assert type(taken) is type(meant)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("per_device_train_batch_size", 2.5, "found the number 2.5; expected a whole number, at least 1"),
        ("per_device_train_batch_size", 0, "expected a whole number, at least 1"),
        ("per_device_train_batch_size", True, "found the switch true; expected a whole number"),
        ("learning_rate", "fast", 'found the text "fast"; expected a number'),
        ("learning_rate", "nan", "expected a number"),
        ("learning_rate", None, "found nothing; expected a number"),
        ("learning_rate", -1e-4, "at least 0"),
        ("bf16", "yes", "expected true or false or nothing"),
        ("optim", "adamw_torhc", "did you mean adamw_torch"),
        ("logging_strategy", False, "expected one of no, steps, epoch"),
        ("report_to", {"a": 1}, "found a mapping; expected nothing (null) or text or a list"),
    ],
)
def test_values_that_do_not_fit_are_told_what_would(key: str, value: Any, words: str) -> None:
    ((named, told),) = faults_in("train", {key: value})
    assert named == key
    assert words in told


def test_lora_takes_one_target_as_a_list_or_a_word() -> None:
    assert check_lora({"target_modules": ["in_proj"]}) == {"target_modules": ["in_proj"]}
    assert check_lora({"target_modules": "all-linear"}) == {"target_modules": "all-linear"}
    assert "expected a list or text" in faults_in("lora", {"target_modules": 3})[0][1]


def test_lora_may_start_from_an_adapter() -> None:
    assert check_lora({"init_from": "runs/x/train/orpo/adapter"})["init_from"] == "runs/x/train/orpo/adapter"


def test_a_family_of_choices_is_taken_by_its_pattern() -> None:
    assert check_lora({"init_lora_weights": "pissa_niter_16"}) == {"init_lora_weights": "pissa_niter_16"}
    assert faults_in("lora", {"init_lora_weights": "pissa_niter_[number of iters]"})


def test_every_fault_is_in_the_one_error() -> None:
    with pytest.raises(ValueError, match=r"train\.learning_rte: .*; train\.output_dir: "):
        check_train({"learning_rte": 1, "output_dir": "x"})


def test_reading_a_recipe_imports_neither_torch_nor_polars() -> None:
    code = (
        "import sys; from llmrec.recipe.loader import load_recipe; load_recipe('own-data');"
        "print([m for m in ('torch', 'transformers', 'trl', 'peft', 'polars') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
