"""The scales: rankings in, four files out, one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from llmrec.columns import QUERY
from llmrec.errors import Disqualified
from llmrec.evaluate.audit import audit
from llmrec.evaluate.case import Mined
from llmrec.evaluate.checks import Kind, check_asked, check_candidates, check_rankings
from llmrec.evaluate.comparison import Comparison
from llmrec.evaluate.finding import Finding
from llmrec.evaluate.qualities import qualities
from llmrec.evaluate.sentences import FLOORS, headline, verdict
from llmrec.evaluate.slices import sliced
from llmrec.evaluate.weigh import weigh
from llmrec.files import write_json
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
    """One plain sentence, then one with numbers for the full catalogue and one for the uniform candidates."""
    sentences: dict[str, str]
    """table -> its sentence."""
    metrics: dict[str, Any]
    comparisons: dict[str, list[Comparison]]
    findings: list[Finding]

    @property
    def disqualified(self) -> bool:
        """Whether the audit refuses the comparison."""
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
    mined: Mined | None = None,
    fold: str = "test",
) -> Verdict:
    """Measures every ranker of every table on the queries of one fold, and says who is better and how sure that is.

    `rankings` is table -> ranker -> one ranking a training seed, floors first, tuned arms after untuned ones;
    `candidates` is table -> its candidates, None for the full catalogue; sets of other folds' queries are left aside.
    `arms` are the language arms in the recipe's order, `untuned` those that are ranked as they are, `method` is the
    split's; `mined` is what hard negatives were taken from, for the audit.

    Writes per_query.parquet, metrics.json, comparisons.json and audit.json into `out`. Raises RankingFault where
    rankings cannot be compared (nothing is written then) and Disqualified, after everything was written, where they
    should not be.
    """
    queries = larder.fold(fold)
    offered, kinds = checked(rankings, candidates, queries)
    trained = {ranker for rankers in rankings.values() for ranker in rankers} - set(FLOORS)
    measured: dict[str, Any] = {"primary": section.primary, "tables": {}, "slices": {}}
    comparisons: dict[str, list[Comparison]] = {}
    sentences: dict[str, str] = {}
    scenes = {}
    said: dict[str, list[dict[str, Any]]] = {}
    rows = []
    for name, rankers in rankings.items():
        weighed = weigh(
            name,
            rankers,
            queries,
            offered[name],
            kinds[name],
            at=section.at,
            primary=section.primary,
            bootstrap=section.bootstrap,
            seed=seed,
            trained=trained,
        )
        rows.append(weighed.rows)
        measured["tables"][name] = weighed.metrics
        if kinds[name] == "catalogue":
            measured["tables"][name]["lists"] = qualities(
                rankers, larder, queries, section.at, count=section.bootstrap, seed=seed
            )
        measured["slices"][name] = sliced(
            weighed.values, larder, queries, section.primary, count=section.bootstrap, seed=seed
        )
        comparisons[name], said[name] = weighed.comparisons, weighed.said
        means = {ranker: weighed.means.interval(ranker, section.primary)["mean"] for ranker in rankers}
        scenes[name] = (weighed.scene, weighed.comparisons, means)
        sentences[name] = verdict(
            weighed.comparisons, weighed.scene, means=means, arms=arms, untuned=untuned, metric=section.primary
        )
    spoken = [name for name in ORDER if name in sentences] or list(sentences)
    short = headline([scenes[name] for name in spoken], arms=arms, untuned=untuned)
    text = " ".join([short, *(sentences[name] for name in spoken)]).strip()
    findings = audit(
        larder,
        queries,
        rankings,
        offered,
        method=method,
        depth=max(section.at),
        seed=seed,
        primary=section.primary,
        mined=mined,
    )

    write_parquet(pl.concat(rows), out / "per_query.parquet")
    write_json(measured, out / "metrics.json")
    write_json({"tables": said, "verdict": text}, out / "comparisons.json")
    write_json({"findings": [asdict(finding) for finding in findings]}, out / "audit.json")
    result = Verdict(text, sentences, measured, comparisons, findings)
    if result.disqualified:
        raise Disqualified([f"{f.where}: {f.what}" for f in findings if f.level == "disqualifies"])
    return result


def checked(
    rankings: Rankings, candidates: Mapping[str, pl.DataFrame | None], queries: pl.DataFrame
) -> tuple[dict[str, pl.DataFrame | None], dict[str, Kind]]:
    """Each table's candidates, of these queries only, and its kind; RankingFault where rankings cannot be compared."""
    check_asked(queries, where="prepare/queries.parquet")
    offered: dict[str, pl.DataFrame | None] = {}
    kinds: dict[str, Kind] = {}
    for name, rankers in rankings.items():
        table = candidates.get(name)
        table = table.join(queries.select(QUERY), on=QUERY, how="semi") if table is not None else None
        offered[name] = table
        kinds[name] = "catalogue" if table is None else check_candidates(table, queries, where=name)
        check_rankings(rankers, queries, table, where=name)
    return offered, kinds
