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

    page = out / PAGE
    tables = tables_of(run)
    if not tables:
        page.unlink(missing_ok=True)
        return None
    shown: list[dict[str, object]] = []
    for table in tables:
        place = table.parent.relative_to(run / "pairs").as_posix()
        for one in samples(read_pairs(table, rows=SHOWN)):
            why = one.why if place == "." else f"{place}: {one.why}"
            rejected = list(zip(one.pair["rejected"], origins(one.pair), strict=True))
            shown.append({"why": why, "pair": one.pair, "rejected": rejected})
    rows = pl.scan_parquet(tables).select(pl.len()).collect().item()
    return write_text(render("samples.html.jinja", {"name": name, "samples": shown, "rows": f"{rows:,}"}), page)


def tables_of(run: Path) -> list[Path]:
    """The run's tables of training pairs: one, or one a round, and one an arm where an arm plays itself."""
    whole = run / "pairs" / "train.parquet"
    if whole.is_file():
        return [whole]
    rounds = [path for path in (run / "pairs").rglob("train.parquet") if path.is_file()]
    return sorted(rounds, key=lambda path: [(len(part), part) for part in path.relative_to(run).parts])
