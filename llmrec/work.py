"""What each stage does: reads its inputs, calls one room, writes its outputs into the folder that it is given."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.candidates.negatives import GUARDS, SOURCES, Negatives, refuse_unmet
from llmrec.candidates.rounds import dealt
from llmrec.candidates.two_stage import completed, two_stage
from llmrec.candidates.uniform import uniform
from llmrec.columns import KEY, QUERY, USER
from llmrec.data import larder as larders
from llmrec.data.larder import Larder
from llmrec.data.prepare import prepare as make_larder
from llmrec.errors import DataFault, Disqualified
from llmrec.files import write_json, write_text
from llmrec.pairs.parts import Shard
from llmrec.ranking import read_ranking, read_table, write_parquet
from llmrec.recipe.sections import Objective, Recipe
from llmrec.rng import rng_for, seed_for
from llmrec.run import SHARED
from llmrec.task import ArmRun, Task, Turn


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


def pairs(task: Task, turn: Turn, one: ArmRun | None, out: Path, shard: Shard | None = None) -> None:
    """Preference pairs of both folds, their card, a sample and the template; of a shard among several, its parts.

    `one` is the arm that the pairs are for, where they draw on what it ranked in the round before.
    """
    from llmrec.pairs.build import mixed_pairs
    from llmrec.pairs.card import recall, write_card
    from llmrec.pairs.export import CHATS
    from llmrec.pairs.parts import forget, put_together, write_parts
    from llmrec.pairs.sample import SHOWN, samples_text

    larder, recipe = task.larder(), task.recipe
    encoders = task.encoders(recipe, larder)
    asked = _asked(task, turn)
    _refuse_listed(turn, encoders)
    mined = read_ranking(task.run.path("retrieve") / "mined.parquet") if turn.sources.draws("retrieved") else None
    played = read_ranking(task.run.path(task.turns[turn.number - 2].rank(one)) / "played.parquet") if one else None
    k, seed, rankings = recipe.pairs.rejected, recipe.seed, {"retrieved": mined, "played": played}
    mixed = Negatives(larder, k, turn.sources, seed=seed, **rankings, among=asked, guard=recipe.pairs.guard)
    folds = {
        "train": (asked, mixed),
        "valid": (larder.fold("valid"), Negatives(larder, k, {"uniform": 1.0}, seed=seed)),
    }
    mine, parts = shard or Shard(), {}
    for fold, (queries, drawn) in folds.items():

        def make(part: pl.DataFrame, drawn: Negatives = drawn) -> pl.DataFrame:
            negs = drawn(part)
            made = mixed_pairs(part, larder, encoders, negs, round=turn.number, seed=seed)
            return made.with_columns(negs.select(GUARDS))

        parts[fold] = write_parts(queries, make, out / SHARED / fold, mine)
    if shard is not None:  # of one, too: whole stages are put together by `llmrec pairs` alone
        return
    guards = dict.fromkeys(GUARDS, 0)
    for fold, paths in parts.items():
        put_together(paths, out / f"{fold}.parquet")
        if fold == "train" and paths:
            guards = pl.scan_parquet(paths).select(pl.col(GUARDS).sum()).collect().row(0, named=True)
    forget(out / SHARED)
    some = pl.read_parquet(out / "train.parquet", n_rows=SHOWN)
    write_text(samples_text(some, of=len(asked), budget=recipe.prompt.budget), out / "sample.txt")
    for n, one_of in enumerate(encoders, start=1):
        write_text(one_of.template.source, out / ("template.jinja" if n == 1 else f"template-{n}.jinja"))
    chats = {one.template.signature: one.chat.as_json() for one in encoders if one.chat is not None}
    if chats:
        write_json(chats, out / CHATS)
    miner: dict[str, dict[int, float]] = {}
    if mined is not None:
        held = read_ranking(task.run.path("retrieve") / "mined_valid.parquet")
        miner |= {"training queries": recall(mined, asked), "validation": recall(held, larder.fold("valid"))}
    own = None
    if played is not None and turn.sources.self_play is not None:
        at = sorted({1, turn.sources.self_play.ranks[1]})
        own = recall(played, asked.join(played, on=QUERY, how="semi"), at)
    manifest = _manifest(recipe, task.here)
    write_card(
        out,
        dataset=recipe.data.dataset or _called(recipe.data.path),
        licence=manifest.get("licence"),
        licence_url=manifest.get("homepage"),
        citation=manifest.get("citation"),
        command="llmrec pairs recipe.yaml",
        shares=turn.sources.shares,
        guards=guards,
        counts=larder.catalogue.select("item", "count"),
        left_out=json.loads((task.run.path("prepare") / "summary.json").read_text(encoding="utf-8"))["dropped"],
        played=own,
        tokenizer=recipe.model.name or f"built by the recipe ({task.folder_of(recipe)})",
        miner=miner,
    )


def _asked(task: Task, turn: Turn) -> pl.DataFrame:
    """The training queries of a round."""
    asked = read_table(task.run.path("retrieve") / "queries.parquet")
    if not turn.of:
        return asked
    mine = dealt(asked, turn.of)[turn.number - 1]
    if not mine.height:
        raise DataFault(
            f"rounds: there are {asked.height} training positions for {turn.of} rounds, and round {turn.number} has "
            "none. Raise pairs.per_user, or take a round away."
        )
    return mine


def _refuse_listed(turn: Turn, encoders: list[Any]) -> None:
    """Raises DataFault where a prompt would list items that were drawn around the target."""
    around = [name for name in turn.sources.named if turn.sources.draws(name) and SOURCES[name].reads_target]
    listing = [one.template.signature for one in encoders if one.template.lists_candidates]
    if around and listing:
        raise DataFault(
            f"pairs.from: {around[0]} draws around the target, and {listing[0]} lists what was drawn: "
            "the list would give the target away. Take a template without candidates, or the source away."
        )


def play(task: Task, one: ArmRun, turn: Turn, out: Path) -> None:
    """What an arm, after a round, ranks first for the training queries of the next."""
    from llmrec.language.load import load_model
    from llmrec.language.lora import tuned
    from llmrec.rank.played import played

    larder, recipe, after = task.larder(), one.recipe, task.turns[turn.number]
    fields = after.sources.self_play
    assert fields is not None
    queries = _asked(task, after)
    if queries.height > fields.queries:
        rng = rng_for(recipe.seed, "self_play", turn.number)
        queries = queries[sorted(rng.choice(queries.height, fields.queries, replace=False).tolist())]
    model = load_model(recipe.model, here=task.here, built=task.run.path(one.built[0]) if one.built else None)
    model = tuned(model, task.run.path(turn.train(one)) / "adapter")
    encoder, words = task.encoder(recipe, larder), f"{one.name}, round {turn.number}"
    k, rule = fields.ranks[1], rule_of(task, one)
    ranking = played(model, encoder, larder, queries, recipe, k=k, rule=rule, ranker=one.arm, words=words)
    write_parquet(ranking, out / "played.parquet")


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


def rank_floor(task: Task, name: str, out: Path) -> None:
    """A floor's rankings."""
    from llmrec.rank.floors import FLOORS

    larder = task.larder()
    _rank_scorer(task, larder, FLOORS[name](larder), out)


