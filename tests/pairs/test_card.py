from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml

from llmrec.errors import DataFault
from llmrec.pairs.build import build_pairs
from llmrec.pairs.card import recall, write_card
from llmrec.ranking import ranked, write_parquet
from tests.candidates.shop import asked
from tests.pairs.test_build import QUERIES, SHOP, lines_encoder, rejected

COMMAND = "llmrec pairs recipes/quickstart.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pairs to train on and one to validate with, each with three rejected films."""
    pairs = build_pairs(QUERIES, SHOP, lines_encoder(), rejected())
    write_parquet(pairs[:2], tmp_path / "train.parquet")
    write_parquet(pairs[2:], tmp_path / "valid.parquet")
    return tmp_path


def card(folder: Path, licence: str | None = "CC0-1.0") -> tuple[dict[str, object], str]:
    """Front matter and text of the card."""
    path = write_card(
        folder,
        dataset="cinema",
        licence=licence,
        licence_url="https://example.org/terms",
        citation="A. Projectionist, 1997.",
        command=COMMAND,
        shares={"uniform": 0.5, "popular": 0.25, "retrieved": 0.25},
        miner={"training queries": {10: 0.25, 50: 0.5}, "validation": {10: 0.125}},
    )
    _, front, text = path.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


def test_datasets_reads_the_folder_as_train_and_valid(folder: Path, monkeypatch: pytest.MonkeyPatch):
    card(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever the library's own imports deprecate
        import datasets
    loaded = datasets.load_dataset(str(folder), cache_dir=str(folder / "cache"))
    assert {name: split.num_rows for name, split in loaded.items()} == {"train": 2, "valid": 1}
    assert loaded["train"][0]["chosen"] == " Up (2009)"
    assert len(loaded["valid"][0]["rejected"]) == 3


def test_front_matter_says_licence_size_and_files(folder: Path):
    front, _ = card(folder)
    assert front["license"] == "cc0-1.0"
    assert front["size_categories"] == ["n<1K"]
    assert front["task_categories"] == ["text-generation"]
    files = [{"split": "train", "path": "train.parquet"}, {"split": "valid", "path": "valid.parquet"}]
    assert front["configs"] == [{"config_name": "default", "data_files": files}]


def test_a_licence_of_ones_own_keeps_its_name_and_place(folder: Path):
    front, text = card(folder, licence="MovieLens 100K terms of use")
    assert (front["license"], front["license_name"]) == ("other", "MovieLens 100K terms of use")
    assert front["license_link"] == "https://example.org/terms"
    assert "MovieLens 100K terms of use (https://example.org/terms)" in text
    assert card(folder, licence=None)[0]["license"] == "unknown"


def test_the_text_says_how_the_pairs_were_made(folder: Path):
    _, text = card(folder)
    assert COMMAND in text
    assert "| train | 2 | 2 |" in text
    assert "| valid | 1 | 1 |" in text
    assert "| retrieved | 25.0% | 0.0% | 0 |" in text
    assert "| training queries | 0.250 | 0.500 |" in text
    assert "| validation | 0.125 |  |" in text
    assert "movies/lines@1" in text
    assert "A. Projectionist, 1997." in text
    for fold in ("train", "valid"):
        assert hashlib.sha256((folder / f"{fold}.parquet").read_bytes()).hexdigest() in text


def test_a_folder_without_pairs_has_no_card(tmp_path: Path):
    with pytest.raises(DataFault, match=r"train.parquet: no such file\. Pairs are written by `llmrec pairs"):
        card(tmp_path)


def test_recall_counts_the_targets_that_the_ranking_lists_early_enough():
    queries = asked([(1, 0, [0, 5], 1), (2, 0, [0, 6], 1), (3, 0, [0, 7], 1), (4, 0, [0, 5], 1)])
    ranking = ranked(
        np.repeat([1, 2, 3], 2), np.array([5, 9, 9, 6, 9, 8]), np.tile([1.0, 0.0], 3), ranker="miner", seed=7
    )
    assert recall(ranking, queries, at=(1, 2)) == {1: 1 / 4, 2: 2 / 4}
