"""A fingerprint follows what is in the files, wherever they lie and however they are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmrec.inputs import known_by_content
from llmrec.recipe.sections import Recipe
from tests.worlds import cinema, write_csv


def known(here: Path, **data: Any) -> Any:
    return known_by_content(Recipe.model_validate({"name": "r", "data": data, "model": {"name": "x"}}), here)["data"]


@pytest.mark.parametrize("path", ["log", "log/*.csv", ["log/a.csv", "log/b.csv"]])
def test_several_files_are_known_by_each_of_them(tmp_path: Path, path: Any):
    for folder in (tmp_path / "one", tmp_path / "other"):
        write_csv(folder / "log", name="a.csv")
        write_csv(folder / "log", cinema(people=3), name="b.csv")
    before = known(tmp_path / "one", path=path)["path"]
    assert before == known(tmp_path / "other", path=path)["path"]
    assert [len(file["sha256"]) for file in before] == [64, 64]
    write_csv(tmp_path / "one" / "log", cinema(people=4), name="b.csv")
    assert known(tmp_path / "one", path=path)["path"] != before


def test_an_address_and_what_is_not_there_stay_as_they_are(tmp_path: Path):
    assert known(tmp_path, path="s3://logs/a.csv")["path"] == "s3://logs/a.csv"
    assert known(tmp_path, path="gone.csv")["path"] == "gone.csv"


def test_a_part_of_a_dataset_is_known_by_what_it_fetches(tmp_path: Path):
    games, books = (known(tmp_path, dataset=f"amazon-2023?category={c}")["dataset"] for c in ("Video_Games", "Books"))
    assert games["name"] == "amazon-2023-video_games"
    assert games["sources"] != books["sources"]
