"""What came of it: numbers, a page, and the prompt that a model reads."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import polars as pl

from llmrec.columns import KEY, QUERY, USER
from llmrec.errors import DataFault, Disqualified
from llmrec.files import write_json
from llmrec.ranking import read_ranking, read_table
from llmrec.task import Task
from llmrec.work.rankings import candidates_of


def evaluate(task: Task, out: Path) -> None:
    """Metrics, comparisons, audit and cost of everything that was ranked."""
    from llmrec.evaluate.cost import cost
    from llmrec.evaluate.evaluate import evaluate as judge
    from llmrec.evaluate.of_run import mined_of

    larder, recipe = task.larder(), task.recipe
    offered: dict[str, pl.DataFrame | None] = {"uniform": candidates_of(task, "test"), "catalogue": None}
    if task.reranks:
        offered["two_stage"] = read_table(task.run.path("rankings/retriever") / "test_candidates.parquet")
    tables: dict[str, dict[str, list[pl.DataFrame]]] = {}
    for table in offered:
        for ranker, folders in rankers_of(task).items():
            files = [task.run.path(f"rankings/{folder}") / f"{table}.parquet" for folder in folders]
            if all(file.exists() for file in files):
                tables.setdefault(table, {})[ranker] = [read_ranking(file) for file in files]
    write_json(cost(task.run.folder), out / "cost.json")
    # A disqualified comparison is written and reported like any other: its findings are the evidence. `stages` raises.
    with suppress(Disqualified):
        judge(
            larder,
            tables,
            offered,
            recipe.evaluate,
            seed=recipe.seed,
            out=out,
            arms=list(recipe.arms),
            untuned=[one.arm for one in task.arms if one.recipe.objective is None],
            method=recipe.split.method,
            mined=mined_of(task.run.folder, larder),
        )


def report(task: Task, out: Path) -> None:
    """The page."""
    from llmrec.report.report import write_report

    write_report(task.run.folder, task.larder(), out, name=task.recipe.name)


def prompt_of(task: Task, user: str) -> str:
    """The prompt of a user's test query, as text, with token counts. Raises DataFault for an unknown user."""
    from llmrec.pairs.sample import sample_prompt
    from llmrec.prompts.details import details_of

    larder = task.larder()
    known = larder.users.filter(pl.col(KEY) == user)
    queries = larder.fold("test").join(known, on=USER, how="semi")
    if not queries.height:
        some = ", ".join(larder.users[KEY].head(3).to_list())
        raise DataFault(f"user {user} has no test query in {task.run.path('prepare')}; users there: {some}, ...")
    encoder = task.encoder(task.recipe, larder)
    query = queries.row(0, named=True)
    offered = None
    if encoder.template.lists_candidates:
        offered = candidates_of(task, "test").filter(pl.col(QUERY) == query[QUERY])["items"][0].to_list()
    told = details_of(queries, larder, encoder.template)
    return sample_prompt(
        encoder,
        larder.contexts(queries)[0],
        candidates=offered,
        target=query["target"],
        details=told[0] if told else None,
    )


def rankers_of(task: Task) -> dict[str, list[str]]:
    """Ranker -> its folders, one a seed, floors first."""
    found: dict[str, list[str]] = {}
    asked = task.recipe.evaluate.rankers
    for name in ("popularity", "recent", "transitions", "retriever"):
        if name in asked:
            found[name] = [name]
    if "language" in asked:
        for one in task.arms:
            found.setdefault(one.arm, []).append(one.name)
    if "shuffled_titles" in asked:
        found["shuffled_titles"] = ["shuffled_titles"]
    if "fused" in asked:
        found["fused"] = list(task.fused)
    return found
