"""What a run folder says, read once: everything that the report shows comes from here.

Parts that a run does not have (no pre-training, no fused ranker) are empty, never an error. A file that is there and
cannot be read is a RunFault, with one exception: a log's last line may be half-written, since a run can be stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
import yaml

from llmrec.errors import RunFault
from llmrec.evaluate.cost import cost
from llmrec.evaluate.sentences import FLOORS

Json = dict[str, Any]
Rows = list[Json]
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
    """The audit's, the gravest first; each has level, what, where."""
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
    def arms(self) -> list[str]:
        """The recipe's language arms, in its order."""
        return list(self.recipe.get("arms") or {"orpo": {}})

    @property
    def untuned(self) -> list[str]:
        """Arms that are ranked as they are."""
        arms = self.recipe.get("arms") or {}
        return [name for name, arm in arms.items() if isinstance(arm, dict) and arm.get("objective", {}) is None]

    def kind(self, ranker: str) -> Kind:
        """What sort of ranker a name stands for."""
        if ranker in FLOORS:
            return "floor"
        if ranker == "retriever":
            return "retriever"
        if ranker == "fused" or ranker.startswith("fused-"):
            return "fused"
        stem, _, seed = ranker.rpartition("-s")
        return "language" if ranker in self.arms or (stem in self.arms and seed.isdecimal()) else "other"

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
        tuned = [r for r in ours if self._arm(r) not in self.untuned]
        last = (tuned or ours)[-1:]
        # Of several seeds the first: they are in order, so the first that belongs to the last one's arm.
        return next((r for r in ours if last and self._arm(r) == self._arm(last[0])), None)

    def _arm(self, ranker: str) -> str:
        return ranker if ranker in self.arms else ranker.rpartition("-s")[0]

    def _place(self, ranker: str) -> tuple[int, int]:
        seed = ranker.rpartition("-s")[2]
        return self.arms.index(self._arm(ranker)), int(seed) if seed.isdecimal() else 0


def read_evidence(run: Path) -> Evidence:
    """Reads a run folder. Raises RunFault where there is nothing to report on, or a file cannot be read."""
    if not (run / "evaluate" / "metrics.json").is_file():
        raise RunFault(
            f"{run}: evaluate/metrics.json is not there, so there is nothing to report. Run `evaluate` first."
        )
    stages = cost(run)
    if not stages["stages"]:
        stages = _json(run / "evaluate" / "cost.json") or stages
    stages = {**stages, "stages": in_order(stages["stages"])}
    return Evidence(
        run=run,
        recipe=_yaml(run / "recipe.yaml"),
        manifest=_json(run / "manifest.json"),
        data=_json(run / "prepare" / "summary.json"),
        items=_height(run / "prepare" / "catalogue.parquet"),
        metrics=_json(run / "evaluate" / "metrics.json"),
        comparisons=_json(run / "evaluate" / "comparisons.json"),
        findings=_json(run / "evaluate" / "audit.json").get("findings", []),
        cost=stages,
        fingerprints=_fingerprints(run),
        pretraining={p.parent.name: _log(p) for p in sorted(run.glob("pretrain*/log.jsonl"))},
        tuning={p.parent.name: _log(p) for p in sorted(run.glob("train/*/train_log.jsonl"))},
        fitting={p.parent.name: _log(p) for p in sorted(run.glob("retrieve/*/log.jsonl"), reverse=True)},
    )


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
    records = in_order([_json(path) for path in sorted(run.rglob("stage.json"))])
    return {str(r["stage"]): str(r["fingerprint"]) for r in records if "stage" in r and "fingerprint" in r}


def _json(path: Path) -> Json:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as fault:
        raise RunFault(f"{path}: cannot be read ({fault}). Run its stage again.") from None
    return _mapping(content, path)


def _yaml(path: Path) -> Json:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, ValueError, OSError) as fault:
        raise RunFault(f"{path}: cannot be read ({' '.join(str(fault).split())}). Run `llmrec run` again.") from None
    return _mapping(content, path)


def _height(path: Path) -> int | None:
    return int(pl.scan_parquet(path).select(pl.len()).collect().item()) if path.is_file() else None


def _mapping(content: Any, path: Path) -> Json:
    if not isinstance(content, dict):
        raise RunFault(f"{path}: holds {type(content).__name__}, and a mapping was expected. Run its stage again.")
    return content


def _log(path: Path) -> Rows:
    if not path.is_file():
        return []
    rows: Rows = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise RunFault(f"{path}:{number}: is not JSON. Remove the line, or run the stage again.") from None
        if isinstance(row, dict):
            rows.append(row)
    return rows
