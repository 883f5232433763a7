"""Protocols by name: how published numbers were asked for, as fields of `split`, `candidates` and `evaluate`.

A preset is nothing but fields, folded under the recipe's own. What makes a protocol what it is (`fixed`) cannot be said
otherwise beside its name: numbers under a name that hides another question are how tables stopped being comparable.
What only is usual there (`usual`) a recipe may override. docs/protocols.md says who publishes under which.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from llmrec.recipe.words import found

Protocol = Literal["time", "sasrec-loo", "recbole-loo", "llamarec-composed", "sdpo-hr1-all"]
Fields = dict[str, dict[str, Any]]  # section -> field -> value


@dataclass(frozen=True)
class Preset:
    """One protocol."""

    about: str
    """What is asked, in one sentence."""
    hides: str
    """What its numbers do not show, in one sentence."""
    fixed: Fields
    usual: Fields = field(default_factory=dict)


PRESETS: dict[str, Preset] = {
    "time": Preset(
        "after one moment, which models have not seen past, each user's last item among all that they have not seen",
        "people who did nothing after the moment, and how models age: one moment is one moment",
        {"split": {"method": "time"}, "evaluate": {"seen": "masked"}},
    ),
    "sasrec-loo": Preset(
        "each user's last item, among all that they have not seen",
        "that models were fitted on what others did later, and whether a ranker would list again what was seen",
        {"split": {"method": "last"}, "evaluate": {"seen": "masked"}},
    ),
    "recbole-loo": Preset(
        "each user's last item, among all items, those seen before too",
        "that models were fitted on what others did later, and how much of a number is seen items in the target's way",
        {"split": {"method": "last"}, "evaluate": {"seen": "ranked"}},
    ),
    "llamarec-composed": Preset(
        "each user's last item, among the retriever's first 20, which are reranked; a target not among them is a miss",
        "that models were fitted on what others did later, and which of the two stages earned a number",
        {"split": {"method": "last"}, "candidates": {"two_stage": 20}, "evaluate": {"seen": "masked"}},
    ),
    "sdpo-hr1-all": Preset(
        "who is first of 20, the target and 19 drawn uniformly from what the user never touched, over all queries",
        "how rankers do among likely items: most of 19 drawn uniformly are easy, and popularity alone looks strong",
        {"candidates": {"count": 20, "negatives": "uniform"}, "evaluate": {"primary": "hit@1"}},
        {"evaluate": {"at": [1]}},
    ),
}


def folded(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe's plain values with those of its protocol, if it names one, where its sections say nothing."""
    preset = _named(values)
    if preset is None:
        return values
    under: Fields = {}
    for fields in (preset.usual, preset.fixed):
        for section, own in fields.items():
            under[section] = {**under.get(section, {}), **own}
    sections = {section: values.get(section, {}) for section in under}
    kept = {section: {**under[section], **own} for section, own in sections.items() if isinstance(own, dict)}
    return {**values, **kept}


def contradictions(values: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What a recipe's plain values say against the protocol that they name: (key path, words)."""
    preset, name = _named(values), values.get("protocol")
    if preset is None:
        return
    for section, fields in preset.fixed.items():
        own = values.get(section)
        for key, value in fields.items():
            # As text: the loader looks at values as they were written, and "20" is read as 20.
            if isinstance(own, dict) and key in own and str(own[key]) != str(value):
                yield (
                    (section, key),
                    f"{found(own[key])}; {name} is {value} here, so leave this out, or leave out `protocol`",
                )
    asked = values.get("evaluate")
    rankers = asked.get("rankers") if isinstance(asked, dict) else None
    if "two_stage" in preset.fixed.get("candidates", {}) and isinstance(rankers, list) and "retriever" not in rankers:
        yield ("evaluate", "rankers"), f"{name} reranks what the retriever lists; add retriever"


def _named(values: dict[str, Any]) -> Preset | None:
    name = values.get("protocol")
    return PRESETS.get(name) if isinstance(name, str) else None
