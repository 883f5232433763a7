"""Shipped files are found by path, by short name, in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec import resources
from llmrec.errors import UserError
from llmrec.resources import beside, find, shipped


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as a wheel lays it out: folders inside it, under other names."""
    package = tmp_path / "site-packages" / "llmrec"
    for name in ("_recipes/own.yaml", "_recipes/accelerate/ddp.yaml", "_prompts/a/b.jinja", "_data/sample/x.csv"):
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x", encoding="utf-8")
    monkeypatch.setattr(resources, "PACKAGE", package)
    return package


@pytest.mark.parametrize("asked", ["own-data", "own-data.yaml", "recipes/own-data.yaml", "./recipes/own-data"])
def test_a_recipe_by_the_names_that_people_type(asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("recipes", asked) == resources.folder("recipes") / "own-data.yaml"


def test_a_file_wins_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own-data").write_text("mine", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert find("recipes", "own-data") == Path("own-data")


def test_a_recipe_s_own_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    for folder in (tmp_path, tmp_path / "here"):
        (folder / "t.jinja").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert find("prompts", "t.jinja", here=tmp_path / "here") == tmp_path / "here" / "t.jinja"


def test_launch_files_are_no_recipes() -> None:
    assert "cpu-2" in shipped("accelerate")
    assert not any("cpu-2" in name for name in shipped("recipes"))
    assert find("accelerate", "cpu-2").name == find("accelerate", "recipes/accelerate/cpu-2.yaml").name == "cpu-2.yaml"


def test_a_misspelt_name_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match=r"movielens-100\.: no such file.*did you mean movielens-100k"):
        find("data", "movielens-100.")


def test_the_right_name_in_the_wrong_folder_is_told_the_folder() -> None:
    with pytest.raises(UserError, match=r"did you mean .*movies/lines"):
        find("prompts", "lines")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        find("recipes", tmp_path)


def test_a_wheel_has_them_inside(wheel: Path) -> None:
    assert shipped("recipes") == ["own"]
    assert find("recipes", "own") == wheel / "_recipes" / "own.yaml"
    assert find("accelerate", "ddp") == wheel / "_recipes" / "accelerate" / "ddp.yaml"
    assert find("prompts", "a/b") == wheel / "_prompts" / "a" / "b.jinja"


def test_sample_data_beside_a_recipe_is_found_in_a_wheel_too(wheel: Path) -> None:
    assert beside(wheel / "_recipes", "../data/sample/x.csv") == wheel / "_data" / "sample" / "x.csv"
    assert beside(wheel / "_recipes", "../data/sample/y.csv") is None
    assert beside(wheel / "_recipes", "own.yaml") == wheel / "_recipes" / "own.yaml"
