"""A language model of the recipe's own learns the cinema's order, and goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from llmrec.errors import ModelFault
from llmrec.language import pretrain as pretraining
from llmrec.language.load import load_model, load_tokenizer
from llmrec.language.pretrain import pretrain
from llmrec.language.reading import read
from llmrec.language.search import top_k
from llmrec.language.tokenizer import build_tokenizer
from llmrec.language.tree import build_tree
from llmrec.prompts.encoding import Encoder
from llmrec.prompts.template import load_template
from llmrec.recipe.sections import Answer, Build, Model

TITLES = [f"The {place} {kind} (19{n}{m})" for n, kind in enumerate(["Heist", "Western"], 5) for m, place in enumerate(
    ["First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth"])]  # fmt: skip
GENRES = [list(range(8)), list(range(8, 16))]
TINY = Build(
    vocab_size=400, d_model=64, layers=2, heads=4, d_ff=128, window=80, batch_size=4, epochs=60, learning_rate=5e-3
)


TOKENIZER = build_tokenizer([f" {t}" for t in TITLES], 400)


def encoder(template: str = "movies/lines") -> Encoder:
    return Encoder(TOKENIZER, load_template(template), TITLES, 200, Answer())


def pretrained(watched: list[np.ndarray], lines: Encoder, build: Build, out: Path) -> PreTrainedModel:
    return pretrain(watched, lines, TOKENIZER, build, seed=7, out=out)


def histories(people: int = 20) -> list[np.ndarray]:
    return [np.roll(GENRES[p % 2], -(p // 2))[:6] for p in range(people)]


def test_the_next_film_becomes_the_likeliest(tmp_path: Path) -> None:
    lines = encoder()
    model = pretrained(histories(), lines, TINY, tmp_path)
    state = read(model, [lines.prompt([2, 3, 4]).ids, lines.prompt([9, 10]).ids], pad=0)
    said = state.logps([lines.answers_ids(range(len(TITLES)))] * 2)
    best = [int(np.argmax([s.sum().item() for s in row])) for row in said]
    assert best == [5, 11]

    opened: list[int] = []  # a model that knows what comes next looks at little else
    [first, _] = top_k(state, build_tree(lines.answers_ids(range(len(TITLES)))), 1, hidden=[frozenset()] * 2,
                       width=1, on_expand=opened.append)  # fmt: skip
    assert [item for _, item in first] == [5]
    assert sum(opened) <= 12


def test_what_is_saved_is_an_ordinary_checkpoint(tmp_path: Path) -> None:
    model = pretrained(histories(8), encoder(), TINY.model_copy(update={"epochs": 1}), tmp_path)
    section = Model(build=TINY)
    again = load_model(section, here=tmp_path, built=tmp_path)
    ids = torch.tensor([[1, 40, 50, 60]])
    torch.testing.assert_close(again(ids).logits, model(ids).logits)
    assert load_tokenizer(section, here=tmp_path, built=tmp_path).eos_token == "\n"


def test_a_run_that_was_stopped_ends_where_an_unbroken_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = TINY.model_copy(update={"epochs": 3})
    whole = pretrained(histories(), encoder(), build, tmp_path / "whole")

    step, count = pretraining._step, iter(range(100))

    def stopping(*given: Any) -> Any:
        if next(count) == 12:
            raise KeyboardInterrupt
        return step(*given)

    monkeypatch.setattr(pretraining, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        pretrained(histories(), encoder(), build, tmp_path / "broken")
    monkeypatch.setattr(pretraining, "_step", step)
    broken = pretrained(histories(), encoder(), build, tmp_path / "broken")
    for a, b in zip(whole.parameters(), broken.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    logged = [json.loads(line)["epoch"] for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert logged == [1, 2, 3]


def test_a_pass_that_was_logged_but_not_kept_is_logged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, keep = TINY.model_copy(update={"epochs": 3}), pretraining._keep

    def stopping(*given: Any) -> None:
        if given[-1] == 2:
            raise KeyboardInterrupt
        keep(*given)

    monkeypatch.setattr(pretraining, "_keep", stopping)
    with pytest.raises(KeyboardInterrupt):
        pretrained(histories(), encoder(), build, tmp_path)
    monkeypatch.setattr(pretraining, "_keep", keep)
    pretrained(histories(), encoder(), build, tmp_path)
    assert [json.loads(line)["epoch"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_a_template_that_is_no_running_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match=r"movies/next-title is not a running list.*movies/lines"):
        pretrained(histories(), encoder("movies/next-title"), TINY, tmp_path)


def test_a_mamba_model_is_built_the_same_way(tmp_path: Path) -> None:
    build = TINY.model_copy(update={"family": "mamba2", "epochs": 1})
    model = pretrained(histories(8), encoder(), build, tmp_path)
    assert model.config.model_type == "mamba2"


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="heads 5 does not divide d_model 64"):
        pretrained(histories(), encoder(), TINY.model_copy(update={"heads": 5}), tmp_path)


def test_windows_hold_whole_titles_and_lose_none() -> None:
    lines = [[i, 100 + i, 2] for i in range(3, 20)]
    build = TINY.model_copy(update={"window": 10})
    history = np.arange(17)
    rows = pretraining._rows([history], [1], lines, build, seed=1, epoch=0)
    assert all(len(row) <= 10 and row[0] == 1 for row in rows)
    assert [token for row in rows for token in row[1:]] == [token for line in lines for token in line]
