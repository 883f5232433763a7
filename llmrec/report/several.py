"""Several runs on one page: their rankers measured together on the queries that all of them answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llmrec.columns import ITEM, ITEMS, QUERY
from llmrec.errors import RankingFault
from llmrec.evaluate.checks import Kind, check_candidates, check_rankings
from llmrec.evaluate.cost import cost
from llmrec.evaluate.of_run import CATALOGUE
from llmrec.evaluate.reach import settled
from llmrec.evaluate.reading import read_json, read_yaml
from llmrec.evaluate.sentences import FLOORS, RETRIEVER, headline, verdict
from llmrec.evaluate.slices import sliced
from llmrec.evaluate.weigh import Weighed, weigh
from llmrec.metrics import split_name
from llmrec.report.evidence import Evidence, judged, seed_of
from llmrec.report.joined import Member, Tables, read_members, renamed, same_ranking

ORDER = ("catalogue", "uniform")
PRIMARY = "ndcg@10"
Names = dict[str, dict[str, str]]
"""run -> ranker -> its name beside the other runs' rankers."""


def several(
    folders: Sequence[Path],
    *,
    at: list[int] | None = None,
    primary: str | None = None,
    bootstrap: int = 2000,
    seed: int = 0,
) -> tuple[Evidence, dict[str, Weighed]]:
    """Measures the rankers of all runs together: what the page shows, and each candidate set as it was weighed.

    A candidate set takes part where every run has the same one. Rankers of the same name are told apart by their run
    (`run/ranker`), unless they said the same of every query: popularity of the same data is one ranker. Without
    `primary` the runs' own decides, without `at` the first run's depths, as far as all rankers' lists of the catalogue
    go. Raises RankingFault where runs asked for different things, have no candidate set in common, or list less than
    somebody wants measured.
    """
    members = read_members(folders)
    sections = {member.name: read_yaml(member.folder / "recipe.yaml").get("evaluate") or {} for member in members}
    deepest = min(member.held.depth for member in members)
    own = next(iter(sections.values())).get("at") or [1, 5, 10, 20]

    shared, apart = _shared(members)
    names = _names(members, shared)
    arms = {names[m.name][arm]: content for m in members for arm, content in _arms(m) if arm in names[m.name]}
    untuned = [
        arm for arm, content in arms.items() if isinstance(content, dict) and content.get("objective", {}) is None
    ]
    first = members[0].held
    queries = first.larder.fold("test")
    tables = {table: _together(members, names, table, arms) for table in shared}
    kinds: dict[str, Kind] = {}
    for table, candidates in shared.items():
        kinds[table] = "catalogue" if candidates is None else check_candidates(candidates, queries, where=table)
        check_rankings(tables[table], queries, candidates, where=table)
    own_primary = primary or _agreed(sections)
    own_at = [k for k in own if k <= deepest]
    if kinds.get(CATALOGUE) == "catalogue":
        met = [len(np.unique(context)) for context in first.larder.contexts(queries)]
        left = first.larder.n_items - np.array(met, dtype=np.int64)
        depths, primary = settled(tables[CATALOGUE], queries, left, at, primary, own_at=own_at, own_primary=own_primary)
    else:
        primary = own_primary
        depths = sorted({*(at or own_at), split_name(primary)[1]})
    weighed: dict[str, Weighed] = {}
    slices: dict[str, Any] = {}
    for table, candidates in shared.items():
        weighed[table] = weigh(
            table,
            tables[table],
            queries,
            candidates,
            kinds[table],
            at=depths,
            primary=primary,
            bootstrap=bootstrap,
            seed=seed,
            trained=set(tables[table]) - set(FLOORS),
        )
        slices[table] = sliced(weighed[table].values, first.larder, queries, primary, count=bootstrap, seed=seed)
    metrics = {"primary": primary, "tables": _metrics(members, names, weighed), "slices": slices}
    said = {
        "tables": {table: one.said for table, one in weighed.items()},
        "verdict": _verdict(weighed, primary, list(arms), untuned),
    }
    seen = {str(section.get("seen", "masked")) for section in sections.values()}
    known: dict[str, Any] = {
        "recipe": {
            "arms": arms,
            "split": {"method": first.method},
            "evaluate": {"seen": seen.pop() if len(seen) == 1 else None},
            "seed": first.seed,
            "seeds": 0,
        },
        "items": first.larder.n_items,
        "findings": [*(finding for member in members for finding in _findings(member)), *apart],
        "audited": all((member.folder / "evaluate" / "audit.json").is_file() for member in members),
        "cost": _cost(members, names),
        "manifest": {f"run {member.name}": _fingerprint(member.folder) for member in members},
    }
    return judged(metrics, said, **known), weighed


