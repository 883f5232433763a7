from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from llmrec.errors import DataFault
from llmrec.pairs.build import build_pairs
from llmrec.pairs.export import FORMS, export
from llmrec.ranking import write_parquet
from tests.pairs.test_build import QUERIES, SHOP, lines_encoder, rejected


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three pairs of three rejected films each."""
    return write_parquet(build_pairs(QUERIES, SHOP, lines_encoder(), rejected()), tmp_path / "train.parquet")


def test_trl_has_one_rejected_answer_a_row(pairs: Path, tmp_path: Path):
    assert export(pairs, "trl", tmp_path / "trl.parquet") == 9
    table = pl.read_parquet(tmp_path / "trl.parquet")
    assert table.columns == ["prompt", "chosen", "rejected"]
    assert table.dtypes == [pl.String] * 3
    assert table["chosen"][0] == " Up (2009)"


def test_conversations_have_a_user_and_an_assistant(pairs: Path, tmp_path: Path):
    assert export(pairs, "conversational", tmp_path / "chat.jsonl") == 9
    first = json.loads((tmp_path / "chat.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["prompt"] == [{"role": "user", "content": " Heat (1995)\n Alien (1979)\n"}]
    assert first["chosen"] == [{"role": "assistant", "content": "Up (2009)"}]
    assert first["rejected"][0]["role"] == "assistant"
    assert not first["rejected"][0]["content"].startswith(" ")


def test_sft_has_the_chosen_answer_once(pairs: Path, tmp_path: Path):
    assert export(pairs, "sft", tmp_path / "deep" / "sft.jsonl") == 3
    rows = [json.loads(line) for line in (tmp_path / "deep" / "sft.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [sorted(row) for row in rows] == [["completion", "prompt"]] * 3


@pytest.mark.parametrize("form", FORMS)
def test_both_endings_hold_the_same(form: str, pairs: Path, tmp_path: Path):
    export(pairs, form, tmp_path / "out.parquet")
    export(pairs, form, tmp_path / "out.jsonl")
    assert pl.read_ndjson(tmp_path / "out.jsonl").to_dicts() == pl.read_parquet(tmp_path / "out.parquet").to_dicts()


def test_what_cannot_be_exported_is_said(pairs: Path, tmp_path: Path):
    with pytest.raises(DataFault, match="no form 'dpo'; known are trl, conversational, sft"):
        export(pairs, "dpo", tmp_path / "out.parquet")
    with pytest.raises(DataFault, match=r"out\.csv: ends in \.csv; give a path that ends in \.parquet or \.jsonl"):
        export(pairs, "trl", tmp_path / "out.csv")
    with pytest.raises(DataFault, match=r"nowhere\.parquet: no such file"):
        export(tmp_path / "nowhere.parquet", "trl", tmp_path / "out.parquet")
    (tmp_path / "words.parquet").write_text("not a table", encoding="utf-8")
    with pytest.raises(DataFault, match=r"words\.parquet: not a Parquet file"):
        export(tmp_path / "words.parquet", "trl", tmp_path / "out.parquet")
    other = write_parquet(QUERIES, tmp_path / "queries.parquet")
    with pytest.raises(DataFault, match=r"queries\.parquet: not a table of pairs: template, prompt, .* missing"):
        export(other, "trl", tmp_path / "out.parquet")
    assert not list(tmp_path.glob("out.*"))
