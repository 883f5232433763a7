"""`llmrec audit RUN`: leaks and unfair comparisons in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RUN = Annotated[Path, typer.Argument(help="A run folder with rankings.", show_default=False)]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def audit(run: RUN, as_json: JSON = False) -> None:
    """Look for leaks and unfair comparisons; exit 3 where one disqualifies."""
    import json
    from dataclasses import asdict

    from llmrec.errors import Disqualified
    from llmrec.evaluate.audit import audit as look
    from llmrec.evaluate.evaluate import checked
    from llmrec.evaluate.of_run import read_run

    held = read_run(run)
    queries = held.larder.fold("test")
    offered, _ = checked(held.rankings, held.candidates, queries)
    findings = look(held.larder, queries, held.rankings, offered, method=held.method, depth=held.depth, seed=held.seed)
    if as_json:
        typer.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            typer.echo(f"{finding.level:<13} {finding.where}: {finding.what}")
        typer.echo(f"{len(findings)} findings about {run}" if findings else f"{run}: nothing to find fault with")
    grave = sum(finding.level == "disqualifies" for finding in findings)
    if grave:
        raise Disqualified([f"{run}: {grave} of these findings disqualify the comparison."])


def register(app: typer.Typer) -> None:
    app.command("audit")(audit)