def of_files(weighed: Weighed, primary: str, *, items: int | None) -> Evidence:
    """What the page shows of rankings that came from anywhere: results and comparisons only."""
    means = {ranker: weighed.means.interval(ranker, primary)["mean"] for ranker in weighed.means.mean}
    said = verdict(weighed.comparisons, weighed.scene, means=means, arms=[], metric=primary)
    metrics = {"primary": primary, "tables": {weighed.scene.name: weighed.metrics}, "slices": {}}
    comparisons = {"tables": {weighed.scene.name: weighed.said}, "verdict": said}
    return judged(metrics, comparisons, items=items)


def _shared(members: list[Member]) -> tuple[dict[str, pl.DataFrame | None], list[dict[str, Any]]]:
    """table -> its candidates, of the tables that every run has and that are the same in all; the others as notes."""
    found: dict[str, pl.DataFrame | None] = {}
    apart: list[dict[str, Any]] = []
    for table in dict.fromkeys(table for member in members for table in member.rankings):
        lacking = next((m.name for m in members if table not in m.rankings), None)
        differs = lacking or next((m.name for m in members[1:] if not _same_sets(members[0], m, table)), None)
        if differs:
            why = "does not rank it" if lacking else "offered other candidates"
            apart.append({"level": "notes", "where": table, "what": f"is not compared here: `{differs}` {why}"})
        else:
            found[table] = members[0].candidates[table]
    if not found:
        said = "; ".join(f"`{note['where']}` {note['what']}" for note in apart)
        raise RankingFault(
            f"compare: the runs have no candidate set in common: {said}. Rank the full catalogue in each, or give them "
            "the same seed."
        )
    return found, apart


def _same_sets(a: Member, b: Member, table: str) -> bool:
    ours, theirs = a.candidates[table], b.candidates[table]
    if ours is None or theirs is None:
        return ours is theirs

    def rows(candidates: pl.DataFrame) -> pl.DataFrame:
        return candidates.select(QUERY, pl.col(ITEMS).alias(ITEM)).explode(ITEM).sort(QUERY, ITEM)

    return rows(ours).equals(rows(theirs))


def _names(members: list[Member], shared: dict[str, pl.DataFrame | None]) -> Names:
    """How rankers are called: as in their run, and by run and name where two runs' rankers of one name differ."""
    asked = {m.name: dict.fromkeys(r for table in shared for r in m.rankings[table]) for m in members}
    names: Names = {}
    for member in members:
        names[member.name] = {}
        for ranker in asked[member.name]:
            others = [other for other in members if other is not member and ranker in asked[other.name]]
            alike = all(_alike(member.rankings, other.rankings, ranker, list(shared)) for other in others)
            names[member.name][ranker] = ranker if alike else f"{member.name}/{ranker}"
    return names


def _alike(a: Tables, b: Tables, ranker: str, tables: list[str]) -> bool:
    return all(same_ranking(a[table].get(ranker, []), b[table].get(ranker, [])) for table in tables)