def rank_retriever(task: Task, out: Path) -> None:
    """Ranks with the retriever; its first n become the two-stage candidates."""
    from llmrec.rank.scorer import rank_catalogue
    from llmrec.retriever.model import Retriever

    larder = task.larder()
    model = Retriever.load(task.run.path("retrieve") / "model", n_items=larder.n_items)
    _rank_scorer(task, larder, model, out)
    n = task.recipe.candidates.two_stage
    if n is not None:
        for fold in ("valid", "test"):
            masked = task.recipe.evaluate.masks
            best = rank_catalogue(model, larder, larder.fold(fold), n, seed=task.recipe.seed, masked=masked)
            best = best.filter(pl.col("rank") <= n)
            offered = two_stage(best, n, seed=task.recipe.seed)
            write_parquet(offered, out / f"{fold}_candidates.parquet")
            write_parquet(best, out / ("two_stage.parquet" if fold == "test" else "valid_two_stage.parquet"))


def rank_language(task: Task, one: ArmRun, out: Path, *, shuffled: bool = False) -> None:
    """Ranks with a language arm, or its control; how answers become scores may be left to the validation queries."""
    from llmrec.language.load import load_model, refuse_strangers
    from llmrec.rank.arm import rank_arm

    larder, recipe = task.larder(), one.recipe
    larder = larder.shuffled(recipe.seed) if shuffled else larder
    encoder = task.encoder(recipe, larder)
    model = load_model(recipe.model, here=task.here, built=task.run.path(one.built[0]) if one.built else None)
    refuse_strangers(encoder.tokenizer, model)
    size = {"parameters": model.num_parameters(), "model_bytes": model.get_memory_footprint()}
    if recipe.objective is not None:
        from llmrec.language.lora import tuned

        model = tuned(model, task.run.path(f"train/{one.name}") / "adapter")
    offered: dict[str, dict[str, pl.DataFrame]] = {}
    for fold in ("valid", "test"):
        offered[fold] = {"uniform": _candidates(task, fold)}
        if task.reranks and (
            recipe.answer.style == "title" or (recipe.candidates.two_stage or 0) <= len(encoder.labels)
        ):
            offered[fold]["two_stage"] = read_table(task.run.path("rankings/retriever") / f"{fold}_candidates.parquet")
    ranker, words = ("shuffled_titles",) * 2 if shuffled else (one.arm, one.name)
    summary = rank_arm(
        model, encoder, larder, offered, recipe, rule=rule_of(task, one), words=words, ranker=ranker, out=out
    )
    write_json({**summary, **size}, out / "summary.json")


