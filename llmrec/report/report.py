"""One page for a run: the verdict first, then everything it rests on. As HTML that needs nothing else, and as Markdown.

Every word that comes from data (titles, users, names of rankers) is escaped on its way into a page.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from llmrec.files import write_text
from llmrec.report.answers import rules
from llmrec.report.costs import rankers, stages, timing
from llmrec.report.evidence import Evidence, read_evidence
from llmrec.report.figures import Picture
from llmrec.report.limits import limits
from llmrec.report.people import people
from llmrec.report.plots import pictures
from llmrec.report.results import results
from llmrec.report.samples import write_samples
from llmrec.report.words import flat, table_title

if TYPE_CHECKING:
    from llmrec.data.larder import Larder

LEVELS = {"disqualifies": "Disqualifies", "warns": "Warns", "notes": "Notes"}


def write_report(run: Path, larder: Larder | None, out: Path, *, name: str) -> Path:
    """Writes index.html, samples.html, report.md and figures/*.svg into `out`; returns the HTML page's path.

    Reads only the run folder; `larder` spares reading prepare/ again. Parts that the run does not have are left out.
    Raises RunFault where there are no metrics to report, or a file of the run cannot be read.
    """
    evidence = read_evidence(run)
    drawn = pictures(evidence)
    facts = gathered(evidence, larder, drawn, name)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for stale in (out / "figures").glob("*.svg"):
        if stale.stem not in drawn:
            stale.unlink()
    for picture in drawn.values():
        picture.write(out / "figures")
    samples = write_samples(run, out, name=name)
    facts["samples"] = samples.name if samples else ""
    write_text(_tidy(render("page.md.jinja", facts)), out / "report.md")
    return write_text(render("page.html.jinja", facts), out / "index.html")


def write_page(evidence: Evidence, path: Path, *, name: str) -> Path:
    """The same HTML page of evidence that no one run folder holds: of several runs, or of anybody's rankings."""
    return write_text(render("page.html.jinja", gathered(evidence, None, pictures(evidence), name)), path)


def gathered(evidence: Evidence, larder: Larder | None, drawn: dict[str, Picture], name: str) -> dict[str, Any]:
    """Everything that the two templates print."""
    seed = evidence.recipe.get("seed", 7)
    shown, table = people(evidence, larder, seed=seed)
    spent, total = stages(evidence)
    script = _part("page.js")
    return {
        "name": name,
        "verdict": sentences(evidence),
        "results": results(evidence),
        "pictures": drawn,
        "people": shown,
        "people_table": table_title(evidence, table) if table else "",
        "stages": spent,
        "total": total,
        "device": next((s["device"] for s in evidence.cost.get("stages", []) if s.get("device")), ""),
        "costs": rankers(evidence),
        "timing": timing(evidence),
        "rules": rules(evidence),
        "findings": [_finding(finding) for finding in evidence.findings],
        "audited": evidence.audited,
        "limits": limits(evidence),
        "data": [(key.replace("_", " ").replace(".", ", "), value) for key, value in flat(evidence.data)],
        "made": [
            *flat({key: value for key, value in evidence.manifest.items() if key != "stages"}),
            *((f"fingerprint of {stage}", print_[:16]) for stage, print_ in evidence.fingerprints.items()),
        ],
        "recipe": _text(evidence.run / "recipe.yaml"),
        "samples": "",
        "script": script,
        # The page allows this one script, by its hash, and no other: a name that looks like a script stays a name.
        "script_hash": f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    }


def _finding(finding: dict[str, Any]) -> dict[str, str]:
    """One of the audit's, with words for its level; what it does not say is empty."""
    told = {key: str(finding.get(key) or "") for key in ("what", "where", "check", "why", "remedy")}
    level = str(finding.get("level", ""))
    level = level if level in LEVELS else "notes"
    return {**told, "level": level, "label": LEVELS[level]}


def sentences(evidence: Evidence) -> list[str]:
    """The verdict, a sentence a candidate set; the first, on the headline set, is the one to read."""
    return re.split(r"(?<=\.) (?=On )", str(evidence.comparisons.get("verdict") or "Nothing was compared."))


def render(template: str, facts: dict[str, Any]) -> str:
    """A page from one of the two templates; `.html` escapes for HTML, `.md` for Markdown."""
    html = ".html" in template
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),
        autoescape=html,
        finalize=None if html else escape_markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["raw"] = Markup
    environment.filters["breaks"] = breaks
    environment.filters["code"] = code_html if html else code_markdown
    return environment.get_template(template).render(facts)


def escape_markdown(value: Any) -> Any:
    """Text in which Markdown and HTML see no marks; what is already Markup, and what is not text, passes.

    >>> escape_markdown("*Heat* <b>|1995|")
    '\\\\*Heat\\\\* &lt;b&gt;\\\\|1995\\\\|'
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    one_line = re.sub(r"\s+", " ", value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~$])", r"\\\1", one_line)


def breaks(name: str) -> Markup:
    """An escaped name that may go on in the next line after `_`, `-` and `/`.

    >>> breaks("a/s_dpo<b>")
    Markup('a/<wbr>s_<wbr>dpo&lt;b&gt;')
    """
    return Markup(re.sub(r"([_/-])(?=.)", r"\1<wbr>", str(escape(name))))


def code_html(text: str) -> Markup:
    """Escaped text in which `these` are code.

    >>> code_html("use `a < b`")
    Markup('use <code>a &lt; b</code>')
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def code_markdown(text: str) -> Markup:
    """Escaped text in which `these` stay code, where Markdown needs no escapes."""
    parts = re.split(r"(`[^`|]+`)", re.sub(r"\s+", " ", str(text)))
    return Markup("".join(part if part.startswith("`") and len(part) > 2 else escape_markdown(part) for part in parts))


def _tidy(text: str) -> str:
    """At most one empty line between paragraphs."""
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _part(name: str) -> str:
    """A template, the style sheet or the script, as it ships."""
    return files("llmrec.report").joinpath(name).read_text(encoding="utf-8")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
