"""The stages of a recipe, in order: what each reads of it, what it needs, and what does it.

    prepare                 interactions -> histories, catalogue, queries
    candidates              queries -> uniform candidate sets, frozen
    retrieve                histories -> the retriever, and one fitted on earlier positions that mines negatives
    pretrain                histories -> a small language model (only for model.build)
    pairs                   histories, mined ranking -> preference pairs
    train/<arm>             pairs -> an adapter
      with `rounds`         pairs/round-<k>, rounds/<k>/train/<arm> and, where the next round plays itself,
                            rounds/<k>/rank/<arm>, once a round; train/<arm> is the last round's
    rankings/<ranker>       queries, candidates -> a ranking; all rankers meet here
    evaluate                rankings -> metrics, comparisons, audit
    report                  everything -> a page

`llmrec run` is a walk over this list. Arms with `seeds` above one are trained and ranked once a seed, as <arm>-s<seed>.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from llmrec import work
from llmrec.errors import Disqualified
from llmrec.inputs import known_by_content
from llmrec.launch import expect_all_processes, refuse_launch
from llmrec.pairs.parts import Shard
from llmrec.progress import leads, note
from llmrec.recipe.loader import Loaded, dump_recipe
from llmrec.recipe.sections import Guard, Recipe
from llmrec.run import SHARED, Run, Stage
from llmrec.task import MINED, ArmRun, Task, Turn

VERBS = ("prepare", "retrieve", "pretrain", "pairs", "train", "rank", "evaluate", "report")


def run_all(loaded: Loaded, *, runs: Path) -> None:
    """Every stage, skipping what is done; ends with the tables, the verdict and the report's path on stdout."""
    refuse_launch("run")
    run, task = _open(loaded, runs)
    stages = plan(task)
    for stage in stages:
        run.do(stage)
    run.close(stages)
    _say_verdict(run)
    _refuse_disqualified(run)


def run_stage(verb: str, loaded: Loaded, *, runs: Path) -> None:
    """The stages of one command. Raises RunFault naming the command to run first when an input is not there."""
    if verb == "train":
        expect_all_processes()
    else:
        refuse_launch(verb)
    run, task = _open(loaded, runs)
    chosen = [stage for stage in plan(task) if stage.verb == verb]
    if not chosen:
        note(f"{verb}: this recipe has nothing to do here.")
    for stage in chosen:
        run.do(stage)
    run.close([stage for stage in plan(task) if run.record(stage.name)])
    if leads():
        _say_stage(verb, run, chosen)
    if verb in ("evaluate", "report"):
        _refuse_disqualified(run)


def run_shard(shard: Shard, loaded: Loaded, *, runs: Path) -> None:
    """One process' share of the pairs' parts; `run_stage` for `pairs` puts them together and makes what is missing.

    Shards are told apart by their numbers, so any launcher may start them.
    """
    run, task = _open(loaded, runs)
    chosen = [stage for stage in plan(task) if stage.verb == "pairs"]
    if not chosen:
        note("pairs: this recipe has nothing to do here.")
    for stage in chosen:
        folder = run.share(stage)
        if folder is not None:
            does: Any = stage.work
            does(folder, shard=shard)
            print(json.dumps({"shard": f"{shard.number}/{shard.of}", "folder": str(folder / SHARED)}))


