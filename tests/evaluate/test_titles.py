from __future__ import annotations

from dataclasses import replace

import polars as pl

from tests.evaluate.audited import CLUB, found, levels


def test_books_with_the_same_title_are_counted():
    twins = CLUB.catalogue.with_columns(
        text=pl.when(pl.col("item").is_in([3, 4])).then(pl.lit("Selected Works")).otherwise("text")
    )
    findings = found(replace(CLUB, catalogue=twins))
    assert levels(findings, "2 of 50 items (4 %) read like another; 16 targets (4 %)") == ["warns"]
