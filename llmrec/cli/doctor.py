"""`llmrec doctor`: what this machine and installation can do."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from llmrec.cli.table import JSON, shown


def doctor(as_json: JSON = False) -> None:
    """Say what this machine and installation can do, what will be slow, and what is known to be wrong."""
    from llmrec.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        shown(["", "what", "found"], [(one.level, one.what, one.words) for one in findings])
    if any(one.level == "fault" for one in findings):
        raise typer.Exit(2)


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)
