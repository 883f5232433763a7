from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from llmrec.errors import PromptFault
from llmrec.prompts.encoding import Encoder
from llmrec.prompts.template import load_template, parse_template
from llmrec.prompts.tokens import encode
from llmrec.recipe.sections import Answer
from tests.prompts import readers
from tests.prompts.readers import TITLES

LINES, CHAT, PIECES = readers.lines(), readers.chat(), readers.pieces()
TITLE, LETTER = Answer(), Answer(style="letter", eos=False)
NUMBERED = parse_template(
    "---\nname: numbered\nversion: 1\nstyles: [title]\ndescription: d\n---\n"
    "{{ history | length }} films:{% for item in history %} {{ loop.index }}) {{ item.text }}{% endfor %}. Next:"
)


def encoder(tokenizer: PreTrainedTokenizerFast, template: str, budget: int = 256, **settings: Any) -> Encoder:
    texts = settings.pop("texts", TITLES)
    return Encoder(tokenizer, load_template(template), texts, budget, Answer(**settings))


def test_a_history_reads_one_title_a_line_and_the_answer_goes_on_from_there():
    reads = encoder(LINES, "movies/lines")
    prompt = reads.prompt([0, 2])
    assert prompt.text == " Heat (1995)\n Up (2009)\n"
    assert reads.answer(1) == " Alien (1979)"
    whole = prompt.ids + reads.answer_ids(1)
    assert LINES.decode(whole) == "<s> Heat (1995)\n Up (2009)\n Alien (1979)\n"
    assert whole[0] == LINES.bos_token_id
    assert whole[-1] == LINES.eos_token_id


def test_the_oldest_history_is_dropped_first_and_no_title_is_cut():
    context = list(range(10))
    whole = encoder(LINES, "movies/lines", budget=10_000).prompt(context)
    for budget in range(8, len(whole.ids) + 1):
        prompt = encoder(LINES, "movies/lines", budget=budget).prompt(context)
        assert len(prompt.ids) <= budget
        assert prompt.text == "".join(f" {TITLES[item]}\n" for item in context[10 - prompt.kept :])


def test_one_more_item_would_not_have_fitted():
    for budget in range(8, 90):
        kept = encoder(LINES, "movies/lines", budget=budget).prompt(range(10)).kept
        if kept < 10:
            longer = encoder(LINES, "movies/lines", budget=10_000).prompt(range(9 - kept, 10))
            assert len(longer.ids) > budget


@settings(deadline=None, max_examples=150)
@given(
    context=st.lists(st.integers(0, len(TITLES) - 1), max_size=40),
    room=st.integers(0, 250),
    reader=st.sampled_from([LINES, CHAT, PIECES]),
    template=st.sampled_from([load_template("movies/lines"), load_template("movies/next-title"), NUMBERED]),
)
def test_a_rendered_prompt_never_exceeds_its_budget_and_drops_the_oldest(
    context: list[int], room: int, reader: PreTrainedTokenizerFast, template: Any
):
    bare = encode(reader, template.render([]), " Heat", eos=True)[0]
    assume(bare or (context and room > 40))  # nothing at all is no prompt; tested below
    budget = len(bare) + room
    reads = Encoder(reader, template, TITLES, budget, TITLE)
    prompt = reads.prompt(context)
    latest = context[len(context) - prompt.kept :]
    assert len(prompt.ids) <= budget
    assert prompt.text == template.render([reads._items[item] for item in latest])
    assert encode(reader, prompt.text, reads.answer(0), eos=True) == (prompt.ids, reads.answer_ids(0))
    more = Encoder(reader, template, TITLES, budget + 20, TITLE).prompt(context)
    assert more.kept >= prompt.kept


@settings(deadline=None, max_examples=50)
@given(
    contexts=st.lists(st.lists(st.integers(0, len(TITLES) - 1), min_size=1, max_size=30), max_size=6),
    budget=st.integers(20, 120),
)
def test_prompts_made_together_are_those_made_alone(contexts: list[list[int]], budget: int):
    together = encoder(LINES, "movies/lines", budget).prompts(contexts)
    assert together == [encoder(LINES, "movies/lines", budget).prompt(context) for context in contexts]


