"""A protocol by name is nothing but fields, and a recipe that says otherwise beside the name is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from llmrec.recipe.loader import dump_recipe, load_recipe
from llmrec.recipe.presets import PRESETS, Protocol
from llmrec.recipe.sections import Recipe
from tests.recipe.desk import fault, faults, read, written

NAMES = list(PRESETS)


def test_a_recipe_takes_exactly_the_names_that_there_are() -> None:
    assert list(get_args(Protocol)) == NAMES == [
        "time", "sasrec-loo", "recbole-loo", "llamarec-composed", "sdpo-hr1-all",
    ]  # fmt: skip


def test_a_recipe_that_names_none_asks_as_time_does(tmp_path: Path) -> None:
    unnamed, named = read(tmp_path, ""), read(tmp_path, "protocol: time")
    assert unnamed.protocol is None
    assert unnamed.model_copy(update={"protocol": "time"}) == named


@pytest.mark.parametrize(
    ("name", "method", "seen", "two_stage", "primary", "at"),
    [
        ("time", "time", "masked", None, "ndcg@10", [1, 5, 10, 20]),
        ("sasrec-loo", "last", "masked", None, "ndcg@10", [1, 5, 10, 20]),
        ("recbole-loo", "last", "ranked", None, "ndcg@10", [1, 5, 10, 20]),
        ("llamarec-composed", "last", "masked", 20, "ndcg@10", [1, 5, 10, 20]),
        ("sdpo-hr1-all", "time", "masked", None, "hit@1", [1]),
    ],
)
def test_what_each_comes_to(
    tmp_path: Path, name: str, method: str, seen: str, two_stage: int | None, primary: str, at: list[int]
) -> None:
    recipe = read(tmp_path, f"protocol: {name}")
    assert (recipe.split.method, recipe.evaluate.seen, recipe.candidates.two_stage) == (method, seen, two_stage)
    assert (recipe.evaluate.primary, recipe.evaluate.at) == (primary, at)
    assert (recipe.candidates.count, recipe.candidates.negatives) == (20, "uniform")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_under_it_written_out_is_read_back_as_it_was(tmp_path: Path, name: str) -> None:
    recipe = read(tmp_path, f"protocol: {name}\nevaluate: {{bootstrap: 300}}")
    assert load_recipe(written(tmp_path, dump_recipe(recipe))).recipe == recipe


def test_what_a_protocol_leaves_open_is_the_recipe_s(tmp_path: Path) -> None:
    recipe = read(
        tmp_path,
        """\
        protocol: sdpo-hr1-all
        split: {method: last}
        evaluate: {at: [1, 3]}
        """,
    )
    assert (recipe.split.method, recipe.evaluate.at, recipe.evaluate.primary) == ("last", [1, 3], "hit@1")
    assert read(tmp_path, "protocol: recbole-loo", "evaluate.at=[7]", "evaluate.primary=mrr@7").evaluate.at == [7]


def test_what_makes_it_what_it_is_may_be_said_again(tmp_path: Path) -> None:
    same = read(tmp_path, "protocol: llamarec-composed\ncandidates: {two_stage: 20}\nsplit: {method: last}")
    assert same == read(tmp_path, "protocol: llamarec-composed")


def test_and_not_otherwise(tmp_path: Path) -> None:
    told = faults(
        tmp_path,
        """\
        protocol: llamarec-composed
        split:
          method: time
        candidates:
          two_stage: 50
        evaluate:
          seen: ranked
          rankers: [popularity]
        """,
    )
    another = "so leave this out, or leave out `protocol`"
    assert told == [
        f'r.yaml:6: split.method: found the text "time"; llamarec-composed is last here, {another}',
        f"r.yaml:8: candidates.two_stage: found the number 50; llamarec-composed is 20 here, {another}",
        f'r.yaml:10: evaluate.seen: found the text "ranked"; llamarec-composed is masked here, {another}',
        "r.yaml:11: evaluate.rankers: llamarec-composed reranks what the retriever lists; add retriever",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("time", "split: {method: last}"),
        ("time", "evaluate: {seen: ranked}"),
        ("sasrec-loo", "split: {method: time}"),
        ("sasrec-loo", "evaluate: {seen: ranked}"),
        ("recbole-loo", "evaluate: {seen: masked}"),
        ("llamarec-composed", "candidates: {two_stage: null}"),
        ("sdpo-hr1-all", "candidates: {count: 100}"),
        ("sdpo-hr1-all", "evaluate: {primary: ndcg@1}"),
    ],
)
def test_each_refuses_what_would_make_it_another(tmp_path: Path, name: str, text: str) -> None:
    assert f"{name} is " in fault(tmp_path, f"protocol: {name}\n{text}")
    assert f"{name} is " in fault(tmp_path, text, f"protocol={name}")  # the name may come from the command line


def test_the_command_line_is_told_so_too(tmp_path: Path) -> None:
    assert fault(tmp_path, "protocol: time", "split.method=last").startswith("command line: split.method: found")
    assert read(tmp_path, "split: {method: last}", "protocol=time", "split.method=time").split.method == "time"


def test_a_name_that_is_none_is_told_the_nearest(tmp_path: Path) -> None:
    told = fault(tmp_path, "protocol: sasrec_loo")
    assert told.startswith('r.yaml:4: protocol: found the text "sasrec_loo"; expected one of time, sasrec-loo')
    assert "did you mean sasrec-loo?" in told


@pytest.mark.parametrize("section", [None, 3, [], "last"])
def test_a_section_that_is_none_is_told_as_ever(tmp_path: Path, section: Any) -> None:
    (told,) = faults(tmp_path, f"protocol: recbole-loo\nsplit: {section!r}\n".replace("None", "null"))
    assert told.startswith("r.yaml:5: split: ")


def test_a_recipe_that_is_no_file_is_held_to_it_as_well() -> None:
    base = {"name": "r", "data": {"path": "f.csv"}, "model": {"build": {}}, "protocol": "recbole-loo"}
    given = {**base, "evaluate": {"at": [5], "primary": "hit@5"}}
    assert Recipe.model_validate(given).evaluate.seen == "ranked"
    assert given["evaluate"] == {"at": [5], "primary": "hit@5"}  # what was given stays as it was
    with pytest.raises(ValidationError, match="recbole-loo is last here"):
        Recipe.model_validate({**base, "split": {"method": "time"}})
