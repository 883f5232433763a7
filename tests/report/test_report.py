"""The pages: everything is in them, nothing is loaded, and no title can break out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from llmrec.data.larder import Larder
from llmrec.report import write_report
from tests.report.runs import finished_run

VOID = {"meta", "br", "wbr", "link", "img", "input", "hr", "path", "use", "rect", "g"}


class Page(HTMLParser):
    """Collects tags with their attributes, text, and whether every tag was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def pages(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    assert write_report(finished, None, out, name="cinema") == out / "index.html"
    return out


def test_the_verdict_is_the_first_thing_said(pages: Path):
    html, markdown = (pages / "index.html").read_text(), (pages / "report.md").read_text()
    assert html.index("On the full catalogue (40 users)") < html.index('id="results"')
    assert markdown.splitlines()[2].startswith("**In short: on the full catalogue")


def test_every_part_is_there(pages: Path):
    page = Page((pages / "index.html").read_text())
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {"results", "training", "people", "cost", "audit", "made"} <= ids
    markdown = (pages / "report.md").read_text()
    for heading in ("Results", "How training went", "5 users", "Cost", "Audit and limits", "How it was made"):
        assert f"\n## {heading}\n" in markdown


def test_the_page_is_well_formed_and_loads_nothing(pages: Path):
    html = (pages / "index.html").read_text()
    page = Page(html)
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"img", "iframe", "object", "embed"}
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_figures_lie_beside_the_markdown(pages: Path):
    linked = re.findall(r"\]\((figures/[^)]+)\)", (pages / "report.md").read_text())
    assert sorted(linked) == sorted(f"figures/{path.name}" for path in (pages / "figures").iterdir())
    assert len(linked) == 6


def test_both_pages_show_the_same_numbers(pages: Path):
    markdown = (pages / "report.md").read_text()
    words = " ".join(Page((pages / "index.html").read_text()).words)
    for number in re.findall(r"(?<![\w.])\.\d{3}", markdown):
        assert number in words


def test_a_title_cannot_break_out(tmp_path: Path):
    bad = '</li><script>alert("1")</script> *b* | [x](http://evil) `y` {{ 7 * 7 }}'
    run = finished_run(tmp_path, titles={f"heist-{n:02d}": f"{bad} {n}" for n in range(1, 13)})
    write_report(run, None, run / "report", name="<i>cinema</i>")
    html, markdown = (run / "report" / "index.html").read_text(), (run / "report" / "report.md").read_text()
    assert [tag for tag, _ in Page(html).tags].count("script") == 1
    assert "&lt;script&gt;" in html
    assert "<script" not in markdown
    assert "<i>" not in html + markdown
    assert "\\[x\\](http://evil)" in markdown
    assert "49" not in re.findall(r"\{\{.*?\}\}|(?<=y` )\d+", html)
    rows = [line for line in markdown.splitlines() if line.startswith("| 1 |")]
    assert rows
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}  # a bar in a title opens no cell


def test_a_rankers_name_is_data_wherever_it_stands(run: Path):
    """In tables, figures, the matrix with its JSON, sentences and the people's headings."""
    bad = '</script><b onclick="x">=1+1'
    for name in ("metrics.json", "comparisons.json"):
        path = run / "evaluate" / name
        path.write_text(path.read_text().replace("orpo", json.dumps(bad)[1:-1]))
    write_report(run, None, run / "report", name=bad)
    page = Page((run / "report" / "index.html").read_text())
    assert page.open == []
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "".join(page.words).count(bad) > 10
    rows = [json.loads(a["data-row"] or "") for _, a in page.tags if "data-row" in a]
    assert any(bad in row for row in rows)
    assert "<b " not in (run / "report" / "report.md").read_text()
    assert "</script>" not in (run / "report" / "report.md").read_text()


