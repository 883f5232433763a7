"""Sources of rejected items as a recipe names them: a number or a mapping, and every fault at its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from llmrec.errors import RecipeFault
from llmrec.recipe.loader import dump_recipe, load_recipe
from llmrec.recipe.sections import From, Recipe

HEAD = "name: r\ndata: {path: films.csv}\nmodel: {build: {}}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(HEAD + text, encoding="utf-8")
    return path


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(RecipeFault) as fault:
        load_recipe(write(folder, text))
    return [line.replace(str(folder) + "/", "") for line in fault.value.faults]


def test_a_number_is_a_share_and_a_mapping_has_fields_of_its_own(tmp_path: Path) -> None:
    text = (
        "pairs: {from: {uniform: 0.5, popular: {share: 0.2, exponent: 0.75}, retrieved: {share: 0.3, ranks: [10, 60]}}}"
    )
    recipe = load_recipe(write(tmp_path, text)).recipe
    assert recipe.pairs.sources.shares == {"uniform": 0.5, "popular": 0.2, "retrieved": 0.3}
    written = recipe.pairs.sources.model_dump()
    assert written == {
        "uniform": 0.5,
        "popular": {"share": 0.2, "exponent": 0.75},
        "retrieved": {"share": 0.3, "ranks": [10, 60]},
    }
    (tmp_path / "again.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml").recipe == recipe
    assert yaml.safe_load(dump_recipe(recipe))["pairs"]["from"] == written


def test_fields_that_say_the_default_are_left_out() -> None:
    said = From.model_validate({"popular": {"share": 1, "exponent": 1}, "recent": {"share": 1, "days": 3}})
    assert said.model_dump(mode="json") == {"popular": 1.0, "recent": {"share": 1.0, "days": 3.0}}


def test_every_fault_is_told_at_its_line(tmp_path: Path) -> None:
    text = """pairs:
  from:
    unifrom: 1
    uniform: -1
    popular: {share: 0.1, exponnent: 2}
    retrieved: {share: 0.1, ranks: [9, 3]}
    same_attribute: 0.2
    recent: {share: 0.1, days: soon}
  guard: {after: -1, near_text: 2}
"""
    found = faults(tmp_path, text)
    expected = {
        "r.yaml:6: pairs.from.unifrom: is not a key of `from`; did you mean uniform?",
        "r.yaml:7: pairs.from.uniform.share: found the number -1; expected at least 0",
        "r.yaml:8: pairs.from.popular.exponnent: is not a key of `popular`; did you mean exponent?",
        "r.yaml:9: pairs.from.retrieved.ranks: found [9, 3]; give the first rank and the last, as in [3, 9]",
        "r.yaml:10: pairs.from.same_attribute.field: is missing (The catalogue's field",
        'r.yaml:11: pairs.from.recent.days: found the text "soon"; expected a number',
        "r.yaml:12: pairs.guard.after: found the number -1; expected at least 0",
        "r.yaml:12: pairs.guard.near_text: found the number 2; expected at most 1",
    }
    assert [line for line in expected if not any(one.startswith(line) for one in found)] == [], found
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pairs: {from: {self_play: 1}}", "r.yaml:4: pairs.from.self_play: an adapter plays itself in rounds"),
        ("rounds: [{from: {self_play: 1}}]", "r.yaml:4: rounds.0.from.self_play: before the first round nothing"),
        ("rounds: [{}]\npairs: {from: {self_play: 1}}", "r.yaml:5: pairs.from.self_play: before the first round"),
        (
            "rounds:\n  - {from: {uniform: 1}}\n  - {from: {unifrom: 1}}",
            "r.yaml:6: rounds.1.from.unifrom: is not a key",
        ),
        ("pairs: {from: {uniform: 0}}", "r.yaml:4: pairs.from: needs at least one source with a share above 0"),
        ("pairs: {from: {low_rated: 1}}", "r.yaml:4: pairs.from.low_rated: nothing counts as low; say from which"),
        ("pairs: {from: {skipped: 1}}", "r.yaml:4: pairs.from.skipped: nothing says what was only shown"),
        (
            "rounds: [{}, {from: {self_play: 1}}]\nanswer: {style: letter, eos: false}",
            "r.yaml:4: rounds.1.from.self_play: letters name listed candidates",
        ),
        (
            "pairs: {from: {uniform: 1, text_similar: 1}}\nanswer: {style: letter, eos: false}",
            "r.yaml:4: pairs.from.text_similar: the prompt would list items drawn around the target",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_fitted(tmp_path: Path, text: str, said: str) -> None:
    assert any(line.startswith(said) for line in faults(tmp_path, text)), faults(tmp_path, text)


def over(folder: Path, data: str, text: str) -> Path:
    """A recipe over a file of one's own, with more said of the data."""
    path = write(folder, text)
    path.write_text(path.read_text(encoding="utf-8").replace("path: films.csv", f"path: films.csv, {data}"))
    return path


