"""From pairs to an adapter, and what it plays against itself."""

from __future__ import annotations

from pathlib import Path

from llmrec.ranking import write_parquet
from llmrec.rng import rng_for
from llmrec.task import ArmRun, Task, Turn
from llmrec.work.pairs import asked_in
from llmrec.work.rankings import rule_of


def train(task: Task, one: ArmRun, turn: Turn, out: Path) -> None:
    """One arm's adapter after a round; from the second round on it goes on from the one before."""
    from llmrec.language.load import load_config, load_model, load_tokenizer
    from llmrec.language.preflight import refuse_too_large
    from llmrec.language.tuning import train as tune

    folder = task.run.path(turn.pairs_of(one))
    built = task.run.path(one.built[0]) if one.built else None
    config = load_config(one.recipe.model, here=task.here, built=built)
    if config is not None:
        refuse_too_large(one.recipe, config, folder / "train.parquet")
    tokenizer = load_tokenizer(one.recipe.model, here=task.here, built=built)
    model = load_model(one.recipe.model, here=task.here, built=built)
    recipe = one.recipe
    before = one.start if turn.number < 2 else task.turns[turn.number - 2].train(one)
    if before is not None:
        start = str(task.run.path(before).resolve() / "adapter")
        recipe = recipe.model_copy(update={"lora": {**recipe.lora, "init_from": start}})
    tune(recipe, model, tokenizer, folder, seed=one.seed, here=task.here, out=out)


def play(task: Task, one: ArmRun, turn: Turn, out: Path) -> None:
    """What an arm, after a round, ranks first for the training queries of the next."""
    from llmrec.language.load import load_model
    from llmrec.language.lora import tuned
    from llmrec.rank.played import played

    larder, recipe, after = task.larder(), one.recipe, task.turns[turn.number]
    fields = after.sources.self_play
    assert fields is not None
    queries = asked_in(task, after)
    if queries.height > fields.queries:
        rng = rng_for(recipe.seed, "self_play", turn.number)
        queries = queries[sorted(rng.choice(queries.height, fields.queries, replace=False).tolist())]
    model = load_model(recipe.model, here=task.here, built=task.run.path(one.built[0]) if one.built else None)
    model = tuned(model, task.run.path(turn.train(one)) / "adapter")
    encoder, words = task.encoder(recipe, larder), f"{one.name}, round {turn.number}"
    k, rule = fields.ranks[1], rule_of(task, one)
    ranking = played(model, encoder, larder, queries, recipe, k=k, rule=rule, ranker=one.arm, words=words)
    write_parquet(ranking, out / "played.parquet")
