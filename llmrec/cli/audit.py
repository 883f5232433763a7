"""`llmrec audit RUN | FILES`: leaks and unfair comparisons, in a run or in anybody's files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.table import JSON

if TYPE_CHECKING:
    from llmrec.evaluate.case import Case

PATHS = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="RUN | RANKING...",
        help="A run folder; or rankings as Parquet, CSV, TSV or TREC run files.",
        show_default=False,
    ),
]
QUERIES = Annotated[
    Path | None,
    typer.Option(help="For files: a run folder, a queries.parquet, or a CSV of query,user,target and perhaps time."),
]
CANDIDATES = Annotated[
    Path | None, typer.Option(help="Candidate sets in slot order: query,items (lists) or query,item (rows).")
]
KEYS = Annotated[Path | None, typer.Option(help="A run folder whose ids the files use, if not the one of --queries.")]
TRAINING = Annotated[Path | None, typer.Option(help="What models were fitted on: user,item and perhaps time.")]
ITEMS = Annotated[Path | None, typer.Option(help="The whole catalogue: item,title.")]


def audit(
    paths: PATHS = None,
    queries: QUERIES = None,
    candidates: CANDIDATES = None,
    keys: KEYS = None,
    training: TRAINING = None,
    items: ITEMS = None,
    as_json: JSON = False,
) -> None:
    """Look for leaks and unfair comparisons; exit 3 where one disqualifies. Every check is in docs/audit.md."""
    import json
    from dataclasses import asdict

    from llmrec.errors import Disqualified
    from llmrec.evaluate.audit import findings, unchecked
    from llmrec.progress import plain

    case, subject = _case(paths or [], queries, candidates, keys, training, items)
    found, left = findings(case), unchecked(case)
    if as_json:
        typer.echo(json.dumps({"findings": [asdict(f) for f in found], "unchecked": left}, indent=2))
    else:
        for finding in found:
            typer.echo(plain(f"{finding.level:<13} {finding.where}: {finding.what}"))
            typer.echo(f"{'':<13} why: {finding.why}")
            typer.echo(f"{'':<13} remedy: {finding.remedy} [{finding.check}]\n")
        typer.echo(f"{len(found)} findings about {subject}" if found else f"{subject}: nothing to find fault with")
        for needs in dict.fromkeys(tuple(needs) for needs in left.values()):
            names = [name for name, wanted in left.items() if tuple(wanted) == needs]
            typer.echo(f"not checked, for want of {'; '.join(needs)}: {', '.join(names)}")
    grave = sum(finding.level == "disqualifies" for finding in found)
    if grave:
        raise Disqualified([f"{subject}: {grave} of these findings disqualify the comparison."])


def _case(
    paths: list[Path],
    queries: Path | None,
    candidates: Path | None,
    keys: Path | None,
    training: Path | None,
    items: Path | None,
) -> tuple[Case, str]:
    """What to look at, and what to call it."""
    from llmrec.errors import RankingFault

    if queries is not None:
        from llmrec.evaluate.foreign import read_case

        if not paths and candidates is None and training is None:
            raise RankingFault("audit: there is nothing to look at. Give rankings, --candidates or --training.")
        case = read_case(paths, queries, candidates=candidates, keys=keys, training=training, items=items)
        return case, ", ".join(str(path) for path in paths) or str(candidates or training)
    if len(paths) != 1 or candidates or keys or training or items or paths[0].is_file():
        raise RankingFault("audit: give one run folder, or files with --queries.")
    from llmrec.evaluate.of_run import case_of

    return case_of(paths[0]), str(paths[0])


def register(app: typer.Typer) -> None:
    app.command("audit")(audit)
