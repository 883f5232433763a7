"""From training queries to preference pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.candidates.negatives import GUARDS, SOURCES, Negatives
from llmrec.candidates.rounds import dealt
from llmrec.columns import QUERY
from llmrec.errors import DataFault
from llmrec.files import write_json, write_text
from llmrec.pairs.parts import Shard
from llmrec.ranking import read_ranking, read_table
from llmrec.recipe.sections import Recipe
from llmrec.run import SHARED
from llmrec.task import ArmRun, Task, Turn


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
    asked = asked_in(task, turn)
    refuse_listed(turn, encoders)
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
    manifest = manifest_of(recipe, task.here)
    write_card(
        out,
        dataset=recipe.data.dataset or called(recipe.data.path),
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


def asked_in(task: Task, turn: Turn) -> pl.DataFrame:
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


def refuse_listed(turn: Turn, encoders: list[Any]) -> None:
    """Raises DataFault where a prompt would list items that were drawn around the target."""
    around = [name for name in turn.sources.named if turn.sources.draws(name) and SOURCES[name].reads_target]
    listing = [one.template.signature for one in encoders if one.template.lists_candidates]
    if around and listing:
        raise DataFault(
            f"pairs.from: {around[0]} draws around the target, and {listing[0]} lists what was drawn: "
            "the list would give the target away. Take a template without candidates, or the source away."
        )


def called(path: str | list[str] | None) -> str:
    """The name of the files, for people."""
    return " + ".join(Path(one).name for one in ([path] if isinstance(path, str) else path or []))


def manifest_of(recipe: Recipe, here: Path) -> dict[str, Any]:
    if recipe.data.dataset is None:
        return {}
    from llmrec.data.manifest import find_manifest

    return find_manifest(recipe.data.dataset, here)[0].model_dump()