def rank_fused(task: Task, name: str, one: ArmRun, out: Path) -> None:
    """Mixes retriever and language arm, the weight chosen on validation, separately for each kind of candidates."""
    from llmrec.rank.fused import chosen_weight, fused

    larder, recipe = task.larder(), task.recipe
    sides = [task.run.path(f"rankings/{one.name}"), task.run.path("rankings/retriever")]
    summary: dict[str, Any] = {"language": one.name}
    for table, held in (("uniform", "valid"), ("two_stage", "valid_two_stage")):
        if not all((side / f"{table}.parquet").exists() for side in sides):
            continue
        language, retriever = (read_ranking(side / f"{held}.parquet") for side in sides)
        weight, values = chosen_weight(
            language, retriever, larder.fold("valid"), recipe.evaluate.primary, seed=recipe.seed
        )
        language, retriever = (read_ranking(side / f"{table}.parquet") for side in sides)
        mixed = fused(language, retriever, weight, seed=recipe.seed)
        write_parquet(mixed, out / f"{table}.parquet")
        if table == "two_stage":  # beyond its first n the retriever's own order stands
            rest = read_ranking(sides[1] / "catalogue.parquet")
            write_parquet(completed(mixed, rest, seed=recipe.seed), out / "catalogue.parquet")
        summary[table] = {"weight_of_language": weight, "validation": values}
    write_json({**summary, **_both(*sides)}, out / "summary.json")


def _both(*sides: Path) -> dict[str, float]:
    """What asking both sides of a mix costs: one after the other, each in its best batch."""
    found = [json.loads((side / "summary.json").read_text(encoding="utf-8")) for side in sides]
    rates = [(one.get("best_batch") or one).get("users_per_second") for one in found]
    return {"users_per_second": float(f"{1 / sum(1 / rate for rate in rates):.3g}")} if all(rates) else {}


def evaluate(task: Task, out: Path) -> None:
    """Metrics, comparisons, audit and cost of everything that was ranked."""
    from llmrec.evaluate.cost import cost
    from llmrec.evaluate.evaluate import evaluate as judge
    from llmrec.evaluate.of_run import mined_of

    larder, recipe = task.larder(), task.recipe
    offered: dict[str, pl.DataFrame | None] = {"uniform": _candidates(task, "test"), "catalogue": None}
    if task.reranks:
        offered["two_stage"] = read_table(task.run.path("rankings/retriever") / "test_candidates.parquet")
    tables: dict[str, dict[str, list[pl.DataFrame]]] = {}
    for table in offered:
        for ranker, folders in _rankers(task).items():
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
        offered = _candidates(task, "test").filter(pl.col(QUERY) == query[QUERY])["items"][0].to_list()
    told = details_of(queries, larder, encoder.template)
    return sample_prompt(
        encoder,
        larder.contexts(queries)[0],
        candidates=offered,
        target=query["target"],
        details=told[0] if told else None,
    )


def rule_of(task: Task, one: ArmRun) -> str:
    """A rule or `validation`; an arm that is not tuned follows the same rule as those that it is compared with."""
    return one.recipe.answer.rank_by or (one.recipe.objective or task.recipe.objective or Objective()).by


def _rank_scorer(task: Task, larder: Larder, scorer: Any, out: Path) -> None:
    """A scorer's three rankings: validation and test candidates, and the catalogue."""
    import time

    from llmrec.rank.scorer import rank_candidates, rank_catalogue
    from llmrec.rank.speed import speed

    asked = task.recipe.evaluate
    seed, test, k, masked = task.recipe.seed, larder.fold("test"), max(asked.at), asked.masks
    write_parquet(
        rank_candidates(scorer, larder, larder.fold("valid"), _candidates(task, "valid"), seed=seed),
        out / "valid.parquet",
    )
    write_parquet(rank_candidates(scorer, larder, test, _candidates(task, "test"), seed=seed), out / "uniform.parquet")
    began = time.monotonic()
    best = rank_catalogue(scorer, larder, test, k, seed=seed, masked=masked)
    seconds = time.monotonic() - began
    write_parquet(best, out / "catalogue.parquet")
    summary: dict[str, Any] = {
        "seconds": round(seconds, 3),
        "users_per_second": round(test.height / max(seconds, 1e-9), 1),
        **speed(lambda some: rank_catalogue(scorer, larder, some, k, seed=seed, masked=masked), test, seed=seed),
    }
    if hasattr(scorer, "parameters"):
        weights = list(scorer.parameters())
        summary["parameters"] = sum(p.numel() for p in weights)
        summary["model_bytes"] = sum(p.numel() * p.element_size() for p in weights)
    write_json(summary, out / "summary.json")


def _candidates(task: Task, fold: str) -> pl.DataFrame:
    sets = read_table(task.run.path("candidates") / "uniform.parquet")
    return sets.join(task.larder().fold(fold), on=QUERY, how="semi")


def _rankers(task: Task) -> dict[str, list[str]]:
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


def _called(path: str | list[str] | None) -> str:
    """The name of the files, for people."""
    return " + ".join(Path(one).name for one in ([path] if isinstance(path, str) else path or []))


def _manifest(recipe: Recipe, here: Path) -> dict[str, Any]:
    if recipe.data.dataset is None:
        return {}
    from llmrec.data.manifest import find_manifest

    return find_manifest(recipe.data.dataset, here)[0].model_dump()
