"""Quality against cost: what each further step of quality has to be paid with."""

from __future__ import annotations

from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from llmrec.evaluate.sentences import title as written
from llmrec.report.costs import Point, front, plane, timing
from llmrec.report.evidence import Evidence
from llmrec.report.figures import COLOURS, FAINT, INK, MARKERS, Picture, bare, draw
from llmrec.report.labels import Box, placed
from llmrec.report.words import decimal, per_users, table_title

SIZE = (7.6, 4.8)
CROWD = 8  # above so many rankers, intervals of those behind the front are drawn faintly


def pareto(evidence: Evidence) -> Picture | None:
    """The metric that decides against seconds for 1,000 users, and the front that no ranker is beyond.

    None where fewer than two rankers of the set that is judged were timed on it.
    """
    table, points = plane(evidence)
    if len(points) < 2:
        return None
    best = front(points)
    metric = written(evidence.primary)

    def fill(figure: Figure) -> None:
        axes = bare(figure.subplots())
        axes.set_xscale("log")
        low, high = min(p.seconds for p in points), max(p.seconds for p in points)
        span = max(high / low, 10.0)
        axes.set_xlim(low / span**0.08, high * span**0.28)  # names stand to the right of their points where they can
        floor, top = min(p.low for p in points), max(p.high for p in points)
        axes.set_ylim(max(0.0, floor - 0.08 * (top - floor)), top + 0.12 * (top - floor) + 1e-9)
        _step(axes, best)
        for point in points:
            _dot(axes, point, evidence.look(point.ranker), faint=len(points) > CROWD and point not in best)
        axes.xaxis.set_major_locator(LogLocator(numticks=8))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: per_users(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        what = "drawn candidates" if table == "uniform" else "full catalogue"
        axes.set(xlabel=f"seconds for 1,000 users, {what}: cheaper to the left", ylabel=metric)
        _name(figure, axes, points, best)

    alt = (
        f"{table_title(evidence, table)}: {metric} against seconds for 1,000 users, {len(points)} rankers. "
        f"On the front, from the cheapest: {'; '.join(map(_said, best))}. Behind it: "
        f"{'; '.join(_said(p) for p in points if p not in best) or 'none'}. {timing(evidence)}"
    )
    return draw("pareto", alt, SIZE, fill)


def _said(point: Point) -> str:
    return f"{point.ranker} ({decimal(point.mean)}, {per_users(point.seconds)} s)"


def _step(axes: Axes, best: list[Point]) -> None:
    """The front: what can be had for at most so much time, to the right edge."""
    across = [point.seconds for point in best] + [axes.get_xlim()[1]]
    up = [point.mean for point in best] + [best[-1].mean]
    axes.step(across, up, where="post", color=INK, linewidth=1.1, linestyle="--", zorder=1.5)


def _dot(axes: Axes, point: Point, look: str, *, faint: bool) -> None:
    colour = COLOURS[look]
    axes.plot([point.seconds] * 2, [point.low, point.high], color=colour, linewidth=1, alpha=0.15 if faint else 0.9)
    axes.plot(point.seconds, point.mean, MARKERS[look], color=colour, markersize=6, zorder=3)


def _name(figure: Figure, axes: Axes, points: list[Point], best: list[Point]) -> None:
    """Each point's name, those on the front first and bold; a line leads to names that stand further away."""
    figure.draw_without_rendering()  # the layout is settled only now, and names are placed in its points
    scale = 72 / figure.dpi
    window = axes.get_window_extent()
    frame = Box(window.x0 * scale, window.y0 * scale, window.x1 * scale, window.y1 * scale)

    def at(seconds: float, mean: float) -> tuple[float, float]:
        x, y = axes.transData.transform((seconds, mean))
        return float(x) * scale, float(y) * scale

    order = sorted(points, key=lambda p: (p not in best, -p.mean))
    spots = [at(point.seconds, point.mean) for point in order]
    corners = [at(point.seconds, point.mean) for point in best]
    taken = [Box(x - 1, y - 1, right, y + 1) for (x, y), (right, _) in pairwise([*corners, (frame.right, 0)])]
    taken += [Box(x - 1, low, x + 1, high) for (_, low), (x, high) in pairwise(corners)]
    taken += [Box(at(p.seconds, p.low)[0] - 1, at(p.seconds, p.low)[1], *_top(at(p.seconds, p.high))) for p in best]
    ends = placed(spots, [point.ranker for point in order], frame, taken=taken)
    for point, (x, y), (left, middle) in zip(order, spots, ends, strict=True):
        wide = 0.62 * 8.5 * len(point.ranker)
        far = abs(middle - y) > 16 or left - x > 16 or x - left - wide > 16
        side = 0.0 if left > x else 1.0
        axes.annotate(
            point.ranker,
            xy=(point.seconds, point.mean),
            xytext=(left - x if side == 0 else left + wide - x, middle - y),
            textcoords="offset points",
            ha="left" if side == 0 else "right",
            va="center",
            fontsize=8.5,
            fontweight="bold" if point in best else "normal",
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.6, "relpos": (side, 0.5)} if far else None,
        )


def _top(spot: tuple[float, float]) -> tuple[float, float]:
    return spot[0] + 1, spot[1]
