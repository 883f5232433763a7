"""The model card of a published adapter: how it was made, how it fares, and what it cannot show."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from llmrec import resources
from llmrec.errors import UserError
from llmrec.report.evidence import Evidence
from llmrec.report.limits import limits
from llmrec.report.report import code_markdown, escape_markdown, sentences
from llmrec.report.results import results

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def base_of(evidence: Evidence, arm: str) -> str | None:
    """The base model of an arm: its hub id, or, for a folder or file of this machine, only its last name.

    None where the recipe pre-trained the base itself.
    """
    arms = evidence.recipe.get("arms") or {}
    own = arms.get(evidence.arm(arm)) or {}
    model = {**(evidence.recipe.get("model") or {}), **(own.get("model") or {})}
    name = model.get("name")
    if not name:
        return None
    return str(name) if _on_hub(str(name)) else Path(str(name)).name


def model_card(evidence: Evidence, arm: str, to: str, *, dataset: str | None) -> str:
    """README.md of the repository `to`: the front matter that the hub reads, then the same for people."""
    base = base_of(evidence, arm)
    data = evidence.recipe.get("data") or {}
    manifest = _manifest(data.get("dataset"))
    front: dict[str, Any] = {
        "library_name": "peft",
        **({"base_model": base} if base and "/" in base else {}),
        "license": "other",
        "license_name": "see-the-base-model-and-the-data",
        "pipeline_tag": "text-generation",
        "tags": ["recommendation", "preference-tuning", "orpo", "lora", "llmrec"],
        **({"datasets": [dataset]} if dataset else {}),
        "model-index": [{"name": to.split("/")[1], "results": _index(evidence, arm)}],
    }
    environment = jinja2.Environment(
        finalize=escape_markdown, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"raw": Markup, "code": code_markdown}
    page = environment.from_string(files("llmrec.report").joinpath("card.md.jinja").read_text(encoding="utf-8"))
    body = page.render(
        arm=arm,
        base=base,
        data=manifest.get("title") or data.get("dataset") or "a file of the owner's",
        dataset=dataset,
        licence=manifest.get("licence"),
        limits=limits(evidence),
        results=results(evidence),
        to=to,
        verdict=sentences(evidence),
        citation=manifest.get("citation"),
    )
    body = re.sub(r"\n{3,}", "\n\n", body)
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n{body}\n"


def _index(evidence: Evidence, arm: str) -> list[dict[str, Any]]:
    """The older form of results, in the card's front matter: one entry a candidate set."""
    name = (evidence.recipe.get("data") or {}).get("dataset") or evidence.recipe.get("name") or "interactions"
    return [
        {
            "task": {"type": "text-ranking", "name": "next-item recommendation"},
            "dataset": {"name": f"{name}, {table}", "type": str(name)},
            "metrics": [{"type": m, "value": round(v["mean"], 4)} for m, v in found.items()],
        }
        for table, found in _measured(evidence, arm).items()
    ]


def eval_results(evidence: Evidence, arm: str, dataset: str) -> list[dict[str, Any]]:
    """The newer form of results, `.eval_results/*.yaml`: one entry a candidate set, the metric that decides."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries = []
    for table, found in _measured(evidence, arm).items():
        value = found[evidence.primary]
        notes = f"95 % interval {value['low']:.4f} to {value['high']:.4f}, by user"
        task = f"{table}-{evidence.primary}"
        entries.append(EvalResultEntry(dataset_id=dataset, task_id=task, value=round(value["mean"], 4), notes=notes))
    return eval_result_entries_to_yaml(entries)


def _measured(evidence: Evidence, arm: str) -> dict[str, dict[str, Any]]:
    """Candidate set -> what the arm reached; an arm with several seeds stands under its own name."""
    names = (arm, evidence.arm(arm))
    tables = {table: facts["rankers"] for table, facts in evidence.tables.items()}
    return {table: next(r[n] for n in names if n in r) for table, r in tables.items() if any(n in r for n in names)}


def _manifest(dataset: str | None) -> dict[str, Any]:
    """What the dataset's manifest says; nothing for data of one's own."""
    if not dataset:
        return {}
    try:
        content = yaml.safe_load(resources.find("data", dataset).read_text(encoding="utf-8"))
    except (UserError, OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _on_hub(name: str) -> bool:
    return HUB_ID.fullmatch(name) is not None and not Path(name).exists()
