"""The figures of a report: who wins, and all the others, which have files of their own."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llmrec.evaluate.comparison import Comparison
from llmrec.evaluate.sentences import title as written
from llmrec.report.answers import slots
from llmrec.report.comparisons import LINES, deciding, differences, span, sure
from llmrec.report.curves import adapting, training
from llmrec.report.evidence import Evidence
from llmrec.report.figures import COLOURS, INK, MARKERS, PAPER, Picture, bare, draw
from llmrec.report.pareto import pareto
from llmrec.report.slices import slices
from llmrec.report.words import signed, table_title

Groups = list[tuple[str, list[Comparison]]]


def who_wins(evidence: Evidence, table: str) -> Picture | None:
    """Differences of the primary metric with their intervals: a line each, or, of many rankers, a panel a question."""
    groups = differences(evidence, table)
    if not groups:
        return None
    lines = sum(len(found) + 1 for _, found in groups)
    metric = written(evidence.primary)
    many = lines > LINES
    said = [pair for pair in deciding(evidence, table) if sure(pair) or not many]
    alt = f"{table_title(evidence, table)}: differences in {metric} with 95 % intervals, " + (
        "; ".join(f"{d.a} minus {d.b} {span(d)}" for _, f in groups for d in f)
        if not many
        else "; ".join(
            f"{title}: {sum(d.outcome == 'beats' for d in found)} beat it, {sum(d.outcome == 'loses' for d in found)} "
            f"lose, of {len(found)}"
            for title, found in groups
        )
        + "".join(f"; {pair.a} minus {pair.b} {span(pair)}" for pair in said)
    )
    name = f"who-wins-{table}"
    if many:
        rows = {d.a for _, found in groups for d in found}
        size = (7.6, 1.0 + 0.22 * len(rows))
        return draw(name, alt, size, lambda figure: _panels(figure, evidence, table, groups))
    return draw(name, alt, (7.6, 0.75 + 0.29 * lines), lambda figure: _forest(figure, evidence, groups))


def _forest(figure: Figure, evidence: Evidence, groups: Groups) -> None:
    """One difference below the other, each with its numbers."""
    axes = bare(figure.subplots(), axis="x")
    axes.axvline(0, color=INK, linewidth=1)
    y, ticks, labels = 0.0, [], []
    for title, found in groups:
        axes.text(0, y, title, transform=axes.get_yaxis_transform(), va="center", style="italic", fontsize=8.5)
        y += 1
        for line in found:
            _whisker(axes, line, y, evidence.look(line.a))
            said = f"{signed(line.difference)}  [{signed(line.low)}, {signed(line.high)}]"
            axes.text(1.01, y, said, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
            ticks.append(y)
            labels.append(line.a)
            y += 1
    axes.set_yticks(ticks, labels)
    axes.set_ylim(y - 0.3, -0.7)
    reach = _reach(groups)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(f"difference in {written(evidence.primary)}: left of 0 is worse, right is better")


def _panels(figure: Figure, evidence: Evidence, table: str, groups: Groups) -> None:
    """One row a ranker, best first, one panel a ranker that it is held against."""
    means = evidence.tables[table]["rankers"]
    names = {d.a for _, found in groups for d in found}
    order = sorted(names, key=lambda name: -float(means[name][evidence.primary]["mean"]))
    grid = figure.subplots(1, len(groups), sharey=True, sharex=True, squeeze=False)[0]
    for axes, (title, found) in zip(grid, groups, strict=True):
        bare(axes, axis="x").axvline(0, color=INK, linewidth=1)
        for line in found:
            _whisker(axes, line, order.index(line.a), evidence.look(line.a))
        other = title.partition(", the language model")[0].removeprefix("against ")
        axes.set_title(f"against\n{other.removeprefix('the best floor, ')}", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(3, symmetric=True))
    grid[0].set_yticks(range(len(order)), order)
    grid[0].set_ylim(len(order) - 0.4, -0.6)
    reach = _reach(groups)
    grid[0].set_xlim(-reach, reach)
    figure.supxlabel(f"difference in {written(evidence.primary)}: left of 0 is worse, right is better", fontsize=9)


def _whisker(axes: Axes, line: Comparison, y: float, look: str) -> None:
    colour = COLOURS[look]
    axes.plot([line.low, line.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    face = colour if sure(line) else PAPER
    axes.plot(line.difference, y, MARKERS[look], color=colour, markerfacecolor=face)


def _reach(groups: Groups) -> float:
    return max(max(abs(d.low), abs(d.high)) for _, found in groups for d in found) * 1.08 or 1.0


def pictures(evidence: Evidence) -> dict[str, Picture]:
    """Every figure that the run has something to show in, by name."""
    makers: list[Callable[[], Picture | None]] = [
        lambda: training(evidence),
        lambda: adapting(evidence),
        lambda: pareto(evidence),
        lambda: slots(evidence),
    ]
    for table in evidence.tables:
        makers += [lambda t=table: who_wins(evidence, t), lambda t=table: slices(evidence, t)]  # type: ignore[misc]
    return {picture.name: picture for picture in (make() for make in makers) if picture is not None}