def test_a_template_that_does_not_fit_without_history_is_refused():
    with pytest.raises(PromptFault, match=r"takes \d+ tokens with no history at all, and prompt.budget is 8"):
        encoder(CHAT, "movies/next-title", budget=8).prompt([1, 2])


def test_a_newcomer_gets_a_prompt_without_history():
    assert encoder(LINES, "movies/lines").prompt([]).ids == [LINES.bos_token_id]
    assert encoder(CHAT, "movies/next-title").prompt([]).kept == 0
    with pytest.raises(PromptFault, match="the prompt is empty, and the tokenizer has no BOS token"):
        encoder(CHAT, "movies/lines").prompt([])


def test_an_answer_is_the_letter_of_its_place_and_one_token():
    reads = encoder(CHAT, "movies/pick-letter", style="letter", eos=False)
    offered = [4, 0, 9]
    prompt = reads.prompt([1, 2], offered)
    assert prompt.text.endswith("A. Jaws (1975)\nB. Heat (1995)\nC. Twelve Monkeys (1995)\n\nAnswer:")
    assert [reads.answer(item, offered) for item in offered] == [" A", " B", " C"]
    ids = reads.answers_ids(offered, offered)
    assert [len(one) for one in ids] == [1, 1, 1]
    assert len({one[0] for one in ids}) == 3
    assert CHAT.decode(ids[1]) == " B"


def test_more_candidates_than_labels_are_refused():
    films = [f"Film {n}" for n in range(99)]
    reads = encoder(CHAT, "movies/pick-letter", budget=1000, style="letter", eos=False, texts=films)
    assert reads.labels.startswith("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    count = len(reads.labels)
    reads.prompt([0], range(1, count + 1))
    with pytest.raises(PromptFault, match=rf"{count + 1} candidates and {count} labels: .*A, B, C"):
        reads.prompt([0], range(1, count + 2))


def test_letters_need_candidates():
    reads = encoder(CHAT, "movies/pick-letter", style="letter", eos=False)
    with pytest.raises(PromptFault, match="lists candidates, and there are none"):
        reads.prompt([0])
    with pytest.raises(PromptFault, match="no candidates were given"):
        reads.answer(0)


def test_template_and_answer_style_must_agree():
    with pytest.raises(PromptFault, match=r"this template is for style title, and answer.style is letter"):
        encoder(CHAT, "movies/next-title", style="letter")


def test_the_end_token_belongs_to_the_answer_only_if_asked_for():
    with_end, without = encoder(LINES, "movies/lines"), encoder(LINES, "movies/lines", eos=False)
    assert with_end.answer_ids(3) == [*without.answer_ids(3), LINES.eos_token_id]


def test_a_tokenizer_without_an_end_token_cannot_end_an_answer():
    endless = readers.chat()
    endless.eos_token = None
    with pytest.raises(PromptFault, match=r"no end token: set answer\.eos: false"):
        encoder(endless, "movies/next-title")
    assert encoder(endless, "movies/next-title", eos=False).answer_ids(0)


def test_a_title_cannot_end_the_document_or_begin_another_line():
    reads = encoder(LINES, "movies/lines", texts=["Heat\n Alien", "<s> Up", "Big"])
    prompt = reads.prompt([0, 1, 2])
    assert prompt.text == " Heat Alien\n < s> Up\n Big\n"
    assert prompt.ids.count(LINES.bos_token_id) == 1
    assert prompt.ids.count(LINES.eos_token_id) == 3


def test_an_item_without_text_is_named():
    with pytest.raises(PromptFault, match="item 1 has no text"):
        encoder(LINES, "movies/lines", texts=["Heat", " \n"])


def test_a_prompt_that_would_share_a_token_with_its_answer_is_refused():
    reads = Encoder(readers.tangled("watches next: Heat"), load_template("movies/next-title"), ["Heat"], 512, TITLE)
    with pytest.raises(
        PromptFault, match=r"ends in .*watches next:' .* ' Heat': .* the boundary between them would move"
    ):
        reads.answer_ids(0)


def test_an_answer_that_reads_otherwise_behind_a_long_prompt_is_found_out():
    reads = encoder(CHAT, "movies/next-title")
    prompts = reads.prompts([[1, 2], [3]])
    reads.verify(prompts, [5, 6])
    reads._answers[6] = [0]
    with pytest.raises(PromptFault, match="takes other tokens behind this prompt"):
        reads.verify(prompts, [5, 6])
