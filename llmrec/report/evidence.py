"""What a run folder says, read once: everything that the report shows comes from here.

Parts that a run does not have (no pre-training, no fused ranker) are empty, never an error. A file that is there and
cannot be read is a RunFault, with one exception: a log's last line may be half-written, since a run can be stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmrec.errors import RunFault
from llmrec.evaluate.cost import cost
from llmrec.evaluate.reading import Json, read_json, read_yaml
from llmrec.evaluate.sentences import FLOORS
from llmrec.ranking import arm_and_seed
from llmrec.report.reading import Rows, height, mapping, read_log

CONTROL = "shuffled_titles"
Kind = Literal["floor", "retriever", "language", "fused", "other"]
STAGES = ("prepare", "candidates", "retrieve", "pretrain", "pairs", "train", "rankings", "evaluate", "report")


@dataclass(frozen=True)
class Evidence:
    """A run, as its files tell it."""

    run: Path
    recipe: Json
    manifest: Json
    data: Json
    """prepare/summary.json: what was read, dropped and kept."""
    items: int | None
    """How many the catalogue has."""
    metrics: Json
    comparisons: Json
    findings: Rows
    """The audit's, the gravest first; each has level, what, where, and perhaps check, why and remedy."""
    audited: bool
    """Whether an audit looked."""
    cost: Json
    """{"stages": [...], "rankers": {name: summary}}"""
    fingerprints: dict[str, str]
    """Stage -> what its result depends on, as a hash."""
    pretraining: dict[str, Rows]
    """Each small model that the recipe built (mostly one, `pretrain`) -> its log."""
    tuning: dict[str, Rows]
    """Training run (arm, or arm and seed) -> its log."""
    fitting: dict[str, Rows]
    """`model` and, for the copy that mines negatives, `mining` -> the retriever's log."""

    @property
    def primary(self) -> str:
        """The metric that decides."""
        return str(self.metrics.get("primary", "ndcg@10"))

    @property
    def tables(self) -> dict[str, Json]:
        """Candidate set -> its metrics, the full catalogue first."""
        found: dict[str, Json] = self.metrics.get("tables", {})
        order = ("catalogue", "uniform")
        return {n: found[n] for n in sorted(found, key=lambda n: (order.index(n) if n in order else len(order), n))}

    @property
    def seen(self) -> str | None:
        """What a ranking of the catalogue does with what the user has touched: `masked` or `ranked` (the recipe's
        `evaluate.seen`); None where nobody knows."""
        said = mapping(self.recipe.get("evaluate")).get("seen", "masked" if self.recipe else None)
        return said if said in ("masked", "ranked") else None

    @property
    def arms(self) -> list[str]:
        """The recipe's language arms, in its order."""
        arms = self.recipe.get("arms")
        return list({"orpo": {}} if arms is None else arms)

    @property
    def untuned(self) -> list[str]:
        """Arms that are ranked as they are."""
        arms = self.recipe.get("arms") or {}
        return [name for name, arm in arms.items() if isinstance(arm, dict) and arm.get("objective", {}) is None]

    def kind(self, ranker: str) -> Kind:
        """What sort of ranker a name stands for; of several runs' rankers, `run/ranker` is what the ranker is."""
        if self.arm(ranker) in self.arms:
            return "language"
        own = ranker.rpartition("/")[2]
        if own in FLOORS:
            return "floor"
        if own == "retriever":
            return "retriever"
        return "fused" if own == "fused" or own.startswith("fused-") else "other"

    def look(self, ranker: str) -> str:
        """Whose colour and marker a ranker wears: its kind, and `untuned` for a language model as it was."""
        kind = self.kind(ranker)
        return "untuned" if kind == "language" and self.arm(ranker) in self.untuned else kind

    def arm(self, ranker: str) -> str:
        """The arm (or `fused`) that a ranker's folder is a seed of, else the folder's name itself."""
        return seed_of(ranker, self.arms)[0]

    @property
    def controls(self) -> list[str]:
        """Rankers that are there to be held against: the last language arm after titles were dealt anew."""
        found = {ranker: None for facts in self.tables.values() for ranker in facts.get("rankers", {})}
        return [ranker for ranker in found if ranker.rpartition("/")[2] == CONTROL]

    @property
    def folders(self) -> dict[str, list[str]]:
        """ranker -> its folders in rankings/ that say what they cost, seeds together, in the order of the tables."""
        order = [ranker for facts in self.tables.values() for ranker in facts["rankers"]]
        found: dict[str, list[str]] = {}
        for folder in sorted(self.cost.get("rankers", {})):
            found.setdefault(self.arm(folder), []).append(folder)
        return dict(sorted(found.items(), key=lambda kept: order.index(kept[0]) if kept[0] in order else len(order)))

    def summaries(self, ranker: str) -> Rows:
        """The summary.json of each of a ranker's folders."""
        return [self.cost["rankers"][folder] for folder in self.folders.get(ranker, [])]

    def best_floor(self, table: str) -> str | None:
        """The floor with the highest primary metric; what a contender has to beat."""
        rankers = self.tables[table].get("rankers", {})
        floors = [name for name in rankers if self.kind(name) == "floor"]
        return max(floors, key=lambda name: float(rankers[name][self.primary]["mean"]), default=None)

    def spokesman(self, rankers: Iterable[str]) -> str | None:
        """The language ranker that stands for its side where there is room for one: the last tuned arm, or the last.

        None where there is no language ranker.
        """
        ours = sorted((r for r in rankers if self.kind(r) == "language"), key=self._place)
        tuned = [r for r in ours if self.arm(r) not in self.untuned]
        last = (tuned or ours)[-1:]
        # Of several seeds the first: they are in order, so the first that belongs to the last one's arm.
        return next((r for r in ours if last and self.arm(r) == self.arm(last[0])), None)

    def chosen(self, table: str) -> list[str]:
        """Rankers that stand for all where there is no room: the best floor, the retriever, the language model before
        and after tuning, fused; of several runs, each run's retriever and fused."""
        rankers = list(self.tables[table]["rankers"])
        before = next((r for r in rankers if r in self.untuned), None)
        picks = [
            self.best_floor(table),
            *(r for r in rankers if self.kind(r) == "retriever"),
            before,
            self.spokesman(rankers),
            *(r for r in rankers if self.kind(r) == "fused"),
        ]
        return [r for i, r in enumerate(picks) if r is not None and r not in picks[:i]]

    def _place(self, ranker: str) -> tuple[int, int]:
        arm, seed = seed_of(ranker, self.arms)
        return self.arms.index(arm), seed or 0


