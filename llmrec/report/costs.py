"""What it took: the stages of a run, and what it costs to ask each ranker."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from llmrec.report.evidence import Evidence
from llmrec.report.tables import Cell, Row, Table, filled, number
from llmrec.report.words import count, millis, per_users, seconds, size

MANY = 20  # stages above which their kinds are summed first
BYTES = (" B", " kB", " MB", " GB")
SPEED, PER_1000, P50, P99, BEST, TOKENS = (
    "users/s",
    "seconds for 1,000 users",
    "p50",
    "p99",
    "best batch",
    "tokens a user",
)
MEMORY, BYTES_OF_MODEL, PARAMETERS = "peak memory", "model size", "parameters"
NOTES = {
    SPEED: "users answered a second when the run ranked its test queries, by language models with every table's "
    "candidates",
    PER_1000: "from a query to the first k of the catalogue, in the best batch where that was measured",
    P50: "the time that half of all single requests (batch 1) stayed below",
    P99: "the time that 99 of 100 single requests stayed below",
    BEST: "users a second at the batch size that was fastest, and that size",
    TOKENS: "of the prompt; read: computed, once what branches and prompts share is shared; asked: of the answers",
    MEMORY: "of the whole process that ranked, code and data included",
}


@dataclass(frozen=True)
class Point:
    """One ranker in the plane of quality and cost."""

    ranker: str
    seconds: float
    """For 1,000 users."""
    mean: float
    low: float
    high: float


def stages(evidence: Evidence) -> tuple[list[Table], str]:
    """What every stage took, in the order in which they started, and the sum in words.

    Of many stages first the kinds (all trainings together), then each.
    """
    done = [s for s in evidence.cost.get("stages", []) if isinstance(s.get("seconds"), int | float)]
    if not done:
        return [], ""
    total = seconds(sum(s["seconds"] for s in done))
    every = _spent("stages", "What every stage took", done)
    if len(done) <= MANY:
        return [every], total
    kinds: dict[str, list[dict[str, Any]]] = {}
    for s in done:
        kinds.setdefault(str(s.get("stage", "")).partition("/")[0], []).append(s)
    summed = [
        {
            "stage": f"{kind} ({len(parts)})" if len(parts) > 1 else kind,
            "seconds": sum(s["seconds"] for s in parts),
            "peak_rss_gb": max((s["peak_rss_gb"] for s in parts if "peak_rss_gb" in s), default=None),
        }
        for kind, parts in kinds.items()
    ]
    return [_spent("kinds-of-stages", "What every kind of stage took", summed), every], total


def _spent(name: str, caption: str, done: list[dict[str, Any]]) -> Table:
    total = sum(s["seconds"] for s in done)
    rows = []
    for s in done:
        share = s["seconds"] / total if total else 0.0
        memory = number(s.get("peak_rss_gb"), "{:.1f} GB".format)
        took = Cell(seconds(s["seconds"]), value=s["seconds"])
        rows.append(Row(str(s.get("stage", "")), [took, Cell(f"{100 * share:.0f} %", value=share), memory]))
    return Table(name, caption, "stage", ["time", "share", "peak memory"], rows)


def rankers(evidence: Evidence) -> Table | None:
    """What it costs to ask each ranker: speed, latency, tokens, size; only what was measured.

    Seeds of one arm stand as one ranker: their means, and the highest of their peaks.
    """
    rows = []
    for ranker, seeds in evidence.folders.items():
        facts = evidence.summaries(ranker)
        peaks = [peak for folder in seeds if isinstance(peak := _peak(evidence, folder), int | float)]
        tokens = [_mean(facts, "tokens_per_query", part) for part in ("prompt", "read", "asked")]
        cells = [
            number(_mean(facts, "users_per_second"), count),
            number(per_thousand(facts), per_users),
            number(_mean(facts, "latency_ms", "p50"), millis),
            number(_mean(facts, "latency_ms", "p99"), millis),
            _best_batch(facts),
            _tokens(tokens),
            number(_mean(facts, "model_bytes"), lambda value: size(value, BYTES)),
            number(max(peaks, default=None), "{:.1f} GB".format),
            number(_mean(facts, "parameters"), size),
        ]
        tags = ["control"] if ranker in evidence.controls else []
        tags += [f"{len(seeds)} seeds"] if len(seeds) > 1 else []
        rows.append(Row(ranker, cells, evidence.look(ranker), tags))
    columns = [SPEED, PER_1000, P50, P99, BEST, TOKENS, BYTES_OF_MODEL, MEMORY, PARAMETERS]
    notes = [(column, note + (_otherwise(evidence) if column == PER_1000 else "")) for column, note in NOTES.items()]
    return filled(Table("cost", "What it costs to ask each ranker", "ranker", columns, rows, notes=notes))


def per_thousand(facts: list[dict[str, Any]]) -> float | None:
    """Seconds for 1,000 users in the batches that suit a ranker best, where those were measured; over seeds."""
    rate = _mean(facts, "best_batch", "users_per_second") or _mean(facts, "users_per_second")
    return 1000 / rate if rate else None


def timed(evidence: Evidence, ranker: str) -> str:
    """The candidate set whose ranking `per_thousand` is of: letters answer drawn candidates, all others the catalogue.

    A fused ranker costs what both of its sides do, and is timed on what its language side is.
    """
    facts = evidence.summaries(ranker)
    mixed = next((str(one["language"]) for one in facts if "language" in one), None)
    if mixed:
        run, slash, _ = ranker.rpartition("/")
        known = (name for folder in (f"{run}{slash}{mixed}", mixed) if (name := evidence.arm(folder)) != ranker)
        facts = next((found for name in known if (found := evidence.summaries(name))), [])
    return "uniform" if any("slots" in one and "search" not in one for one in facts) else "catalogue"


def plane(evidence: Evidence) -> tuple[str, list[Point]]:
    """The candidate set that is judged (the full catalogue where there is one), and every ranker of it whose cost was
    measured on that very set."""
    table = next(iter(evidence.tables), "")
    found = []
    for ranker, values in evidence.tables.get(table, {}).get("rankers", {}).items():
        cost, quality = per_thousand(evidence.summaries(ranker)), values[evidence.primary]
        if cost is not None and timed(evidence, ranker) == table:
            low, high = quality.get("low", quality["mean"]), quality.get("high", quality["mean"])
            found.append(Point(ranker, cost, float(quality["mean"]), float(low), float(high)))
    return table, found


def timing(evidence: Evidence) -> str:
    """What the seconds of the plane are of, and who is not in it since their seconds are of something else."""
    table, points = plane(evidence)
    there = [point.ranker for point in points]
    apart = [r for r in evidence.folders if r not in there and per_thousand(evidence.summaries(r)) is not None]
    what = "drawn candidates" if table == "uniform" else "the first k of the full catalogue"
    rest = f" Not in the figure, as they do not rank it or were timed on something else: {', '.join(apart)}."
    return f"Timed from a query to {what}, in the best batch where that was measured." + (rest if apart else "")


def _otherwise(evidence: Evidence) -> str:
    """Whose seconds are of something else than the catalogue, or of two rankers."""
    known = [r for r in evidence.folders if per_thousand(evidence.summaries(r)) is not None]
    drawn = [r for r in known if timed(evidence, r) == "uniform"]
    both = [r for r in known if evidence.kind(r) == "fused"]
    told = f"; {', '.join(drawn)}: of drawn candidates" if drawn else ""
    return told + (f"; {', '.join(both)}: both of its sides" if both else "")


def front(points: list[Point]) -> list[Point]:
    """The points that no other beats on both sides: none is as good and cheaper, or better at the same cost.

    >>> a, b, c = Point("a", 1, 0.1, 0, 1), Point("b", 5, 0.3, 0, 1), Point("c", 9, 0.2, 0, 1)
    >>> [point.ranker for point in front([c, b, a])]
    ['a', 'b']
    """
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.seconds, -p.mean)):
        if not best or point.mean > best[-1].mean:
            best.append(point)
    return best


def _peak(evidence: Evidence, folder: str) -> Any:
    """What the process that ranked took at most, in GB."""
    found = [s.get("peak_rss_gb") for s in evidence.cost.get("stages", []) if s.get("stage") == f"rankings/{folder}"]
    return found[0] if found else evidence.cost["rankers"][folder].get("peak_rss_gb")


def _best_batch(facts: list[dict[str, Any]]) -> Cell:
    rate, batch = _mean(facts, "best_batch", "users_per_second"), _mean(facts, "best_batch", "size")
    if rate is None:
        return number(None, count)
    return Cell(count(rate), f"batch {batch:.0f}" if batch else "", rate)


def _tokens(parts: list[float | None]) -> Cell:
    """How many tokens one user costs: what the prompt has, and beneath what was computed and asked."""
    prompt, read, asked = parts
    if prompt is None:
        return number(read, count)
    said = [f"{count(read)} read"] if read is not None else []
    said += [f"{count(asked)} asked"] if asked is not None else []
    return Cell(count(prompt), ", ".join(said), prompt)


def _mean(facts: list[dict[str, Any]], *path: str) -> float | None:
    """The mean over seeds of a number that lies at `path`; None where no seed has it."""
    found = []
    for one in facts:
        value: Any = one
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.append(value)
    return found[0] if len(found) == 1 else fmean(found) if found else None