def plan(task: Task) -> list[Stage]:
    """The stages of a recipe, each after those that it needs."""
    recipe = task.recipe
    seed = {"seed": recipe.seed}
    whole = known_by_content(recipe, task.here)

    def read(*sections: str) -> dict[str, Any]:
        return {**seed, **{name: whole[name] for name in sections}}

    stages = [
        Stage("prepare", "prepare", read("data", "split"), (), partial(work.prepare, task)),
        Stage("candidates", "rank", read("candidates"), ("prepare",), partial(work.candidates, task)),
    ]
    deeper = {"mined": task.mined} if task.mines and task.mined > MINED else {}
    stages.append(
        Stage(
            "retrieve",
            "retrieve",
            {**read("retriever"), "per_user": recipe.pairs.per_user, "mines": task.mines, **deeper},
            ("prepare",),
            partial(work.retrieve, task),
        )
    )
    # How answers are ranked teaches nothing: another rule trains nothing anew.
    spoken = {"answer": {name: whole["answer"][name] for name in ("style", "eos")}}
    tokenized = {**read("prompt"), **spoken}
    for name, arm in task.built.items():
        assert arm.model.build is not None
        reads = {**tokenized, "build": arm.model.build.model_dump(), "per_user": recipe.pairs.per_user}
        stages.append(Stage(name, "pretrain", reads, ("prepare",), partial(work.pretrain, task, arm)))
    return [
        *stages,
        *_rounds(task, whole, read, tokenized, spoken),
        *_rankings(task, read),
        *_verdict(task, read),
    ]


def _rounds(task: Task, whole: dict[str, Any], read: Any, tokenized: dict[str, Any], spoken: Any) -> list[Stage]:
    """Pairs and training, round by round; one round where the recipe names none.

    First the pairs that are for all arms, then arm by arm, since one arm may start from where another ended.
    """
    recipe = task.recipe
    tuned = [one for one in task.arms if one.recipe.objective is not None]
    said = dict(whole["pairs"])
    if recipe.pairs.guard == Guard():  # as it was said before there were guards
        del said["guard"]

    def place(turn: Turn) -> dict[str, Any]:
        return {"round": [turn.number, turn.of]} if turn.of else {}

    def pairs(turn: Turn, one: ArmRun, played: tuple[str, ...] = ()) -> Stage:
        drawn = {"pairs": {**said, "from": turn.sources.model_dump(mode="json")}}
        reads = {**read(), **drawn, **tokenized, "tokenizer": whole["model"]["name"], **place(turn)}
        own = [task.folder_of(recipe)] if recipe.model.build else []
        does = partial(work.pairs, task, turn, one if turn.plays else None)
        return Stage(turn.pairs_of(one), "pairs", reads, ("prepare", "retrieve", *own, *played), does)

    stages = [pairs(turn, tuned[0]) for turn in task.turns if tuned and not turn.plays]
    for one in tuned:
        of_arm, start = known_by_content(one.recipe, task.here), one.start
        turns = task.turns
        for turn, after in zip(turns, [*turns[1:], None], strict=True):
            if turn.plays:
                stages.append(pairs(turn, one, (turns[turn.number - 2].rank(one),)))
            reads = {name: of_arm[name] for name in ("model", "lora", "objective", "train")}
            reads |= {**spoken, "seed": one.seed, "budget": recipe.prompt.budget}
            needs = ("prepare", turn.pairs_of(one), *one.built, *([start] if start else []))
            stages.append(Stage(turn.train(one), "train", reads, needs, partial(work.train, task, one, turn)))
            start = turn.train(one)
            if after is not None and after.plays:
                asked = after.sources.self_play
                assert asked is not None
                reads = {**read(), **tokenized, "model": of_arm["model"], "rule": work.rule_of(task, one)}
                reads |= {"ranks": asked.ranks, "queries": asked.queries, "beam": recipe.answer.beam, **place(turn)}
                needs = ("prepare", "retrieve", *one.built, start)
                stages.append(Stage(turn.rank(one), "rank", reads, needs, partial(work.play, task, one, turn)))
    return stages


