"""A page of training pairs, one of each kind, beside the report: what the models learned from, for a person to read."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from llmrec.files import write_text
from llmrec.pairs.export import read_pairs
from llmrec.pairs.sample import SHOWN, origins, samples

PAGE = "samples.html"


def write_samples(run: Path, out: Path, *, name: str) -> Path | None:
    """Writes samples.html from the run's pairs; None where it has none, and an older page goes.

    Raises DataFault where the table is none of pairs.
    """
    from llmrec.report.report import render

    table, page = run / "pairs" / "train.parquet", out / PAGE
    if not table.is_file():
        page.unlink(missing_ok=True)
        return None
    some = read_pairs(table, rows=SHOWN)
    shown = [
        {"why": one.why, "pair": one.pair, "rejected": list(zip(one.pair["rejected"], origins(one.pair), strict=True))}
        for one in samples(some)
    ]
    rows = pl.scan_parquet(table).select(pl.len()).collect().item()
    return write_text(render("samples.html.jinja", {"name": name, "samples": shown, "rows": f"{rows:,}"}), page)
