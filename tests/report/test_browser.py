"""The page in a real browser: Debian's chromium, where it is installed."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from llmrec.pairs.build import build_pairs
from llmrec.ranking import write_parquet
from llmrec.report import write_report
from llmrec.report.evidence import read_evidence
from llmrec.report.samples import write_samples
from tests.pairs.test_build import QUERIES, SHOP, lines_encoder, rejected
from tests.report.browser import CHROMIUM, Browser, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]

PHONE, DESK = 390, 1200
OPEN = "document.querySelectorAll('details').forEach(folded => { folded.open = true })"
# Every element with words of its own: its colour and the ground that it stands on, as the eye gets them.
CONTRAST = """(() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const c = parse(getComputedStyle(at).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return null;
  };
  const worst = [];
  for (const node of document.querySelectorAll('body *')) {
    if (!node.checkVisibility() || node.closest('[aria-hidden] .dot, .hidden, script')) continue;
    if (![...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const svg = node.closest('svg');
    const own = svg ? getComputedStyle(node).fill : getComputedStyle(node).color;
    const a = light(parse(own)), b = light(ground(svg ? svg.parentElement : node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) worst.push([ratio.toFixed(2), node.tagName, node.className?.baseVal ?? node.className,
      node.textContent.trim().slice(0, 30)]);
  }
  return worst;
})()"""


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile"), downloads) as page:
        yield page


@pytest.fixture(scope="module")
def page(full: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run that has all there is."""
    return write_report(full, None, tmp_path_factory.mktemp("page"), name="cinema")


@pytest.fixture(scope="module")
def long(crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of nineteen rankers."""
    return write_report(crowd, None, tmp_path_factory.mktemp("long"), name="crowd")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of training pairs, with titles that are long, or pretend to be something else."""
    run = tmp_path_factory.mktemp("samples")
    pairs = build_pairs(QUERIES, SHOP, lines_encoder(), rejected())
    odd = pl.lit(" <script>document.title = 1</script><img src=x onerror=alert(1)>{{ 7 * 7 }} \u202e" + "W" * 10_000)
    poisoned = pairs.with_columns(pl.col("prompt", "chosen") + odd, pl.col("rejected").list.eval(pl.element() + odd))
    write_parquet(poisoned, run / "pairs" / "train.parquet")
    page = write_samples(run, run / "report", name="cinema")
    assert page is not None
    return page


def downloaded(folder: Path, name: str) -> list[list[str]]:
    """The lines of a CSV file, once the browser has put it there."""
    for _ in range(200):
        if (folder / name).is_file():
            with (folder / name).open(encoding="utf-8", newline="") as file:
                return list(csv.reader(file))
        time.sleep(0.05)
    raise AssertionError(f"{name} never came; there is {[path.name for path in folder.iterdir()]}")


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("which", ["page", "long", "samples"])
def test_it_fits_says_nothing_in_the_console_and_asks_for_nothing(
    chromium: Browser, request: pytest.FixtureRequest, which: str, width: int
):
    file: Path = request.getfixturevalue(which)
    chromium.open(file, width=width)
    chromium.run(OPEN)
    assert chromium.run("[document.documentElement.scrollWidth, innerWidth]") == [width, width]
    assert chromium.complaints() == []
    assert chromium.requests() == [file.resolve().as_uri()]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("which", ["page", "long", "samples"])
def test_words_stand_out_from_their_ground(chromium: Browser, request: pytest.FixtureRequest, which: str, dark: bool):
    """A contrast of 4.5 to 1, as WCAG 2.2 (1.4.3, AA) asks of text."""
    chromium.open(request.getfixturevalue(which), dark=dark)
    chromium.run(OPEN)
    ground = chromium.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    assert chromium.run(CONTRAST) == []


def test_a_column_is_sorted_by_keyboard(chromium: Browser, page: Path, full: Path):
    evidence = read_evidence(full)
    means = {name: m["ndcg@10"]["mean"] for name, m in evidence.tables["uniform"]["rankers"].items()}
    chromium.open(page)
    table = "document.querySelector('table[data-name=results-uniform]')"
    names = f"[...{table}.tBodies[0].rows].map(row => row.cells[0].dataset.text).filter(name => name !== 'chance')"
    before = chromium.run(names)
    assert before == list(means)
    chromium.run(f"{table}.tHead.rows[0].cells[0].querySelector('button').focus()")
    chromium.press("Tab")
    assert chromium.run("document.activeElement.closest('th').dataset.text") == "NDCG@10"
    chromium.press("Enter")
    assert chromium.run("document.activeElement.closest('th').getAttribute('aria-sort')") == "descending"
    assert [means[name] for name in chromium.run(names)] == sorted(means.values(), reverse=True)
    chromium.press(" ")
    assert chromium.run("document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"
    found = chromium.run(names)
    assert [means[name] for name in found] == sorted(means.values())
    assert chromium.run("document.querySelectorAll('[aria-sort]').length") == 1


def test_words_are_sorted_from_a(chromium: Browser, page: Path):
    chromium.open(page)
    names = (
        "(() => { const t = document.querySelector('table[data-name=cost]'); "
        "t.tHead.querySelector('button').click(); return [...t.tBodies[0].rows].map(r => r.cells[0].dataset.text) })()"
    )
    found = chromium.run(names)
    assert found == sorted(found)
    assert len(found) == 7


def test_rows_without_a_number_come_last_either_way(chromium: Browser, page: Path):
    chromium.open(page)
    table = "document.querySelector('table[data-name=cost]')"
    place = chromium.run(f"[...{table}.tHead.rows[0].cells].findIndex(c => c.dataset.text === 'p50')")
    for _ in range(2):
        chromium.run(f"{table}.tHead.rows[0].cells[{place}].querySelector('button').click()")
        filled = chromium.run(f"[...{table}.tBodies[0].rows].map(r => r.cells[{place}].dataset.value !== undefined)")
        assert filled == [True, True, False, False, False, False, False]


def test_a_table_comes_down_with_its_exact_numbers(chromium: Browser, page: Path, full: Path, downloads: Path):
    chromium.open(page)
    chromium.run("document.querySelector('table[data-name=results-catalogue]').parentElement.nextSibling.click()")
    head, *lines = downloaded(downloads, "results-catalogue.csv")
    assert head[:4] == ["ranker", "NDCG@10", "NDCG@10 low", "NDCG@10 high"]
    found = {line[0]: [float(number) for number in line[1:4]] for line in lines}
    measured = read_evidence(full).tables["catalogue"]["rankers"]
    assert found == {name: [m["ndcg@10"][key] for key in ("mean", "low", "high")] for name, m in measured.items()}


def test_all_pairs_of_nineteen_come_down_from_the_matrix(chromium: Browser, long: Path, crowd: Path, downloads: Path):
    chromium.open(long)
    chromium.run("document.querySelector('table[data-name=matrix-catalogue]').parentElement.nextSibling.click()")
    head, *lines = downloaded(downloads, "matrix-catalogue.csv")
    made = read_evidence(crowd).comparisons["tables"]["catalogue"]
    assert head[:6] == ["a", "b", "difference", "low", "high", "p"]
    assert len(lines) == len(made) == 171
    found = {(line[0], line[1]): tuple(map(float, line[2:6])) for line in lines}
    assert found == {(c["a"], c["b"]): (c["difference"], c["low"], c["high"], c["p"]) for c in made}


def test_a_name_is_neither_a_script_nor_a_formula(chromium: Browser, run: Path, downloads: Path):
    bad = '=HYPERLINK("x"),</script><script>document.title = "caught"</script>'
    for name in ("metrics.json", "comparisons.json"):
        path = run / "evaluate" / name
        path.write_text(path.read_text().replace("orpo", json.dumps(bad)[1:-1]))
    chromium.open(write_report(run, None, run / "report", name="evil"))
    assert chromium.run("document.title") == "evil: who ranks better"
    assert chromium.complaints() == []
    chromium.run("document.querySelector('table[data-name=results-uniform]').parentElement.nextSibling.click()")
    chromium.run("document.querySelector('table[data-name=matrix-uniform]').parentElement.nextSibling.click()")
    results = [line[0] for line in downloaded(downloads, "results-uniform.csv")]
    pairs = [name for line in downloaded(downloads, "matrix-uniform.csv") for name in line[:2]]
    assert f"'{bad}" in results
    assert f"'{bad}" in pairs
    assert not any(cell.startswith(tuple("=+@")) for cell in results + pairs)


@pytest.mark.parametrize("which", ["page", "long"])
def test_on_paper_nothing_is_folded_and_nothing_is_cut_off(
    chromium: Browser, request: pytest.FixtureRequest, which: str
):
    chromium.open(request.getfixturevalue(which), width=703)  # A4 without its margins, in CSS pixels
    chromium.call("Emulation.setEmulatedMedia", media="print")
    folded = "[...document.querySelectorAll('details:not([open]) td')].filter(cell => !cell.checkVisibility()).length"
    assert chromium.run("document.querySelectorAll('details:not([open]) td').length") > 50
    assert chromium.run(folded) == 0
    wide = (
        "[...document.querySelectorAll('table, svg, pre')]"
        ".filter(node => node.getBoundingClientRect().right > document.body.getBoundingClientRect().right + 1)"
        ".map(node => node.dataset?.name ?? node.tagName)"
    )
    assert chromium.run(wide) == []
    assert not chromium.run("[...document.querySelectorAll('.csv, nav')].some(node => node.checkVisibility())")
    paper = chromium.printed()
    assert paper.startswith(b"%PDF-")
    assert paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") > 5
    chromium.call("Emulation.setEmulatedMedia", media="")


def test_without_scripts_everything_can_be_read(chromium: Browser, page: Path):
    chromium.open(page, scripts=False)
    chromium.call("Emulation.setScriptExecutionDisabled", value=False)
    assert chromium.run("document.querySelectorAll('button').length") == 0
    assert chromium.run("document.querySelector('table[data-name=results-catalogue]').checkVisibility()")
    assert chromium.complaints() == []


def test_the_first_tab_leads_past_the_head(chromium: Browser, page: Path):
    chromium.open(page)
    chromium.press("Tab")
    assert chromium.run("document.activeElement.className") == "skip"
    assert chromium.run("document.activeElement.getBoundingClientRect().left >= 0")
    assert chromium.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_on_a_phone_what_scrolls_can_be_scrolled_by_keyboard(chromium: Browser, long: Path):
    chromium.open(long, width=PHONE)
    boxes = (
        "[...document.querySelectorAll('.wide')].filter(box => box.checkVisibility() && "
        "box.scrollWidth > box.clientWidth).map(box => [box.tabIndex, box.getAttribute('aria-label') !== ''])"
    )
    found = chromium.run(boxes)
    assert len(found) > 3
    assert all(box == [0, True] for box in found)