def _rankings(task: Task, read: Any) -> list[Stage]:
    """A stage a ranker: floors, retriever, language arms, fused."""
    recipe = task.recipe
    asked, stages = recipe.evaluate.rankers, []
    depth = {"depth": max(recipe.evaluate.at), "two_stage": recipe.candidates.two_stage, "seen": recipe.evaluate.seen}
    base = ("prepare", "candidates")
    for floor in ("popularity", "recent", "transitions"):
        if floor in asked:
            stages.append(
                Stage(f"rankings/{floor}", "rank", {**read(), **depth}, base, partial(work.rank_floor, task, floor))
            )
    if "retriever" in asked:
        needs = (*base, "retrieve")
        stages.append(
            Stage("rankings/retriever", "rank", {**read(), **depth}, needs, partial(work.rank_retriever, task))
        )
    if "language" in asked:
        ranked = [(one.name, one, False) for one in task.arms]
        ranked += [("shuffled_titles", task.control, True)] if "shuffled_titles" in asked else []
        for name, one, shuffled in ranked:
            arm = known_by_content(one.recipe, task.here)
            reads = {**read("prompt", "answer"), "model": arm["model"], "rule": work.rule_of(task, one)}
            reads |= {"primary": recipe.evaluate.primary, **depth, **({"shuffled": True} if shuffled else {})}
            adapter = (f"train/{one.name}",) if one.recipe.objective is not None else ()
            pool = ("rankings/retriever",) if task.reranks else ()
            needs = (*base, *one.built, *adapter, *pool)
            does = partial(work.rank_language, task, one, shuffled=shuffled)
            stages.append(Stage(f"rankings/{name}", "rank", reads, needs, does))
    if "fused" in asked:
        for name, one in task.fused.items():
            needs = ("prepare", "rankings/retriever", f"rankings/{one.name}")
            reads = {**read(), "primary": recipe.evaluate.primary, **depth}
            stages.append(Stage(f"rankings/{name}", "rank", reads, needs, partial(work.rank_fused, task, name, one)))
    return stages


def _verdict(task: Task, read: Any) -> list[Stage]:
    rankers = tuple(stage.name for stage in _rankings(task, read))
    reads = {**read("evaluate"), "arms": list(task.recipe.arms), "method": task.recipe.split.method}
    needs = ("prepare", "candidates", *(["retrieve"] if task.mines else []), *rankers)
    trained = tuple(f"train/{one.name}" for one in task.arms if one.recipe.objective is not None)
    printed = {"name": task.recipe.name, "protocol": task.recipe.protocol}  # whatever else it prints, others read too
    return [
        Stage("evaluate", "evaluate", reads, needs, partial(work.evaluate, task)),
        Stage("report", "report", printed, ("evaluate", *trained, *rankers), partial(work.report, task)),
    ]


def _open(loaded: Loaded, runs: Path) -> tuple[Run, Task]:
    run = Run(runs / loaded.recipe.name)
    task = Task(loaded.recipe, loaded.here, run)
    run.open(dump_recipe(loaded.recipe, here=loaded.here), {"recipe": str(loaded.path), "seeds": _seeds(loaded.recipe)})
    return run, task


def _seeds(recipe: Recipe) -> list[int]:
    return [recipe.seed + i for i in range(recipe.seeds)]


def _say_verdict(run: Run) -> None:
    from llmrec.report.terminal import print_tables

    print_tables(run.folder)


def _refuse_disqualified(run: Run) -> None:
    """Raises Disqualified, after everything was written and said, if the audit found the comparison unfair."""
    audit = json.loads((run.path("evaluate") / "audit.json").read_text())
    found = [
        f"{finding['where']}: {finding['what']}" for finding in audit["findings"] if finding["level"] == "disqualifies"
    ]
    if found:
        raise Disqualified(found)


def _say_stage(verb: str, run: Run, stages: list[Stage]) -> None:
    if verb == "evaluate" or verb == "report":
        _say_verdict(run)
    elif verb == "pairs" and stages:
        for stage in stages:
            print((run.path(stage.name) / "sample.txt").read_text())
    else:
        for stage in stages:
            print(json.dumps({"stage": stage.name, "folder": str(run.path(stage.name))}))


def show_prompt(loaded: Loaded, user: str, *, runs: Path) -> str:
    """What the model will read for one user, with token counts. The user is the owner's id."""
    run = Run(runs / loaded.recipe.name)
    return work.prompt_of(Task(loaded.recipe, loaded.here, run), user)
