"""The scales: rankings in, five files out, one verdict."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from llmrec import metrics
from llmrec.columns import ITEM, ITEMS, RANK, USER
from llmrec.errors import Disqualified
from llmrec.evaluate.audit import audit
from llmrec.evaluate.checks import Kind, check_candidates, check_rankings
from llmrec.evaluate.comparison import Comparison, compare
from llmrec.evaluate.finding import Finding
from llmrec.evaluate.per_query import Values, per_query
from llmrec.evaluate.resampling import Means, resample
from llmrec.evaluate.sentences import FLOORS, Scene, sentence, verdict
from llmrec.evaluate.slices import sliced
from llmrec.ranking import write_parquet

if TYPE_CHECKING:
    from llmrec.data.larder import Larder
    from llmrec.recipe.sections import Evaluate

Rankings = Mapping[str, dict[str, list[pl.DataFrame]]]
"""table -> ranker -> one ranking for each training seed."""
ORDER = ("catalogue", "uniform")  # the verdict speaks of these, the headline first


@dataclass(frozen=True)
class Verdict:
    """What came of an evaluation; the same is in the files."""

    text: str
    """One sentence for the full catalogue, one for the uniform candidates."""
    sentences: dict[str, str]
    """table -> its sentence."""
    metrics: dict[str, Any]
    comparisons: dict[str, list[Comparison]]
    findings: list[Finding]

    @property
    def disqualified(self) -> bool:
        return any(finding.level == "disqualifies" for finding in self.findings)


def evaluate(
    larder: Larder,
    rankings: Rankings,
    candidates: Mapping[str, pl.DataFrame | None],
    section: Evaluate,
    *,
    seed: int,
    out: Path,
    arms: Sequence[str],
    method: str,
    untuned: Sequence[str] = (),
    fold: str = "test",
) -> Verdict:
    """Measures every ranker of every table on the queries of one fold, and says who is better and how sure that is.

    `rankings` is table -> ranker -> one ranking a training seed, floors first, tuned arms after untuned ones;
    `candidates` is table -> its candidates, None for the full catalogue. `arms` are the language arms in the recipe's
    order, `untuned` those that are ranked as they are, `method` is the split's.

    Writes per_query.parquet, metrics.json, comparisons.json and audit.json into `out`. Raises RankingFault where
    rankings cannot be compared (nothing is written then) and Disqualified, after everything was written, where they
    should not be.
    """
    queries = larder.fold(fold)
    tables: dict[str, Kind] = {}
    for name, rankers in rankings.items():
        offered = candidates.get(name)
        tables[name] = "catalogue" if offered is None else check_candidates(offered, queries, where=name)
        check_rankings(rankers, queries, offered, where=name)

    rows = [per_query(name, rankers, queries, section.at) for name, rankers in rankings.items()]
    measured: dict[str, Any] = {"primary": section.primary, "tables": {}, "slices": {}}
    comparisons: dict[str, list[Comparison]] = {}
    sentences: dict[str, str] = {}
    trained = {ranker for rankers in rankings.values() for ranker in rankers} - set(FLOORS)
    said: dict[str, list[dict[str, Any]]] = {}
    for (name, rankers), table in zip(rankings.items(), rows, strict=True):
        values = Values.of(table)
        means = resample(values, section.bootstrap, seed=seed)
        scene = _scene(name, tables[name], candidates.get(name), queries)
        measured["tables"][name] = _table(means, scene, section.at, rankers, larder.n_items)
        measured["slices"][name] = sliced(values, larder, queries, section.primary, count=section.bootstrap, seed=seed)
        comparisons[name] = compare(values, means, section.primary, seed=seed)
        said[name] = [{**asdict(c), "sentence": sentence(c, scene, trained)} for c in comparisons[name]]
        primary = {ranker: means.interval(ranker, section.primary)["mean"] for ranker in rankers}
        sentences[name] = verdict(
            comparisons[name], scene, means=primary, arms=arms, untuned=untuned, metric=section.primary
        )
    text = " ".join(sentences[name] for name in ORDER if name in sentences) or " ".join(sentences.values())
    findings = audit(larder, queries, rankings, candidates, method=method, depth=max(section.at), seed=seed)

    write_parquet(pl.concat(rows), out / "per_query.parquet")
    write_json(measured, out / "metrics.json")
    write_json({"tables": said, "verdict": text}, out / "comparisons.json")
    write_json({"findings": [asdict(finding) for finding in findings]}, out / "audit.json")
    result = Verdict(text, sentences, measured, comparisons, findings)
    if result.disqualified:
        raise Disqualified([f"{f.where}: {f.what}" for f in findings if f.level == "disqualifies"])
    return result


def write_json(content: Any, path: Path) -> Path:
    """Writes under a temporary name, then renames; nan and infinity are bugs of ours and refused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def _scene(name: str, kind: Kind, candidates: pl.DataFrame | None, queries: pl.DataFrame) -> Scene:
    sizes = candidates[ITEMS].list.len() if candidates is not None else None
    largest = int(sizes.max()) if sizes is not None and len(sizes) else None  # type: ignore[arg-type]
    return Scene(name, largest, kind == "injected", queries[USER].n_unique(), queries.height)


def _table(
    means: Means, scene: Scene, at: list[int], rankers: dict[str, list[pl.DataFrame]], n_items: int
) -> dict[str, Any]:
    """One table of metrics.json: means with intervals; chance among candidates, coverage of the catalogue."""
    table: dict[str, Any] = {"candidates": scene.candidates, "queries": scene.queries, "users": scene.users}
    if scene.candidates is not None and scene.injected:
        table["chance"] = {name: metrics.at_chance(name, scene.candidates) for name in means.metrics}
    table["rankers"] = {ranker: {name: means.interval(ranker, name) for name in means.metrics} for ranker in means.mean}
    table["seeds"] = {ranker: len(seeds) for ranker, seeds in rankers.items()}
    if scene.candidates is None:
        table["coverage"] = {ranker: coverage(seeds, at, n_items) for ranker, seeds in rankers.items()}
    return table


def coverage(seeds: list[pl.DataFrame], at: list[int], n_items: int) -> dict[str, float]:
    """The share of the catalogue that stands among anyone's first k, averaged over training seeds.

    It is a fact about all users at once, not a mean over queries, so it has no interval.
    """
    return {
        f"coverage@{k}": sum(ranking.filter(pl.col(RANK) <= k)[ITEM].n_unique() / n_items for ranking in seeds)
        / len(seeds)
        for k in sorted(set(at))
    }
