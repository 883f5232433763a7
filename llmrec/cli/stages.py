"""`llmrec run RECIPE`, and every stage alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.door import VERBS

RECIPE = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe by path or shipped name.", show_default=False)]
OVERRIDES = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Fields to set: train.learning_rate=1e-4.", show_default=False),
]
RUNS = Annotated[Path, typer.Option("--runs", metavar="DIR", envvar="LLMREC_RUNS", help="Where run folders lie.")]
SHARD = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="Make this share of the parts only; without it they are put together."),
]
STAGES = [verb for verb, (module, _, _) in VERBS.items() if module == __name__ and verb != "run"]


def run(recipe: RECIPE, overrides: OVERRIDES = None, runs: RUNS = Path("runs")) -> None:
    from llmrec.recipe.loader import load_recipe

    loaded = load_recipe(recipe, overrides or ())  # before the heavy imports: a fault in the recipe answers at once
    from llmrec.stages import run_all

    run_all(loaded, runs=runs)


def stage(name: str) -> Callable[..., None]:
    """The verb that does one stage."""

    def one(recipe: RECIPE, overrides: OVERRIDES = None, runs: RUNS = Path("runs")) -> None:
        from llmrec.recipe.loader import load_recipe

        loaded = load_recipe(recipe, overrides or ())
        from llmrec.stages import run_stage

        run_stage(name, loaded, runs=runs)

    return one


def pairs(recipe: RECIPE, overrides: OVERRIDES = None, runs: RUNS = Path("runs"), shard: SHARD = None) -> None:
    from llmrec.pairs.parts import Shard
    from llmrec.recipe.loader import load_recipe

    share = None if shard is None else Shard.read(shard)
    loaded = load_recipe(recipe, overrides or ())
    if share is None:
        from llmrec.stages import run_stage

        run_stage("pairs", loaded, runs=runs)
    else:
        from llmrec.stages import run_shard

        run_shard(share, loaded, runs=runs)


def register(app: typer.Typer) -> None:
    app.command("run", help=VERBS["run"][2])(run)
    for name in STAGES:
        app.command(name, help=VERBS[name][2])(pairs if name == "pairs" else stage(name))