def seed_of(folder: str, arms: Collection[str]) -> tuple[str, int | None]:
    """The ranker that a folder `<ranker>-s<seed>` belongs to, and the seed; whoever is no arm (or `fused`) has none.

    Of several runs a folder is `run/<ranker>-s<seed>`.

    >>> seed_of("orpo-s7", ["orpo"]), seed_of("one/fused-s8", []), seed_of("theirs-s7", ["orpo"])
    (('orpo', 7), ('one/fused', 8), ('theirs-s7', None))
    """
    stem, seed = arm_and_seed(folder)
    known = stem in arms or stem.rpartition("/")[2] == "fused"
    return (stem, seed) if known and folder not in arms else (folder, None)


def read_evidence(run: Path) -> Evidence:
    """Reads a run folder. Raises RunFault where there is nothing to report on, or a file cannot be read."""
    if not (run / "evaluate" / "metrics.json").is_file():
        raise RunFault(
            f"{run}: evaluate/metrics.json is not there, so there is nothing to report. Run `evaluate` first."
        )
    stages = cost(run)
    if not stages["stages"]:
        stages = read_json(run / "evaluate" / "cost.json") or stages
    stages = {**stages, "stages": in_order(stages["stages"])}
    metrics = read_json(run / "evaluate" / "metrics.json")
    return Evidence(
        run=run,
        recipe=read_yaml(run / "recipe.yaml"),
        manifest=read_json(run / "manifest.json"),
        data=read_json(run / "prepare" / "summary.json"),
        items=height(run / "prepare" / "catalogue.parquet"),
        metrics=metrics,
        comparisons=read_json(run / "evaluate" / "comparisons.json"),
        findings=read_json(run / "evaluate" / "audit.json").get("findings", []),
        audited=(run / "evaluate" / "audit.json").is_file(),
        cost=stages,
        fingerprints=_fingerprints(run),
        pretraining={p.parent.name: read_log(p) for p in sorted(run.glob("pretrain*/log.jsonl"))},
        tuning={p.parent.name: read_log(p) for p in sorted(run.glob("train/*/train_log.jsonl"))},
        fitting={p.parent.name: read_log(p) for p in sorted(run.glob("retrieve/*/log.jsonl"), reverse=True)},
    )


def judged(metrics: Json, comparisons: Json, *, run: Path = Path(), **known: Any) -> Evidence:
    """Evidence of rankings that no run folder holds: their metrics and comparisons, and what else is `known`."""
    nothing: Json = {
        "recipe": {"arms": {}, "evaluate": {"seen": None}},
        "manifest": {},
        "data": {},
        "items": None,
        "findings": [],
        "audited": False,
        "cost": {"stages": [], "rankers": {}},
        "fingerprints": {},
        "pretraining": {},
        "tuning": {},
        "fitting": {},
    }
    return Evidence(run=run, metrics=metrics, comparisons=comparisons, **(nothing | known))


def in_order(stages: Rows) -> Rows:
    """Stages as they were done: by their start, and, within one second, as the work goes."""

    def place(stage: Json) -> tuple[str, int, str]:
        name = str(stage.get("stage", ""))
        head = name.split("/")[0].split("-")[0]
        # Fused rankings read the others'.
        late = name.startswith("rankings/fused")
        return str(stage.get("started", "")), 2 * STAGES.index(head) + late if head in STAGES else 99, name

    return sorted(stages, key=place)


def _fingerprints(run: Path) -> dict[str, str]:
    records = in_order([read_json(path) for path in sorted(run.rglob("stage.json"))])
    return {str(r["stage"]): str(r["fingerprint"]) for r in records if "stage" in r and "fingerprint" in r}