def told(path: Path) -> list[str]:
    """The faults of a recipe, none where it can be read."""
    try:
        load_recipe(path)
    except RecipeFault as fault:
        return [line.partition(": ")[2] for line in fault.faults]
    return []


def test_a_file_without_a_header_says_what_it_lacks(tmp_path: Path) -> None:
    asked = "pairs: {from: {recent: 1, rated_lower: 1}, guard: {after: 3}}"
    assert told(over(tmp_path, "names: [user, item]", asked)) == [
        "pairs.from.recent: the data have no times: name their column in data.columns.time, or take the source away",
        "pairs.from.rated_lower: the data have no ratings: name their column in data.columns.rating, or take the "
        "source away",
        "pairs.guard.after: the data have no times: name their column in data.columns.time, or take 0 or null here",
    ]
    assert told(over(tmp_path, "names: [user, item, time, stars], columns: {rating: stars}", asked)) == []


def test_a_header_may_have_the_columns_that_a_recipe_does_not_map(tmp_path: Path) -> None:
    """`time` and `rating` are read under these names where nothing is said of them."""
    asked = "pairs: {from: {recent: 1, rated_lower: 1}, guard: {after: 3}}"
    assert told(over(tmp_path, "columns: {user: u, item: i}", asked)) == []


@pytest.mark.parametrize(
    ("data", "source", "said"),
    [
        ("behaviours: {target: [buy]}", "lesser_behaviour: 1", "the data have one kind of interaction"),
        ("behaviours: {target: [buy], exposed: [shown]}", "lesser_behaviour: 1", "the data have one kind"),
        ("behaviours: {target: [buy, cart]}", "lesser_behaviour: 1", None),
        ("behaviours: {target: [buy], context: [view]}", "lesser_behaviour: 1", None),
        ("behaviours: {target: [buy], context: [view]}", "skipped: 1", "nothing says what was only shown"),
        ("behaviours: {target: [buy], exposed: [shown]}", "skipped: 1", None),
        ("columns: {title: t}", "same_attribute: {share: 1, field: genre}", "the catalogue has title; found genre"),
        ("columns: {genre: g}", "same_attribute: {share: 1, field: genre}", None),
        ('text: "{title} ({year})"', "same_attribute: {share: 1, field: year}", None),
        ("items: {path: i.csv}, columns: {genre: g}", "same_attribute: {share: 1, field: genre}", "found genre"),
        ("items: {path: i.csv, columns: {item: i, genre: g}}", "same_attribute: {share: 1, field: genre}", None),
    ],
)
def test_what_a_source_reads_has_to_be_named(tmp_path: Path, data: str, source: str, said: str | None) -> None:
    found = told(over(tmp_path, data, f"pairs: {{from: {{{source}}}}}"))
    assert [said in line for line in found] == ([True] if said else []), found  # type: ignore[operator]


@pytest.mark.parametrize(
    ("ranks", "said"),
    [("[1]", "found a list of 1; expected at least 2"), ("[1, 2, 3]", "found a list of 3; expected at most 2")],
)
def test_ranks_are_two(tmp_path: Path, ranks: str, said: str) -> None:
    (line,) = told(write(tmp_path, f"pairs: {{from: {{retrieved: {{share: 1, ranks: {ranks}}}}}}}"))
    assert line.startswith(f"pairs.from.retrieved.ranks: {said}")


@pytest.mark.parametrize(
    "text",
    [
        "rounds: [{}, {from: {self_play: 1}}]\narms: {a: {lora: {init_from: [x]}}}",
        "rounds: [{}, {from: {self_play: 1}}]\narms: {a: 3}",
        "rounds: [3, {from: [self_play]}]",
    ],
)
def test_what_is_no_mapping_or_text_is_a_fault_like_any_other(tmp_path: Path, text: str) -> None:
    assert told(write(tmp_path, text))


def test_a_column_that_is_called_a_number_is_named(tmp_path: Path) -> None:
    path = over(tmp_path, "columns: {1: x}", "pairs: {from: {same_attribute: {share: 1, field: genre}}}")
    assert any("the catalogue has 1, title; found genre" in line for line in told(path))


def test_no_arm_plays_itself_that_starts_from_one_tuned_on_the_same_positions(tmp_path: Path) -> None:
    arms = "arms: {sft: {objective: {name: sft}}, orpo: {lora: {init_from: sft}}}\n"
    played = told(write(tmp_path, f"{arms}rounds: [{{}}, {{from: {{self_play: 1}}}}]"))
    assert len(played) == 1
    assert played[0].startswith("arms.orpo.lora.init_from: sft was tuned on the positions that orpo plays itself on")
    assert told(write(tmp_path, f"{arms}rounds: [{{}}, {{from: {{uniform: 1}}}}]")) == []


def test_python_is_told_the_same() -> None:
    base = {"name": "r", "data": {"path": "films.csv"}, "model": {"build": {}}}
    with pytest.raises(ValueError, match="pairs.from.self_play: an adapter plays itself in rounds"):
        Recipe.model_validate({**base, "pairs": {"from": {"self_play": 1}}})
