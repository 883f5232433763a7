from __future__ import annotations

from pathlib import Path

import pytest

from llmrec.errors import PromptFault, UserError
from llmrec.prompts.items import Candidate, Item
from llmrec.prompts.template import Template, load_template, parse_template
from llmrec.resources import shipped

WATCHED = [Item("Heat"), Item("Up")]
ON_OFFER = [Candidate("A", "Alien"), Candidate("B", "Big")]


def template(body: str, styles: str = "[title]") -> Template:
    """Five lines of front matter, so that the body begins on line 6."""
    return parse_template(f"---\nname: t\nversion: 2\nstyles: {styles}\ndescription: d\n---\n{body}", where="t.jinja")


def test_history_is_what_the_template_reads():
    made = template("{% for item in history %}\n* {{ item.text }}\n{% endfor %}\nNext:\n")
    assert made.render(WATCHED) == "* Heat\n* Up\nNext:"
    assert made.signature == "t@2"
    assert not made.lists_candidates


def test_candidates_come_with_their_labels():
    made = template("{% for c in candidates %}{{ c.label }}={{ c.text }} {% endfor %}?", "[letter]")
    assert made.render(WATCHED, ON_OFFER) == "A=Alien B=Big ?"
    with pytest.raises(PromptFault, match="lists candidates, and there are none"):
        made.render(WATCHED)


def test_lines_ends_in_the_last_titles_newline():
    assert load_template("movies/lines").render(WATCHED) == " Heat\n Up\n"


@pytest.mark.parametrize("name", [name for name in shipped("prompts") if name != "movies/lines"])
def test_shipped_templates_end_where_an_answer_can_begin(name: str):
    made = load_template(name)
    assert made.name == name
    for history in (WATCHED, []):
        text = made.render(history, ON_OFFER)
        assert text == text.strip()
        assert all(item.text in text for item in history)


def test_there_are_shipped_templates():
    assert {"movies/lines", "movies/next-title", "movies/pick-letter", "products/next-title"} <= set(shipped("prompts"))


def test_the_docs_have_every_template_and_what_it_costs_and_a_template_that_works():
    page = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text(encoding="utf-8")
    listed, costs, _ = page.split("| --- | --- | --- | --- |")[1].split("| --- | ---: |")
    for name in shipped("prompts"):
        assert f"| `{name}` |" in listed
        assert f"| `{name}` |" in costs
    example = parse_template(page.split("```\n")[1])
    assert example.render(WATCHED) == "Somebody watched these films:\n- Heat\n- Up\n\nNext:"


def test_an_items_text_is_never_read_as_template():
    assert template("{{ history[0].text }}").render([Item("{{ 7 * 7 }}{% endfor %}")]) == "{{ 7 * 7 }}{% endfor %}"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("one\n{% for item in history %}\n", "t.jinja:8: Unexpected end of template"),
        ("one\n{{ watched }}", "t.jinja:8: unknown variable `watched`; a template sees history and candidates"),
        ("one\ntwo\n{{ history[0].genre }}", "t.jinja:9: .*no attribute 'genre'"),
        ("{% include 'secrets' %}", "t.jinja:7: a template stands alone"),
        ("\n{{ history.__class__.__mro__ }}", "t.jinja:8: access to attribute '__class__' .* is unsafe"),
        ("{{ history[0].__init__ }}", "t.jinja:7: access to attribute '__init__' of 'Item' object is unsafe"),
        ("{{ history.append(1) }}", "t.jinja:7: access to attribute 'append' .* is unsafe"),
        ("{% for n in range(10 ** 9) %}x{% endfor %}", "t.jinja:7: Range too big"),
        ("{{ 1 / 0 }}", "t.jinja:7: division by zero"),
    ],
)
def test_a_fault_is_told_with_file_and_line(body: str, fault: str):
    with pytest.raises(PromptFault, match=f"^{fault}"):
        template(body).render(WATCHED)


@pytest.mark.parametrize(
    ("front", "fault"),
    [
        ("Next:", "t.jinja:1: no front matter"),
        ("---\nname: t\n", "t.jinja:1: no front matter"),
        ("---\nname: t\nversion: 1\n---\n", "t.jinja:1: front matter: styles, description missing"),
        ("---\nname: t\nversion: one\n---\n", "t.jinja:3: front matter: version is 'one'; expected int"),
        ("---\nname: t\nstyle: title\n---\n", "t.jinja:3: front matter: unknown key `style`"),
        ("---\nname: t\nstyles: [number]\n---\n", r"t.jinja:3: front matter: styles is \['number'\]"),
        ("---\nname: t\n  version: [\n---\n", "t.jinja:3: front matter: mapping values are not allowed here"),
        ("---\n- name\n---\n", "t.jinja:2: front matter: expected `key: value` lines, found list"),
        (
            "---\nname: t\nversion: 1\nstyles: [letter]\ndescription: d\n---\nNext:",
            "t.jinja: style `letter` answers with a candidate's label",
        ),
    ],
)
def test_front_matter_is_checked(front: str, fault: str):
    with pytest.raises(PromptFault, match=f"^{fault}"):
        parse_template(front, where="t.jinja")


def test_a_template_of_ones_own_is_read_by_path(tmp_path: Path):
    source = "---\nname: mine\nversion: 1\nstyles: [title]\ndescription: d\n---\nNext:"
    path = tmp_path / "mine.jinja"
    path.write_text(source, encoding="utf-8")
    made = load_template(path)
    assert made.source == source
    assert parse_template(made.source).render([]) == made.render([]) == "Next:"


def test_a_template_that_is_not_there_or_not_text_is_said_so(tmp_path: Path):
    with pytest.raises(UserError, match="movies/next-titel"):
        load_template("movies/next-titel")
    path = tmp_path / "latin.jinja"
    path.write_bytes("---\nname: Amélie".encode("latin-1"))
    with pytest.raises(PromptFault, match=r"latin.jinja: not UTF-8 at byte 12"):
        load_template(path)
