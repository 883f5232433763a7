from __future__ import annotations

from pathlib import Path

import polars as pl

from llmrec.pairs.build import build_pairs
from llmrec.ranking import write_parquet
from llmrec.report.samples import write_samples
from tests.pairs.test_build import QUERIES, SHOP, lines_encoder, rejected
from tests.report.test_report import Page


def test_the_samples_are_a_page_of_their_own_in_which_a_title_is_only_text(tmp_path: Path):
    pairs = build_pairs(QUERIES, SHOP, lines_encoder(), rejected())
    poisoned = pl.col("prompt") + "<script>alert(1)</script>{{ 7 * 7 }}"
    write_parquet(pairs.with_columns(poisoned), tmp_path / "pairs" / "train.parquet")
    written = write_samples(tmp_path, tmp_path / "report", name="<b>films</b>")
    assert written is not None
    text = written.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not [tag for tag, _ in page.tags if tag in ("script", "b", "img")] or "<b>films" not in text
    assert "<script" not in text
    assert "{{ 7 * 7 }}" in text
    assert ("a", {"href": "index.html"}) in page.tags
    assert not [value for _, given in page.tags for value in given.values() if value and value.startswith("http")]
    words = " ".join(page.words)
    assert "of 3 training pairs" in words
    for row in pairs.head(1).iter_rows(named=True):
        assert row["chosen"].strip() in words
        assert all(answer.strip() in words for answer in row["rejected"])


def test_without_pairs_there_is_no_page_and_no_old_one_stays(tmp_path: Path):
    (tmp_path / "samples.html").write_text("old")
    assert write_samples(tmp_path, tmp_path, name="films") is None
    assert not (tmp_path / "samples.html").exists()