def _together(members: list[Member], names: Names, table: str, arms: dict[str, Any]) -> dict[str, list[pl.DataFrame]]:
    """ranker -> its rankings of one table: floors, retrievers, language arms, everybody else."""
    found: dict[str, list[pl.DataFrame]] = {}
    for member in members:
        for ranker, seeds in member.rankings[table].items():
            name = names[member.name][ranker]
            found.setdefault(name, [renamed(ranking, name) for ranking in seeds])

    def place(name: str) -> int:
        own = name.rpartition("/")[2]
        return 0 if own in FLOORS and name not in arms else 1 if own == RETRIEVER else 2 if name in arms else 3

    return dict(sorted(found.items(), key=lambda kept: place(kept[0])))


def _verdict(weighed: dict[str, Weighed], primary: str, arms: list[str], untuned: list[str]) -> str:
    """One plain sentence, and one for each table, as an evaluation says them."""
    spoken = [table for table in ORDER if table in weighed] or list(weighed)
    scenes, said = [], []
    for table in spoken:
        one = weighed[table]
        means = {ranker: one.means.interval(ranker, primary)["mean"] for ranker in one.means.mean}
        scenes.append((one.scene, one.comparisons, means))
        said.append(verdict(one.comparisons, one.scene, means=means, arms=arms, untuned=untuned, metric=primary))
    return " ".join([headline(scenes, arms=arms, untuned=untuned), *said]).strip()


def _metrics(members: list[Member], names: Names, weighed: dict[str, Weighed]) -> dict[str, Any]:
    """The tables of metrics.json; what each run measured of its rankers' lists is kept."""
    tables: dict[str, Any] = {table: dict(one.metrics) for table, one in weighed.items()}
    for member in members:
        own = read_json(member.folder / "evaluate" / "metrics.json").get("tables", {})
        for table, facts in tables.items():
            for ranker, values in (own.get(table, {}).get("lists") or {}).items():
                if ranker in names[member.name]:
                    facts.setdefault("lists", {}).setdefault(names[member.name][ranker], values)
    return tables


def _cost(members: list[Member], names: Names) -> dict[str, Any]:
    """Every run's stages under its name, and what each ranker cost, with the memory of its own stage."""
    stages: list[dict[str, Any]] = []
    rankers: dict[str, Any] = {}
    for member in members:
        found = cost(member.folder)
        peaks = {str(stage.get("stage")): stage.get("peak_rss_gb") for stage in found["stages"]}
        stages += [{**stage, "stage": f"{member.name}: {stage.get('stage', '')}"} for stage in found["stages"]]
        for folder, facts in found["rankers"].items():
            own, _ = seed_of(folder, names[member.name])
            if own in names[member.name]:
                name = names[member.name][own] + folder.removeprefix(own)
                rankers.setdefault(name, {**facts, "peak_rss_gb": peaks.get(f"rankings/{folder}")})
    return {"stages": stages, "rankers": rankers}


def _fingerprint(run: Path) -> str:
    """What the evaluation of a run depended on, and so all of the run, as the run's own page prints it."""
    return str(read_json(run / "evaluate" / "stage.json").get("fingerprint", "no fingerprint"))[:16]


def _findings(member: Member) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_json(member.folder / "evaluate" / "audit.json").get("findings", [])
    return [{**finding, "where": f"{member.name}: {finding.get('where', '')}"} for finding in found]


def _agreed(sections: dict[str, dict[str, Any]]) -> str:
    """The metric that decides in every run; where runs disagree, nobody but the user can choose."""
    wanted = {name: str(section.get("primary", PRIMARY)) for name, section in sections.items()}
    if len(set(wanted.values())) > 1:
        said = ", ".join(f"`{name}` by {metric}" for name, metric in wanted.items())
        raise RankingFault(f"compare: the runs decide by different metrics: {said}. Choose one with --primary.")
    return next(iter(wanted.values()))


def _arms(member: Member) -> list[tuple[str, Any]]:
    return list((read_yaml(member.folder / "recipe.yaml").get("arms") or {"orpo": {}}).items())
