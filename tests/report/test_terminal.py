"""What a run says last."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from llmrec.report.terminal import print_tables


def test_a_run_ends_with_tables_a_sentence_and_a_path(run: Path, capsys: pytest.CaptureFixture[str]):
    (run / "report").mkdir()
    (run / "report" / "index.html").touch()
    print_tables(run)
    said = capsys.readouterr().out
    assert said.index("The full catalogue of 60 items") < said.index("The target among 19") < said.index("On the full")
    assert said.rstrip().endswith(f"Report: {(run / 'report' / 'index.html').resolve()}")
    assert "\x1b" not in said  # a pipe gets no colours
    assert "Audit: 6 notes; the report has them." in said


def test_tables_fit_eighty_columns(finished: Path):
    console = Console(width=80, file=io.StringIO())
    print_tables(finished, console=console)
    said = console.file.getvalue()
    assert "…" not in said
    assert "[1.000–1.000]" in said


def test_names_in_square_brackets_are_not_markup(run: Path):
    from json import dumps, loads

    path = run / "evaluate" / "metrics.json"
    metrics = loads(path.read_text())
    for facts in metrics["tables"].values():
        facts["rankers"]["[red]theirs[/red]"] = facts["rankers"]["orpo"]
    path.write_text(dumps(metrics))
    console = Console(width=120, file=io.StringIO())
    print_tables(run, console=console)
    assert "[red]theirs[/red]" in console.file.getvalue()
