"""Where a run's pairs come from, for those who only have the pairs: hashes, versions, and what was left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SOURCES = {"prepare": ("histories.parquet", "catalogue.parquet", "queries.parquet"), "retrieve": ("mined.parquet",)}


def provenance(run: Path) -> str:
    """Sections of a dataset card: how to build the pairs again and from what, rows left out, and what the audit says.

    Reads stage.json of prepare, retrieve and pairs, prepare/summary.json, manifest.json and evaluate/audit.json; what
    is not there is said not to be there.
    """
    manifest, summary = _json(run / "manifest.json"), _json(run / "prepare" / "summary.json")
    audit, made = _json(run / "evaluate" / "audit.json"), sorted((run / "pairs").rglob("stage.json"))
    facts = [
        ("llmrec", str(manifest.get("llmrec", "unknown"))),
        ("commit", str(manifest.get("commit") or "unknown")),
        *((f"fingerprint of {path.parent.relative_to(run)}", str(_json(path).get("fingerprint"))) for path in made),
    ]
    for stage, files in SOURCES.items():
        found = _json(run / stage / "stage.json").get("outputs", {})
        facts += [(f"sha256 of {stage}/{name}", str(found[name])) for name in files if name in found]
    rebuild = [
        "The recipe is in `recipe.yaml`, every default filled in; on the same data it gives the same bytes, on any",
        "number of processes:",
        "",
        "```",
        _command(run),
        "```",
    ]
    return "\n".join(
        [
            "## How to build it again",
            "",
            *rebuild,
            "",
            *_table(("what", "which"), facts),
            "",
            "## Rows left out",
            "",
            *_left_out(summary.get("dropped")),
            "",
            "## Audit",
            "",
            *_audited(audit.get("findings")),
            "",
        ]
    )


def _command(run: Path) -> str:
    """What makes the pairs again, and no more than that."""
    if (run / "rounds").is_dir():  # later pairs may come from what earlier ones taught
        return "llmrec run recipe.yaml"
    verbs = ("prepare", "retrieve", *(["pretrain"] if (run / "pretrain").is_dir() else []), "pairs")
    return " && ".join(f"llmrec {verb} recipe.yaml" for verb in verbs)


def _left_out(dropped: Mapping[str, int] | None) -> list[str]:
    if dropped is None:
        return ["The run does not say."]
    if not dropped:
        return ["None: every row of the data was used."]
    rows = [(reason, f"{count:,}") for reason, count in dropped.items()]
    return ["Rows of the data that histories were made without:", "", *_table(("reason", "rows"), rows)]


def _audited(findings: list[dict[str, Any]] | None) -> list[str]:
    if findings is None:
        return ["The run was not evaluated, so nothing was audited: `llmrec audit RUN`."]
    if not findings:
        return ["The audit found nothing to object to."]
    return [f"* {one.get('level')}: {one.get('where')}: {one.get('what')}" for one in findings]


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    cells = [heads, ("---",) * len(heads), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
