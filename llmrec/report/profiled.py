"""What a log looks like, for people: lines and bars in a terminal, curves on one page that needs no other file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from llmrec.columns import ITEM, USER
from llmrec.data.census import Census
from llmrec.data.profile import Profile
from llmrec.files import write_text
from llmrec.report.figures import COLOURS, FAINT, INK, PAPER, Picture, bare, draw

WIDTH = 30  # letters of the longest bar
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}


def lines(found: Profile, *, drawn: bool = False) -> list[str]:
    """What there is to say of the log, a line each; bars where there is no picture of it (`drawn`) beside them."""
    if found.census is None and {USER, ITEM} <= found.roles.keys():
        return ["No row has both a user and an item, so there is nothing to count."]
    if found.census is None:
        return ["Users and items were not recognised, so there is nothing to count: name them under `columns`."]
    log = found.census
    said = [
        f"{log.interactions:,} interactions of {log.users:,} users with {log.items:,} items, density {log.density:.3%}",
        "history: shortest {shortest:,}, median {median:,.0f}, mean {mean:,.1f}, 9 of 10 up to {p90:,.0f}, "
        "longest {longest:,}".format(**log.history),
    ]
    if not drawn:
        said += _bars((f"up to {length:,}", users) for length, users in log.lengths)
        said.append("popularity: the share of interactions that goes to the most popular items")
        said += _bars((f"{share:.1%} of items", theirs) for share, theirs in log.popularity)
    said += [
        f"repeats: {log.repeats:.1%} of interactions are with an item that the user has already met",
        *_of_times(log),
    ]
    if log.ratings and not drawn:
        said += ["ratings", *_bars(log.ratings.items())]
    if log.behaviours:
        said += ["behaviours, by the look of the column", *_bars(log.behaviours.items())]
    if log.untitled is not None:
        said.append(f"titles: {log.untitled:,} of {log.items:,} items have none and would read as their id")
    return said


def _of_times(log: Census) -> list[str]:
    if log.moments is None or log.ties is None:
        return ["times: none; histories keep the order of the file"]
    clock, unit = log.moments, log.moments["unit"]
    said = [
        f"times: {clock['first']} to {clock['last']} (UTC), counted in {UNITS[unit]}",
        f"ties: {log.ties['neighbours']:.1%} of neighbouring interactions of a user are at the same moment; "
        f"for {log.ties['last_two']:.1%} of users the last two are, so that which is the target is a coin toss",
    ]
    others = {name: rows for name, rows in clock["units"].items() if name != unit}
    if others:
        mixed = " and ".join(f"{rows:,} rows in {UNITS[name]}" for name, rows in others.items())
        said.append(f"WARNING: times are mixed: most count {UNITS[unit]}, but by their size {mixed}. Orders are wrong.")
    if clock["negative"]:
        said.append(f"WARNING: {clock['negative']:,} times lie before 1970")
    if clock["unreadable"]:
        said.append(f"WARNING: {clock['unreadable']:,} times cannot be read")
    return said


def _bars(of: Iterable[tuple[str, float]]) -> list[str]:
    rows = [(str(name), value) for name, value in of]
    most = max((value for _, value in rows), default=0) or 1
    wide = max((len(name) for name, _ in rows), default=0)
    told = [f"{value:.1%}" if isinstance(value, float) else f"{value:,}" for _, value in rows]
    return [
        f"  {name:>{wide}}  {'█' * max(1 if value else 0, round(WIDTH * value / most)):<{WIDTH}}  {said}"
        for (name, value), said in zip(rows, told, strict=True)
    ]


def pictures(log: Census) -> list[Picture]:
    """Histories, popularity, and ratings where there are any."""
    found = [_histories(log), _popularity(log)]
    return [*found, _ratings(log.ratings)] if log.ratings else found


def _histories(log: Census) -> Picture:
    def fill(figure: Figure) -> None:
        axes = bare(figure.subplots(), axis="y")
        axes.bar(range(len(log.lengths)), [users for _, users in log.lengths], color=COLOURS["retriever"])
        axes.set_xticks(range(len(log.lengths)), [f"{length:,}" for length, _ in log.lengths], rotation=45)
        axes.set(title="How long are histories?", xlabel="interactions, up to", ylabel="users")

    return draw("histories", "Users by the length of their history.", (4.6, 3.2), fill)


def _popularity(log: Census) -> Picture:
    def fill(figure: Figure) -> None:
        axes = bare(figure.subplots())
        axes.plot([100 * x for x, _ in log.curve], [100 * y for _, y in log.curve], color=COLOURS["language"])
        axes.plot([100 * x for x, _ in log.curve], [100 * x for x, _ in log.curve], color=FAINT, linestyle=":")
        axes.set(title="How much goes to the most popular?", xscale="log", ylim=(0, 101))
        axes.set(xlabel="items, the most popular first (%)", ylabel="interactions (%)")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # text stays text in the SVG
        axes.xaxis.set_minor_formatter(NullFormatter())

    return draw("popularity", "Share of interactions by the most popular items; dotted: all alike.", (4.6, 3.2), fill)


def _ratings(ratings: dict[str, int]) -> Picture:
    def fill(figure: Figure) -> None:
        axes = bare(figure.subplots(), axis="y")
        axes.bar(list(ratings), list(ratings.values()), color=COLOURS["other"])
        axes.tick_params(axis="x", rotation=45 if len(ratings) > 6 else 0)
        axes.set(title="What ratings are there?", xlabel="rating", ylabel="rows")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))

    return draw("ratings", "Rows by rating.", (4.6, 3.2), fill)


def write_page(found: Profile, path: Path) -> Path:
    """The profile as one HTML page, or the curves alone where the path ends in .svg. Names are data, and escaped."""
    drawn = pictures(found.census) if found.census is not None else []
    if path.suffix == ".svg":
        return write_text(_stacked(drawn), path)
    colours = {"ink": INK, "faint": FAINT, "paper": PAPER, **COLOURS}
    style = ":root{" + ";".join(f"--{kind}:{colour}" for kind, colour in colours.items()) + "}"
    dark = "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--paper:#15181c;--faint:#6b7480}}"
    plain = "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:var(--ink);"
    plain += "background:var(--paper)}svg{max-width:100%;height:auto}figure{margin:1em 0}"
    plain += "pre{white-space:pre-wrap}div{overflow-x:auto}td,th{text-align:left;padding:.1em 1em .1em 0}"
    heads = ("column", "looks like", "filled", "distinct", "for example")
    cells = [(c.name, c.role or "", f"{c.filled:.1%}", f"{c.distinct:,}", c.example) for c in found.columns]
    table = Markup("").join(
        Markup("<tr>") + Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row) + Markup("</tr>")
        for row in cells
    )
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in heads)
    body = [
        Markup("<h1>{}</h1><p>{:,} rows, {:,} of them unreadable.</p>").format(
            found.path.name, found.rows, found.unreadable
        ),
        *(Markup("<figure>{}</figure>").format(picture.inline) for picture in drawn),
        Markup("<pre>{}</pre>").format("\n".join(lines(found, drawn=True))),
        Markup("<div><table><tr>{}</tr>{}</table></div>").format(head, table),
        Markup("<p>In a recipe:</p><pre>{}</pre>").format(found.section()),
    ]
    page = (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(found.path.name)}</title><style>{style}{dark}{plain}</style>\n"
    )
    return write_text(page + "\n".join(body) + "\n</html>\n", path)


def _stacked(drawn: list[Picture]) -> str:
    """Several pictures one under another in one SVG, on white."""
    height = 250
    bodies = [re.sub(r"^<svg ([^>]*)>", _without_size, picture.svg) for picture in drawn]
    placed = (f'<svg y="{at * height}" height="{height - 10}" ' for at in range(len(bodies)))
    inner = "".join(body.replace("<svg ", place, 1) for body, place in zip(bodies, placed, strict=True))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="360" height="{height * len(drawn)}">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{inner}</svg>\n'
    )


def _without_size(found: re.Match[str]) -> str:
    return re.sub(r' (width|height)="[^"]*"', "", found.group(0))
