"""What it took: seconds and memory of every stage, speed of every ranker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmrec.errors import RunFault

STAGE = "stage.json"


def cost(run: Path) -> dict[str, Any]:
    """{"stages": [{"stage", "seconds", "peak_rss_gb", ...}], "rankers": {name: summary}} of a run folder.

    Reads the stage.json of every stage, in the order in which they started, and rankings/*/summary.json. Stages that
    have not run are absent, not an error. Raises RunFault for a file that is not JSON.
    """
    stages = [_read(path) for path in sorted(run.rglob(STAGE))]
    stages.sort(key=lambda stage: str(stage.get("started", "")))
    rankers = {path.parent.name: _read(path) for path in sorted(run.glob("rankings/*/summary.json"))}
    kept = ("stage", "seconds", "peak_rss_gb", "started", "device")
    return {"stages": [{k: stage[k] for k in kept if k in stage} for stage in stages], "rankers": rankers}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as fault:
        raise RunFault(f"{path}: cannot be read ({fault}). Remove the file to run its stage again.") from None
    if not isinstance(content, dict):
        raise RunFault(
            f"{path}: holds {type(content).__name__}, not the summary of a stage. Remove it to run the stage again."
        )
    return content
