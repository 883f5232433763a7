"""From interactions to what pairs are made of: histories, candidates, the retriever, the recipe's own model."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from llmrec.candidates.negatives import refuse_unmet
from llmrec.candidates.uniform import uniform
from llmrec.columns import QUERY
from llmrec.data import larder as larders
from llmrec.data.prepare import prepare as make_larder
from llmrec.ranking import write_parquet
from llmrec.recipe.sections import Recipe
from llmrec.rng import seed_for
from llmrec.task import Task


def prepare(task: Task, out: Path) -> None:
    """Interactions to histories, catalogue and queries."""
    make_larder(task.recipe.data, task.recipe.split, seed=task.recipe.seed, here=task.here, out=out)


def candidates(task: Task, out: Path) -> None:
    """Uniform candidates of the validation and test queries, frozen."""
    larder = task.larder()
    asked = larder.queries.filter(pl.col("fold").is_in(["valid", "test"]))
    write_parquet(uniform(asked, larder, task.recipe.candidates.count, seed=task.recipe.seed), out / "uniform.parquet")


def retrieve(task: Task, out: Path) -> None:
    """Fits the retriever on all training positions, and a second one, which mines, on the earlier ones only."""
    from llmrec.prompts.details import refuse_unknown
    from llmrec.prompts.template import load_template
    from llmrec.rank.scorer import rank_catalogue
    from llmrec.retriever.fit import Asked, fit

    larder, recipe = task.larder(), task.recipe
    # Before hours go into what pairs and prompts could not use.
    if any(one.recipe.objective for one in task.arms):
        refuse_unmet(larder, recipe.drawn, recipe.pairs.guard)
    for name in recipe.prompt.templates:
        refuse_unknown(larder, load_template(name, here=task.here))
    valid = larder.fold("valid")
    asked = larders.training_queries(larder, recipe.pairs.per_user)
    held = Asked(larder.contexts(valid), valid["target"].to_numpy(), larder.moments(valid))
    seed = seed_for(recipe.seed, "retriever")
    fit(
        larder.training(),
        larder.n_items,
        recipe.retriever,
        valid=held,
        seed=seed,
        times=larder.training_moments(),
        out=out / "model",
        words="fitting the retriever",
    )
    write_parquet(asked, out / "queries.parquet")
    if not task.mines:
        return
    # The miner never sees the positions that pairs are made of, or their ranks would not be what a new query sees; nor
    # do they tell it when to stop. The position before them does that, and it is not fitted on either.
    wider = larders.training_queries(larder, recipe.pairs.per_user + 1)
    stops = wider.join(asked.select(QUERY), on=QUERY, how="anti")
    miner = fit(
        larders.before(larder, wider),
        larder.n_items,
        recipe.retriever,
        valid=Asked(larder.contexts(stops), stops["target"].to_numpy(), larder.moments(stops)),
        seed=seed,
        times=larder.training_moments(),
        out=out / "mining",
        words="fitting the retriever that mines",
    )
    write_parquet(rank_catalogue(miner, larder, asked, task.mined, seed=recipe.seed), out / "mined.parquet")
    write_parquet(rank_catalogue(miner, larder, valid, task.mined, seed=recipe.seed), out / "mined_valid.parquet")


def pretrain(task: Task, recipe: Recipe, out: Path) -> None:
    """The recipe's own language model, on what came before the positions that pairs are made of."""
    from llmrec.language.pretrain import pretrain as fit
    from llmrec.language.tokenizer import build_tokenizer
    from llmrec.prompts.encoding import Encoder
    from llmrec.prompts.template import load_template

    larder = task.larder()
    assert recipe.model.build is not None
    template = load_template(recipe.prompt.templates[0], here=task.here)
    texts = [f" {text}" for text in larder.texts]
    tokenizer = build_tokenizer(texts, recipe.model.build.vocab_size, extra=template.source)
    encoder = Encoder(tokenizer, template, larder.texts, recipe.prompt.budget, recipe.answer)
    asked = larders.training_queries(larder, recipe.pairs.per_user)
    earlier, seed = larders.before(larder, asked), seed_for(recipe.seed, "pretrain")
    fit(earlier, encoder, tokenizer, recipe.model.build, seed=seed, out=out)