def test_only_the_pages_own_script_may_run(pages: Path):
    html = (pages / "index.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = Page(html)
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")


def test_tables_and_figures_say_what_they_are(full: Path, crowd: Path, tmp_path: Path):
    for run in (full, crowd):
        page = Page(write_report(run, None, tmp_path / run.parent.name, name="x").read_text())
        tags = [tag for tag, _ in page.tags]
        assert tags.count("caption") == tags.count("table") > 5
        for tag, attributes in page.tags:
            if tag == "th":
                assert attributes["scope"] in ("col", "row")
            if tag == "svg":
                assert attributes["role"] == "img"
                assert len(attributes["aria-label"] or "") > 40
        levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        ids = [a["id"] for _, a in page.tags if a.get("id")]
        assert len(ids) == len(set(ids))
        linked = {a["href"][1:] for tag, a in page.tags if tag == "a" and a.get("href")}  # type: ignore[index]
        assert linked <= set(ids)
        names = [a["data-name"] for tag, a in page.tags if tag == "table"]
        assert len(names) == len(set(names))  # each is a file name


def test_findings_come_with_their_reasons_where_they_have_some(full: Path, tmp_path: Path):
    write_report(full, None, tmp_path, name="x")
    for page in ("index.html", "report.md"):
        text = (tmp_path / page).read_text()
        for words in ("the evidence", "Why it matters", "it leaks", "What to do"):
            assert words in text
    assert "use <code>time</code>" in (tmp_path / "index.html").read_text()


def test_the_same_run_gives_the_same_bytes(full: Path, tmp_path: Path):
    for out in ("one", "two"):
        write_report(full, None, tmp_path / out, name="x")
    for page in ("index.html", "report.md", "figures/pareto.svg"):
        assert (tmp_path / "one" / page).read_bytes() == (tmp_path / "two" / page).read_bytes()


def test_nineteen_rankers_make_no_long_page(crowd: Path, tmp_path: Path):
    """Before, every one of the 171 pairs of a table was a row and a sentence."""
    write_report(crowd, None, tmp_path, name="x")
    rows = [tag for tag, _ in Page((tmp_path / "index.html").read_text()).tags].count("tr")
    assert rows < 300
    assert (tmp_path / "report.md").read_text().count("\n* On the full catalogue") <= 10


def test_parts_that_a_run_does_not_have_are_left_out(run: Path):
    for part in ("pretrain", "train", "retrieve", "prepare"):
        shutil.rmtree(run / part)
    out = run / "report"
    (out / "figures").mkdir(parents=True)
    (out / "figures" / "training.svg").write_text("from an earlier report")
    page = Page(write_report(run, None, out, name="bare").read_text())
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert not ids & {"training", "people"}
    assert not (out / "figures" / "training.svg").exists()
    assert "The full catalogue" in " ".join(page.words)


def test_the_five_users_are_drawn_without_a_look_at_how_they_fared(run: Path):
    """Other rankings of the same queries leave the same people."""

    def shown(folder: Path) -> list[str]:
        return re.findall(r"^### User (.+)$", (folder / "report.md").read_text(), flags=re.MULTILINE)

    write_report(run, Larder.read(run / "prepare"), run / "one", name="x")
    for table in ("catalogue", "uniform"):
        for ranker in ("retriever", "orpo"):
            shutil.copy(run / f"rankings/popularity/{table}.parquet", run / f"rankings/{ranker}/{table}.parquet")
    write_report(run, None, run / "two", name="x")
    assert len(shown(run / "one")) == 5
    assert shown(run / "one") == shown(run / "two")


def test_marked_titles_are_what_the_user_went_on_to(finished: Path, pages: Path):
    """In the cinema the target is the film after the last one watched."""
    from tests.worlds import item_texts, next_film

    keys = {text: key for key, text in item_texts().items()}
    people = (pages / "report.md").read_text().split("## Cost")[0].split("### User ")[1:]
    for person in people:
        seen, target = re.search(r": (.+)\. Next: \*\*(.+)\*\*", person).groups()  # type: ignore[union-attr]
        last = seen.split("; ")[-1]
        assert next_film(keys[last]) == keys[target]
        assert set(re.findall(r"\*\*(.+?)\*\*", person)) == {target}


def test_reporting_needs_no_torch(finished: Path, tmp_path: Path):
    code = """if True:
        import sys
        from pathlib import Path
        from llmrec.report import write_report

        write_report(Path(sys.argv[1]), None, Path(sys.argv[2]), name="x")
        assert "torch" not in sys.modules
    """
    here = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(finished), str(tmp_path)], check=True, cwd=here)
