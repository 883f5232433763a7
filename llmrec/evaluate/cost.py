"""What it took: seconds and memory of every stage, speed of every ranker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmrec.evaluate.reading import read_json

STAGE = "stage.json"


def cost(run: Path) -> dict[str, Any]:
    """{"stages": [{"stage", "seconds", "peak_rss_gb", ...}], "rankers": {name: summary}} of a run folder.

    Reads the stage.json of every stage, in the order in which they started, and rankings/*/summary.json. Stages that
    have not run are absent, not an error. Raises RunFault for a file that holds no mapping as JSON.
    """
    stages = [read_json(path) for path in sorted(run.rglob(STAGE))]
    stages.sort(key=lambda stage: str(stage.get("started", "")))
    rankers = {path.parent.name: read_json(path) for path in sorted(run.glob("rankings/*/summary.json"))}
    kept = ("stage", "seconds", "peak_rss_gb", "started", "device")
    return {"stages": [{k: stage[k] for k in kept if k in stage} for stage in stages], "rankers": rankers}
