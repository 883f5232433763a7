from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import PromptFault
from llmrec.prompts.encoding import Encoder
from llmrec.prompts.template import Template, load_template, parse_template
from llmrec.recipe.sections import Answer
from tests.prompts import readers
from tests.prompts.readers import TITLES

ODD = [
    *TITLES,
    "A" * 300,
    "🎬 七人の侍",
    "  Up\n\n",
    "e\u0301clair",
    "\u0301",
    "- x",
    "1995",
    "'s",
    "Next:",
    "{{ item }}",
]
FRONT = "---\nname: t\nversion: 1\nstyles: [title]\ndescription: d\n---\n"
READERS = {"lines": readers.lines(ODD), "chat": readers.chat(ODD), "words": readers.words(ODD)}
TEMPLATES = {
    "lines": load_template("movies/lines"),
    "next": load_template("movies/next-title"),
    "products": load_template("products/next-title"),
    "row": parse_template(FRONT + "Seen:{% for item in history %} <{{ item.text }}>,{% endfor %} then:"),
}
PROVEN = [
    ("lines", "lines"), ("lines", "next"), ("chat", "lines"), ("chat", "next"), ("chat", "products"),
    ("words", "next"), ("words", "row"),
]  # fmt: skip


def encoder(reader: str, template: Template, budget: int = 64, texts: list[str] = ODD, **answer: Any) -> Encoder:
    return Encoder(READERS[reader], template, texts, budget, Answer(**answer))


@pytest.mark.parametrize(("reader", "template"), PROVEN)
def test_these_lines_are_proven_to_stand_apart(reader: str, template: str):
    assert encoder(reader, TEMPLATES[template]).bulk is not None


@settings(deadline=None, max_examples=200)
@given(
    which=st.sampled_from(PROVEN),
    contexts=st.lists(st.lists(st.integers(0, len(ODD) - 1), max_size=40), min_size=1, max_size=6),
    room=st.integers(0, 300),
)
def test_prompts_in_bulk_are_those_made_one_by_one(which: tuple[str, str], contexts: list[list[int]], room: int):
    reader, template = which
    try:
        bare = len(encoder(reader, TEMPLATES[template], budget=10_000).prompt([]).ids)
    except PromptFault:  # `lines` behind a tokenizer without BOS: nothing at all is no prompt
        bare, contexts = 0, [[0, *context] for context in contexts]
        room += 300
    reads = encoder(reader, TEMPLATES[template], budget=max(8, bare + room))
    assert reads.bulk is not None
    lengths = np.array([len(context) for context in contexts])
    stop = np.cumsum(lengths)
    made = reads.bulk.prompts(np.array([*chain(*contexts)], dtype=np.int32), stop - lengths, stop)
    asked = reads.prompts(contexts)
    assert made.text.to_list() == [prompt.text for prompt in asked]
    assert made.kept.tolist() == [prompt.kept for prompt in asked]
    assert made.tokens.tolist() == [len(prompt.ids) for prompt in asked]
    spans = [reads.title_spans(prompt, context) for prompt, context in zip(asked, contexts, strict=True)]
    assert made.titles.to_list() == spans
    reads.bulk.check(made, [np.array(context) for context in contexts], [0] * len(contexts), range(len(contexts)))


@pytest.mark.parametrize(("reader", "template"), PROVEN)
def test_answers_take_what_they_take_behind_a_prompt(reader: str, template: str):
    reads = encoder(reader, TEMPLATES[template])
    assert reads.bulk is not None
    assert reads.bulk.answers(np.arange(len(ODD))).tolist() == [len(ids) for ids in reads.answers_ids(range(len(ODD)))]


def test_a_tokenizer_that_cuts_nowhere_between_lines_has_no_pieces():
    tangled = readers.tangled("- Heat (1995)\n- Alien (1979)\n")
    assert Encoder(tangled, TEMPLATES["next"], ["Heat"], 512, Answer(eos=False)).bulk is None
    assert Encoder(readers.pieces(), TEMPLATES["next"], TITLES, 512, Answer()).bulk is None


@pytest.mark.parametrize(
    "body",
    [
        "{% for item in history %}{{ loop.index }} {{ item.text }}\n{% endfor %}",
        "{% for item in history if item.text %}{{ item.text }}\n{% endfor %}",
        "{% for item in history[:3] %}{{ item.text }}\n{% endfor %}",
        "{% for item in history %}{{ item.text | upper }}\n{% endfor %}",
        "{% for item in history %}{{ item.text }}{{ item.text }}\n{% endfor %}",
        "{% for item in history %}{% if item.text %}x{% endif %}{{ item.text }}\n{% endfor %}",
        "{{ history | length }}{% for item in history %}{{ item.text }}\n{% endfor %}",
        "{% for item in history %}{{ item.text }}\n{% else %}none{% endfor %}",
        "Next:",
    ],
)
def test_a_template_that_is_more_than_a_list_has_no_frame(body: str):
    assert parse_template(FRONT + body).frame is None


def test_titles_with_the_marks_that_titles_are_found_by_are_left_to_the_careful_way():
    assert encoder("chat", TEMPLATES["next"], texts=["He\ue000at", "Up"]).bulk is None


def test_a_prompt_that_cannot_fit_is_refused_as_ever():
    reads = encoder("chat", TEMPLATES["next"], budget=8)
    assert reads.bulk is not None
    with pytest.raises(PromptFault, match="with no history at all, and prompt.budget is 8"):
        reads.bulk.prompts(np.array([1], dtype=np.int32), np.array([0]), np.array([1]))


def test_a_count_that_was_wrong_after_all_is_found_out():
    reads = encoder("chat", TEMPLATES["next"], budget=500)
    assert reads.bulk is not None
    reads.bulk.middle[2] += 1
    made = reads.bulk.prompts(np.array([1, 2, 3], dtype=np.int32), np.array([0]), np.array([3]))
    with pytest.raises(PromptFault, match="Please report this tokenizer and template"):
        reads.bulk.check(made, [np.array([1, 2, 3])], [0], [0])
