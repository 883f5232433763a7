"""`llmrec compare RANKING... --queries QUERIES`: anybody's rankings on the same queries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from llmrec.evaluate.weigh import Weighed

RANKINGS = Annotated[
    list[Path], typer.Argument(metavar="RANKING...", help="Parquet, CSV, TSV or TREC run files.", show_default=False)
]
QUERIES = Annotated[
    Path, typer.Option(help="A run folder, a queries.parquet, or a CSV of query,user,target.", show_default=False)
]
KEYS = Annotated[Path | None, typer.Option(help="A run folder whose ids the files use, if not the one of --queries.")]
AT = Annotated[str, typer.Option(help="Depths, with commas.")]
PRIMARY = Annotated[str, typer.Option(help="The metric that decides: ndcg@10, hit@1, recall@20.")]
FULL = Annotated[bool, typer.Option("--full", help="The lists are the first items of a full catalogue.")]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def compare(
    rankings: RANKINGS,
    queries: QUERIES,
    keys: KEYS = None,
    at: AT = "1,5,10,20",
    primary: PRIMARY = "ndcg@10",
    full: FULL = False,
    as_json: JSON = False,
) -> None:
    """Compare anybody's rankings on the same queries: who is better, by how much, and how sure that is."""
    import json

    from rich.console import Console

    from llmrec.evaluate.asked import read_queries
    from llmrec.evaluate.external import read_rankings
    from llmrec.evaluate.side_by_side import side_by_side

    depths = _depths(at, primary)
    asked = read_queries(queries, keys=keys)
    weighed = side_by_side(read_rankings(rankings, asked), asked, at=depths, primary=primary, full=full)
    if as_json:
        typer.echo(json.dumps({"primary": primary, "table": weighed.metrics, "comparisons": weighed.said}, indent=2))
        return
    console = Console()
    console.print(_table(weighed, primary))
    for said in weighed.said:
        console.print(f"* {said['sentence']}", highlight=False, markup=False)


def _depths(at: str, primary: str) -> list[int]:
    from llmrec.errors import RankingFault
    from llmrec.metrics import split_name

    try:
        depths = sorted({int(depth) for depth in at.split(",")})
        if depths[0] < 1:
            raise ValueError
    except ValueError:
        raise RankingFault(f"--at {at}: depths are whole numbers from 1, with commas: --at 1,5,10,20.") from None
    try:
        depth = split_name(primary)[1]
    except ValueError as fault:
        raise RankingFault(f"--primary {fault}.") from None
    return sorted({*depths, depth})


def _table(weighed: Weighed, primary: str) -> Table:
    """Rankers by the metric that decides, best first; a few metrics with their intervals (--json has them all)."""
    from rich.markup import escape  # names come from other people's files
    from rich.table import Table

    from llmrec.evaluate.sentences import title

    depth = primary.partition("@")[2]
    columns = list(dict.fromkeys(["hit@1" if "hit@1" in weighed.means.metrics else primary, f"hit@{depth}"]))
    columns = list(dict.fromkeys([*columns, f"ndcg@{depth}", f"mrr@{depth}", primary]))
    table = Table(title=f"On {weighed.scene.words}", caption="means over queries; 95 % intervals over users")
    table.add_column("ranker")
    for column in columns:
        table.add_column(title(column), justify="right", style="bold" if column == primary else "", no_wrap=True)
    rankers = weighed.metrics["rankers"]
    for ranker in sorted(rankers, key=lambda name: -rankers[name][primary]["mean"]):
        cells = [rankers[ranker][column] for column in columns]
        table.add_row(escape(ranker), *(f"{c['mean']:.3f}\n[dim]{c['low']:.3f}–{c['high']:.3f}[/dim]" for c in cells))
    if "chance" in weighed.metrics:
        table.add_row(
            "[dim]chance[/dim]", *(f"[dim]{weighed.metrics['chance'][column]:.3f}[/dim]" for column in columns)
        )
    return table


def register(app: typer.Typer) -> None:
    app.command("compare")(compare)
