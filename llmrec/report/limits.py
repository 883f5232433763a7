"""What a run cannot show, said beside what it does show."""

from __future__ import annotations

from llmrec.recipe.presets import PRESETS
from llmrec.report.evidence import Evidence


def limits(evidence: Evidence) -> list[str]:
    """One sentence a limit, from how the run was made."""
    recipe = evidence.recipe
    model = recipe.get("model") or {}
    said = []
    preset = PRESETS.get(str(recipe.get("protocol")))
    if preset is not None:
        said.append(f"Asked as `{recipe['protocol']}` asks: {preset.about}. That hides {preset.hides}.")
    # The audit says so too where it ran on the split.
    if (recipe.get("split") or {}).get("method") == "last" and all(
        not str(f.get("where")).endswith("split") for f in evidence.findings
    ):
        said.append(
            "Each user's last interaction is the test, so models were fitted on what other users did later than some "
            "targets. `split.method: time` closes that leak; numbers are usually lower there."
        )
    if model.get("build"):
        said.append(
            "The language model is a small one that the recipe pre-trained on these histories alone: a stand-in, which "
            "says nothing of what a large pre-trained model would reach."
        )
    elif model.get("name"):
        said.append(
            "The language model may have read this dataset, or about it, in its own pre-training; nothing here can "
            "rule that out."
        )
    if recipe.get("seeds", 1) == 1 and evidence.tuning:
        said.append("Each arm was trained once: intervals speak of other users, not of other training seeds.")
    if any(facts.get("candidates") is not None for facts in evidence.tables.values()):
        said.append(
            "Rankings of a few drawn candidates need not agree with rankings of the whole catalogue (Krichene and "
            "Rendle, KDD 2020)."
        )
    said.append("A target is what a user did next, not everything they would have liked: a miss may be a good idea.")
    return said
