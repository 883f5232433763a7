"""The comparison in plain words. "Beats" is never written where the interval includes 0."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from llmrec.evaluate.comparison import Comparison, find

FLOORS = ("popularity", "recent", "transitions")
RETRIEVER = "retriever"
TITLES = {"hit": "HR", "ndcg": "NDCG", "mrr": "MRR", "recall": "Recall", "precision": "Precision", "map": "MAP"}


@dataclass(frozen=True)
class Scene:
    """The table that sentences speak of."""

    name: str
    candidates: int | None
    """Candidates a query; None for the full catalogue."""
    injected: bool
    """Whether the target is always among the candidates."""
    users: int
    queries: int

    @property
    def words(self) -> str:
        """The table and who was asked: `the full catalogue (943 users)`."""
        if self.candidates is None:
            place = "the full catalogue"
        else:
            place = f"{self.candidates} {self.name.replace('_', '-')} candidates"
            place += "" if self.injected else ", missed targets counted"
        asked = (
            f"{self.users:,} users"
            if self.users == self.queries
            else f"{self.queries:,} queries of {self.users:,} users"
        )
        return f"{place} ({asked})"


def title(metric: str) -> str:
    """A metric as the field writes it.

    >>> title("ndcg@10"), title("hit@1")
    ('NDCG@10', 'HR@1')
    """
    name, _, depth = metric.partition("@")
    return f"{TITLES.get(name, name)}@{depth}"


def sentence(comparison: Comparison, scene: Scene, trained: Collection[str] = ()) -> str:
    """One comparison, the better ranker first."""
    best = comparison if comparison.difference >= 0 else comparison.turned()
    return (
        f"On {scene.words}, {best.a} ({title(best.metric)} {best.mean_a:.3f}) {relation(best)}"
        f"{_provided([best.a, best.b], {best.a: best.seeds_a, best.b: best.seeds_b}, trained)}."
    )


def relation(c: Comparison, *, of: str = "") -> str:
    """What a is to b, with the difference and its interval: "beats popularity (0.463) by 0.149 [0.131, 0.167]".

    `of` stands behind b's name: ", the best floor".
    """
    b = f"{c.b}{of} ({c.mean_b:.3f})"
    if c.outcome == "beats":
        return f"beats {b} by {_span(c)}"
    if c.outcome == "ahead":
        return f"is ahead of {b} by {_span(c)}, though not after correction for {c.pairs} comparisons"
    if c.outcome == "loses":
        return f"is below {b} by {_span(c.turned())}"
    if c.outcome == "behind":
        return f"is behind {b} by {_span(c.turned())}, though not after correction for {c.pairs} comparisons"
    return f"cannot be told from {b}: {_signed(c.difference)} [{_signed(c.low)}, {_signed(c.high)}]"


def verdict(
    comparisons: Sequence[Comparison],
    scene: Scene,
    *,
    means: Mapping[str, float],
    arms: Sequence[str],
    untuned: Sequence[str] = (),
    metric: str,
) -> str:
    """One sentence for one table: the language arm (the last of `arms`), retriever, best floor, and what tuning gave.

    A language model or retriever that does not clear the best floor is said not to. `untuned` names arms that were
    not fine-tuned; without it the first arm is "before" and the last "after".
    """
    tuned = [arm for arm in arms if arm in means and arm not in untuned] or [arm for arm in arms if arm in means]
    language = tuned[-1] if tuned else None
    retriever = RETRIEVER if RETRIEVER in means else None
    floor = max((f for f in FLOORS if f in means), key=lambda f: means[f], default=None)
    first, *rest = sorted(means, key=lambda name: -means[name])
    subject = language or retriever or first
    made = list(comparisons)
    clauses = []

    against = []
    if language and retriever and (c := find(made, language, retriever)):
        against.append(relation(c))
    if floor and floor != subject and (c := find(made, subject, floor)):
        against.append(_against_floor(c))
    if not against and rest and (c := find(made, subject, rest[0] if subject == first else first)):
        against.append(relation(c))
    clauses.append(f"{subject} ({title(metric)} {means[subject]:.3f}) {' and '.join(against) or 'stands alone'}")
    if language and retriever and floor and (c := find(made, retriever, floor)):
        clauses.append(f"{retriever} {_against_floor(c, again=True)}")
    before = _before(arms, untuned, language, means)
    if language and before and (c := find(made, language, before)):
        clauses.append(f"what tuning gave: {language} {relation(c)}")
    if first not in {subject, retriever, floor}:
        clauses.append(f"the highest mean is {first}'s ({means[first]:.3f})")
    seeds = {c.a: c.seeds_a for c in made} | {c.b: c.seeds_b for c in made}
    trained = [name for name in (language, retriever) if name]
    return f"On {scene.words}, {'; '.join(clauses)}{_provided(trained, seeds, trained)}."


OUTCOMES = {
    "beats": "beats",
    "ahead": "is ahead, though not after correction, of",
    "level": "cannot be told from",
    "behind": "is behind, though not after correction,",
    "loses": "is below",
}


def headline(
    tables: Sequence[tuple[Scene, Sequence[Comparison], Mapping[str, float]]],
    *,
    arms: Sequence[str],
    untuned: Sequence[str] = (),
) -> str:
    """The verdict in one plain sentence: the language arm against the retriever, the best floor and itself before.

    Empty where no language arm was ranked, or nothing beside it. Each table is (scene, comparisons, means).
    """
    said: list[str] = []
    seeds: dict[str, int] = {}
    trained: dict[str, None] = {}
    for scene, comparisons, means in tables:
        tuned = [arm for arm in arms if arm in means and arm not in untuned] or [arm for arm in arms if arm in means]
        if not tuned:
            continue
        language = tuned[-1]
        floor = max((f for f in FLOORS if f in means), key=lambda f: means[f], default=None)
        before = _before(arms, untuned, language, means)
        others = {
            RETRIEVER: "the retriever",
            floor: f"{floor} (the best floor)",
            before: f"itself before tuning ({before})",
        }
        words = [
            f"{OUTCOMES[c.outcome]} {name}"
            for other, name in others.items()
            if other in means and (c := find(list(comparisons), language, str(other)))
        ]
        if words:
            place = "the full catalogue" if scene.candidates is None else f"{scene.candidates} {scene.name} candidates"
            subject = f"the language model ({language})" if not said else "it"
            listed = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
            said.append(f"on {place} {subject} {listed}")
            seeds |= {c.a: c.seeds_a for c in comparisons} | {c.b: c.seeds_b for c in comparisons}
            trained |= {name: None for name in (language, RETRIEVER) if name in seeds}
    return f"In short: {'; '.join(said)}{_provided(list(trained), seeds, trained)}." if said else ""


def _before(
    arms: Sequence[str], untuned: Sequence[str], language: str | None, means: Mapping[str, float]
) -> str | None:
    """The arm that tuning is compared with."""
    named = [arm for arm in (untuned or arms[:1]) if arm in means and arm != language]
    return named[0] if named else None


def _against_floor(c: Comparison, *, again: bool = False) -> str:
    """The relation to the best floor; at or below it, that is what the sentence says."""
    words = relation(c, of="" if again else ", the best floor")
    if c.outcome == "level" and c.difference < 0:
        return words.replace("cannot be told from", "does not clear", 1)
    return words


def _signed(number: float) -> str:
    words = f"{number:+.3f}"
    return words if float(words) else "0.000"


def _span(c: Comparison) -> str:
    return f"{c.difference:.3f} [{c.low:.3f}, {c.high:.3f}]"


def _provided(named: Sequence[str], seeds: Mapping[str, int], trained: Collection[str]) -> str:
    """What the interval does not cover: another training run."""
    once = [name for name in named if name in trained and seeds.get(name, 1) == 1]
    if not once:
        return ""
    return ", for this trained model" if len(once) == 1 else ", for these trained models"
