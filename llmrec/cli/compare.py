"""`llmrec compare RANKING... --queries QUERIES`: anybody's rankings on the same queries, or several runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.table import JSON

if TYPE_CHECKING:
    from rich.table import Table

    from llmrec.evaluate.weigh import Weighed
    from llmrec.report.evidence import Evidence

RANKINGS = Annotated[
    list[Path],
    typer.Argument(
        metavar="RANKING...", help="Parquet, CSV, TSV or TREC run files; or run folders.", show_default=False
    ),
]
QUERIES = Annotated[
    Path | None,
    typer.Option(help="For files: a run folder, a queries.parquet, or a CSV of query,user,target.", show_default=False),
]
KEYS = Annotated[Path | None, typer.Option(help="A run folder whose ids the files use, if not the one of --queries.")]
AT = Annotated[str | None, typer.Option(help="Depths, with commas.", show_default="1,5,10,20, or the first run's")]
PRIMARY = Annotated[
    str | None,
    typer.Option(help="The metric that decides: ndcg@10, hit@1, recall@20.", show_default="ndcg@10, or the runs' own"),
]
FULL = Annotated[bool, typer.Option("--full", help="The lists are the first items of a full catalogue.")]
PAGE = Annotated[Path | None, typer.Option(help="Write the report's page too, to this file.", show_default=False)]
DEEPEST = 1_000_000  # beyond any list that is worth its disk


def compare(
    rankings: RANKINGS,
    queries: QUERIES = None,
    keys: KEYS = None,
    at: AT = None,
    primary: PRIMARY = None,
    full: FULL = False,
    page: PAGE = None,
    as_json: JSON = False,
) -> None:
    """Compare anybody's rankings, or several runs, on the same queries: who is better, by how much, how surely."""
    from llmrec.report.joined import is_run

    _checked(rankings, queries, keys, full)
    primary = _metric(primary) if primary is not None else None
    depths = _depths(at) if at is not None else None
    runs = [path for path in rankings if is_run(path)]
    if runs:
        from llmrec.report.several import several

        evidence, weighed = several(runs, at=depths, primary=primary)
        _say(evidence, weighed, " and ".join(run.resolve().name for run in runs), page, as_json, many=True)
        return
    from llmrec.evaluate.asked import read_queries
    from llmrec.evaluate.external import read_named
    from llmrec.evaluate.side_by_side import side_by_side
    from llmrec.report.several import of_files

    assert queries is not None
    asked = read_queries(queries, keys=keys)
    found, asked = read_named(rankings, asked)
    one = side_by_side(found, asked, at=depths, primary=primary, full=full)
    evidence = of_files(one, one.primary, items=asked.items.height if asked.items is not None and asked.keyed else None)
    _say(evidence, {one.scene.name: one}, "Rankings compared", page, as_json, many=False)


def _checked(rankings: list[Path], queries: Path | None, keys: Path | None, full: bool) -> None:
    """Files need --queries; runs bring their own, and are not mixed with files."""
    from llmrec.errors import RankingFault
    from llmrec.report.joined import is_run

    runs = [path for path in rankings if is_run(path)]
    others = [path for path in rankings if not is_run(path)]
    if runs and others:
        raise RankingFault(
            f"compare: {runs[0]} is a run and {others[0]} is not. Compare runs with runs; or files, of a run those in "
            "its rankings/, with --queries RUN."
        )
    if runs and (queries or keys or full):
        raise RankingFault("compare: --queries, --keys and --full are for files; runs bring their own queries.")
    if not runs and queries is None:
        raise RankingFault(
            "compare: files need --queries: a run folder, a queries.parquet, or a CSV of query,user,target."
        )


def _say(
    evidence: Evidence, weighed: dict[str, Weighed], name: str, page: Path | None, as_json: bool, *, many: bool
) -> None:
    """JSON for programs or tables and sentences for people, then the page where it is wanted."""
    import json

    from rich.console import Console

    from llmrec.progress import plain
    from llmrec.report import comparisons
    from llmrec.report.report import sentences

    if as_json:
        tables = {table: one.metrics for table, one in weighed.items()}
        said = {table: one.said for table, one in weighed.items()}
        (table,) = list(tables)[:1]
        content: dict[str, Any] = {"tables": tables, "comparisons": said}
        content = content if many else {"table": tables[table], "comparisons": said[table]}
        typer.echo(json.dumps({"primary": evidence.primary, **content}, indent=2))
        if page:
            _written(evidence, page, name)
        return
    console = Console()
    for table, one in weighed.items():
        console.print(_table(one, evidence.primary))
        for sentence in comparisons.sentences(evidence, table):
            console.print(f"* {plain(sentence)}", highlight=False, markup=False)
    if many:
        console.print()
        for sentence in sentences(evidence):
            console.print(plain(sentence), highlight=False, markup=False)
    if page:
        written = _written(evidence, page, name)
        console.print(f"\nReport: {written.resolve()}", highlight=False, markup=False, soft_wrap=True)


def _written(evidence: Evidence, page: Path, name: str) -> Path:
    """The page, once everything is printed: a place that cannot be written loses no results."""
    from llmrec.errors import RunFault
    from llmrec.report.report import write_page

    try:
        return write_page(evidence, page, name=name)
    except OSError as fault:
        raise RunFault(
            f"--page {page}: cannot be written ({fault.strerror or fault}). Name a file in a "
            "folder that takes one, such as compared.html."
        ) from None


def _metric(primary: str) -> str:
    from llmrec.errors import RankingFault
    from llmrec.metrics import split_name

    try:
        _, depth = split_name(primary)
    except ValueError as fault:
        raise RankingFault(f"--primary {fault}.") from None
    if depth > DEEPEST:
        raise RankingFault(f"--primary {primary}: depths are whole numbers from 1 to {DEEPEST:,}, such as ndcg@10.")
    return primary


def _depths(at: str) -> list[int]:
    from llmrec.errors import RankingFault

    try:
        depths = sorted({int(depth) for depth in at.split(",")})
        if depths[0] < 1 or depths[-1] > DEEPEST:
            raise ValueError
    except ValueError:
        raise RankingFault(
            f"--at {at}: depths are whole numbers from 1 to {DEEPEST:,}, with commas: --at 1,5,10,20."
        ) from None
    return depths


def _table(weighed: Weighed, primary: str) -> Table:
    """Rankers by the metric that decides, best first; a few metrics with their intervals (--json has them all)."""
    from rich.markup import escape  # names come from other people's files
    from rich.table import Table

    from llmrec.evaluate.sentences import title
    from llmrec.progress import plain

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
        table.add_row(
            escape(plain(ranker)), *(f"{c['mean']:.3f}\n[dim]{c['low']:.3f}–{c['high']:.3f}[/dim]" for c in cells)
        )
    if "chance" in weighed.metrics:
        table.add_row(
            "[dim]chance[/dim]", *(f"[dim]{weighed.metrics['chance'][column]:.3f}[/dim]" for column in columns)
        )
    return table


def register(app: typer.Typer) -> None:
    app.command("compare")(compare)
