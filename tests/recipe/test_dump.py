"""A recipe written out is whole, means the same elsewhere, and is read back as it was."""

from __future__ import annotations

from pathlib import Path

import yaml

from llmrec.recipe.loader import dump_recipe, load_recipe
from llmrec.recipe.sections import Recipe
from tests.recipe.desk import read, written


def leaves(values: object, key: str = "") -> set[str]:
    """The dotted names of all settings."""
    if not isinstance(values, dict) or not values:
        return {key}
    return {leaf for name, inner in values.items() for leaf in leaves(inner, f"{key}.{name}")}


def test_every_default_is_written(tmp_path: Path) -> None:
    text = dump_recipe(read(tmp_path, ""))
    assert {".split.quantile", ".model.build.layers", ".pairs.from.uniform", ".evaluate.bootstrap"} <= leaves(
        yaml.safe_load(text)
    )
    assert set(yaml.safe_load(text)) == set(Recipe.model_fields)


def test_it_names_the_versions_whose_defaults_fill_the_rest(tmp_path: Path) -> None:
    assert "trl 1.16" in dump_recipe(read(tmp_path, "")).splitlines()[0]


def test_it_is_read_back_as_it_was(tmp_path: Path) -> None:
    recipe = read(
        tmp_path,
        """\
        pairs: {from: {popular: 1.0}}
        train: {learning_rate: 5e-6, eval_strategy: "no", report_to: [none]}
        lora: {target_modules: [in_proj], rank_pattern: {"q.proj": 4}}
        arms:
          before: {objective: null}
          no: {train: {learning_rate: 1.0e-4}}
        """,
    )
    assert load_recipe(written(tmp_path, dump_recipe(recipe))).recipe == recipe


def test_with_its_folder_it_means_the_same_in_another(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text("user,item\n", encoding="utf-8")
    (tmp_path / "away").mkdir()
    recipe = read(tmp_path, "seed: 3")
    moved = load_recipe(written(tmp_path / "away", dump_recipe(recipe, here=tmp_path))).recipe
    assert moved.data.path == str(tmp_path / "films.csv")
    assert moved.model_copy(update={"data": recipe.data}) == recipe


def test_a_hub_id_is_no_path(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, "name: x\ndata: {path: f.csv}\nmodel: {name: Qwen/Qwen3-0.6B}\n")).recipe
    assert "name: Qwen/Qwen3-0.6B\n" in dump_recipe(recipe, here=tmp_path)
