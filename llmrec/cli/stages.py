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


def register(app: typer.Typer) -> None:
    app.command("run", help=VERBS["run"][2])(run)
    for name in STAGES:
        app.command(name, help=VERBS[name][2])(stage(name))
