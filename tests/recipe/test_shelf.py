"""Recipes are taken home with their comments, and go on pointing at the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from llmrec.errors import RecipeFault
from llmrec.recipe.loader import dump_recipe, load_recipe
from llmrec.recipe.shelf import catalogue, checked, copied
from tests.recipe.desk import SMALL, written


def test_each_shipped_recipe_says_what_it_does() -> None:
    found = catalogue()
    assert {"own-data"} <= {one["name"] for one in found}
    assert all(len(one["about"]) > 20 for one in found), found


def test_a_copy_keeps_its_comments_and_its_files(tmp_path: Path) -> None:
    copy = copied("own-data", tmp_path)
    assert copy == tmp_path / "own-data.yaml"
    text = copy.read_text(encoding="utf-8")
    assert "# how an item reads" in text
    assert "yaml-language-server" not in text
    loaded = load_recipe(copy)
    assert loaded.recipe.data.path is not None
    assert Path(loaded.recipe.data.path).is_file()
    assert loaded.recipe.data.items is not None
    assert Path(loaded.recipe.data.items.path).is_file()


def test_a_copy_is_not_written_over_a_file(tmp_path: Path) -> None:
    kept = written(tmp_path, "mine", "own-data.yaml")
    with pytest.raises(RecipeFault, match="is there already"):
        copied("own-data", tmp_path)
    assert kept.read_text(encoding="utf-8") == "mine"
    copied("own-data", tmp_path, force=True)
    assert kept.read_text(encoding="utf-8") != "mine"


def test_a_copy_is_a_yaml_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeFault, match=r"ends in \.yaml"):
        copied("own-data", tmp_path / "mine.txt")


def test_folders_are_checked_whole_and_launch_files_left_out(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "accelerate").mkdir()
    written(tmp_path, SMALL, "good.yaml")
    written(tmp_path / "deep", "sed: 3", "bad.yml")
    written(tmp_path / "accelerate", "num_processes: 2", "ddp.yaml")
    told = {path.name: len(faults) for path, faults in checked([tmp_path])}
    assert told == {"good.yaml": 0, "bad.yml": 4}


def test_an_empty_folder_is_a_fault(tmp_path: Path) -> None:
    assert list(checked([tmp_path])) == [(tmp_path, [f"{tmp_path}: no recipes in this folder"])]


DATA = """\
name: r
data:
  {}
model: {{build: {{}}}}
"""


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("path: logs", "{here}/logs"),
        ("path: logs/*.csv", "{here}/logs/*.csv"),
        ("path: s3://logs/*.csv", "s3://logs/*.csv"),
        ("path: [logs/a.csv, 's3://b.csv']", ["{here}/logs/a.csv", "s3://b.csv"]),
        ("dataset: sample.yaml?part=a", "{here}/sample.yaml?part=a"),
        ("dataset: amazon-2023?category=Books", "amazon-2023?category=Books"),
    ],
)
def test_files_are_found_from_another_folder_however_they_are_named(tmp_path: Path, written: str, meant: Any) -> None:
    here = tmp_path / "here"
    (here / "logs").mkdir(parents=True)
    (here / "logs" / "a.csv").touch()
    (here / "sample.yaml").touch()
    (here / "r.yaml").write_text(DATA.format(written))
    loaded = load_recipe(here / "r.yaml")
    name = written.split(":")[0]
    meant = [one.format(here=here) for one in meant] if isinstance(meant, list) else meant.format(here=here)
    assert yaml.safe_load(dump_recipe(loaded.recipe, here=here))["data"][name] == meant
    copy = load_recipe(copied(str(here / "r.yaml"), tmp_path / "copy.yaml"))
    assert getattr(copy.recipe.data, name) == meant


def test_a_part_of_a_dataset_that_does_not_ship_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(DATA.format("dataset: amazon-2032?category=Books"))
    with pytest.raises(RecipeFault, match="did you mean amazon-2023"):
        load_recipe(tmp_path / "r.yaml")
