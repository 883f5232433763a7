"""The pages: everything is in them, nothing is loaded, and no title can break out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llmrec.data.larder import Larder
from llmrec.report import write_report
from tests.report.runs import finished_run

VOID = {"meta", "br", "link", "img", "input", "hr", "path", "use", "rect", "g"}


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
    assert not names & {"script", "link", "img", "iframe", "object", "embed"}
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_figures_lie_beside_the_markdown(pages: Path):
    linked = re.findall(r"\]\((figures/[^)]+)\)", (pages / "report.md").read_text())
    assert sorted(linked) == sorted(f"figures/{path.name}" for path in (pages / "figures").iterdir())
    assert len(linked) == 5


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
    assert "script" not in {tag for tag, _ in Page(html).tags}
    assert "&lt;script&gt;" in html
    assert "<script" not in markdown
    assert "<i>" not in html + markdown
    assert "\\[x\\](http://evil)" in markdown
    assert "49" not in re.findall(r"\{\{.*?\}\}|(?<=y` )\d+", html)
    rows = [line for line in markdown.splitlines() if line.startswith("| 1 |")]
    assert rows
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}  # a bar in a title opens no cell


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
