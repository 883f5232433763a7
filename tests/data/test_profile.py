"""What a file's columns look like, and that the proposal works as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from llmrec.data.manifest import read_manifest
from llmrec.data.prepare import prepare
from llmrec.data.profile import profile
from llmrec.errors import DataFault
from llmrec.recipe.sections import Data, Split
from tests.worlds import cinema, write_csv


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The cinema under the names that a shop would give, with a column that nobody asked about."""
    names = {"user": "CustomerID", "item": "productId", "time": "Date", "title": "Product Name"}
    return write_csv(tmp_path, cinema().rename(names).with_columns(note=None), "shop.csv")


def test_columns_are_recognised_by_their_names(shop: Path):
    found = profile(shop)
    assert found.rows == cinema().height
    assert found.unreadable == 0
    assert found.roles == {
        "user": "CustomerID",
        "item": "productId",
        "time": "Date",
        "title": "Product Name",
        "year": "year",
    }
    note = next(column for column in found.columns if column.name == "note")
    assert (note.filled, note.distinct, note.example, note.role) == (0.0, 0, "", None)


def test_the_proposed_section_prepares_the_file(shop: Path, tmp_path: Path):
    data = Data.model_validate(yaml.safe_load(profile(shop).section())["data"])
    summary = prepare(data, Split(), seed=7, here=tmp_path, out=tmp_path / "out")
    assert (summary.users, summary.items) == (40, 60)
    assert summary.untitled == 0


def test_the_proposed_manifest_prepares_the_file(shop: Path, tmp_path: Path):
    path = tmp_path / "shop.yaml"
    path.write_text(profile(shop).manifest(), encoding="utf-8")
    assert read_manifest(path).rows == cinema().height
    summary = prepare(Data(dataset="shop.yaml"), Split(), seed=7, here=tmp_path, out=tmp_path / "out")
    assert (summary.dataset, summary.users) == ("shop", 40)


def test_what_is_not_recognised_is_asked_for(tmp_path: Path):
    (tmp_path / "log.csv").write_text("who,sku,date\na,1,sometime\n")
    assert "# Not recognised: user, time." in profile(tmp_path / "log.csv").section()


def test_unreadable_rows_are_counted(tmp_path: Path):
    (tmp_path / "log.csv").write_text("user,item\na,1\nb,2,3\n")
    found = profile(tmp_path / "log.csv")
    assert (found.rows, found.unreadable) == (2, 1)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(DataFault, match="there is no such file"):
        profile(tmp_path / "log.csv")
