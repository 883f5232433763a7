"""Recipes are read whole, and every fault is told at once, at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec.errors import RecipeFault
from llmrec.recipe.loader import load_recipe
from tests.recipe.desk import fault, faults, read, written


def test_a_small_recipe_takes_every_default(tmp_path: Path) -> None:
    recipe = read(tmp_path, "")
    assert recipe.name == "small"
    assert recipe.split.method == "time"
    assert list(recipe.arms) == ["orpo"]


def test_a_recipe_knows_its_folder(tmp_path: Path) -> None:
    loaded = load_recipe(written(tmp_path, "name: x\ndata: {path: f.csv}\nmodel: {name: a/b}\n"))
    assert loaded.here == tmp_path


def test_all_faults_are_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    told = faults(
        tmp_path,
        """\
        splitt: {method: last}
        retriever:
          layers: 2.5
          leyers: 3
        train:
          learning_rte: 1.0e-4
        lora:
          rank: 16
        """,
    )
    assert told == [
        "r.yaml:4: splitt: is not a key of a recipe; did you mean split?",
        "r.yaml:6: retriever.layers: found the number 2.5; expected a whole number (Blocks, one above another)",
        "r.yaml:7: retriever.leyers: is not a key of `retriever`; did you mean layers?",
        "r.yaml:9: train.learning_rte: is not a field of trl's ORPOConfig; did you mean learning_rate?",
        "r.yaml:11: lora.rank: is not a field of peft's LoraConfig: it is called r",
    ]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    told = faults(tmp_path, "seed: 3\n", small=False)
    assert [line.split(" (")[0] for line in told] == [
        "r.yaml:1: name: is missing",
        "r.yaml:1: data: is missing",
        "r.yaml:1: model: is missing",
    ]


def test_a_word_that_is_no_choice_is_told_the_choices(tmp_path: Path) -> None:
    assert fault(tmp_path, "split: {method: lats}").startswith(
        'r.yaml:4: split.method: found the text "lats"; expected one of last, time; did you mean last?'
    )


def test_a_number_out_of_bounds_is_told_the_bound(tmp_path: Path) -> None:
    assert "split.quantile: found the number 1.5; expected a number below 1" in fault(
        tmp_path, "split: {quantile: 1.5}"
    )


@pytest.mark.parametrize("word", ["yes", "on", "no", "off", "true"])
def test_a_switch_is_no_number(tmp_path: Path, word: str) -> None:
    assert "retriever.layers: found the switch" in fault(tmp_path, f"retriever: {{layers: {word}}}")
    assert "lora.r: found the switch" in fault(tmp_path, f"lora: {{r: {word}}}")
    assert "evaluate.at: found the switch" in fault(tmp_path, f"evaluate: {{at: [10, {word}]}}")
    assert "pairs.from.uniform.share: found the switch" in fault(tmp_path, f"pairs: {{from: {{uniform: {word}}}}}")


def test_a_switch_where_a_word_is_wanted_says_to_quote_it(tmp_path: Path) -> None:
    assert 'put the word in quotes ("no") to keep it' in fault(tmp_path, "train: {eval_strategy: no}")
    assert 'put the word in quotes ("no") to keep it' in fault(tmp_path, "prompt: {template: no}")
    assert read(tmp_path, 'train: {eval_strategy: "no"}').train == {"eval_strategy": "no"}


def test_a_small_number_that_yaml_reads_as_text_is_a_number(tmp_path: Path) -> None:
    recipe = read(tmp_path, "retriever: {learning_rate: 5e-6}\ntrain: {learning_rate: 5e-6}\n")
    assert recipe.retriever.learning_rate == recipe.train["learning_rate"] == 5e-6


def test_braces_without_quotes_are_recognised(tmp_path: Path) -> None:
    told = faults(tmp_path, "name: x\nmodel: {build: {}}\ndata: {path: f.csv, text: {title}}\n", small=False)
    assert any('needs quotes, as in "{title}"' in line for line in told)


def test_a_section_is_judged_as_a_whole_beside_its_unknown_keys(tmp_path: Path) -> None:
    told = faults(tmp_path, "name: x\ndata: {path: f, dataset: sample, pth: 3}\nmodel: {build: {}}\n", small=False)
    assert told == [
        "r.yaml:2: data.pth: is not a key of `data`; did you mean path?",
        "r.yaml:2: data: give either dataset (a manifest) or path (a file of one's own)",
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("learning_rate: 1", "it belongs to retriever.learning_rate or train.learning_rate"),
        ("lora: {learning_rate: 1.0}", "it belongs to train.learning_rate"),
        ("split:\n  evaluate: {}", "`evaluate` is a section of its own, so indent it less"),
        ("torch_dtype: bfloat16", "use model.dtype"),
        ("train: {warmup_ratio: 0.1}", "use warmup_steps: 0.1"),
        ("train: {torch_dtype: bfloat16}", "use model.dtype"),
        ("train: {max_length: 512}", "prompt.budget"),
        ("train: {beta: 0.1}", "use objective.beta"),
        ("train: {seed: 1}", "the recipe's own `seed`"),
        ("lora: {task_type: CAUSAL_LM}", "always CAUSAL_LM"),
        ("lora: {eva_config: {}}", "which a recipe cannot write down"),
    ],
)
def test_a_key_in_the_wrong_place_is_told_the_right_one(tmp_path: Path, text: str, hint: str) -> None:
    assert hint in fault(tmp_path, text)


def test_unknown_datasets_and_templates_are_told_the_nearest(tmp_path: Path) -> None:
    told = faults(
        tmp_path,
        """\
        name: x
        data: {dataset: movilens-100k}
        prompt: {template: movies/next-titel}
        model: {build: {}}
        """,
        small=False,
    )
    assert "did you mean movielens-100k" in told[0]
    assert told[0].startswith("r.yaml:2: data.dataset: found movilens-100k")
    assert "did you mean movies/next-title" in told[1]


def test_a_template_of_ones_own_lies_beside_the_recipe(tmp_path: Path) -> None:
    written(tmp_path, "{{ history }}", "mine.jinja")
    assert read(tmp_path, "prompt: {template: mine.jinja}").prompt.template == "mine.jinja"


def test_fused_needs_both_its_sides(tmp_path: Path) -> None:
    told = fault(tmp_path, "evaluate: {rankers: [popularity, retriever, fused]}")
    assert told.endswith("rankers has fused, which mixes retriever and language, without language")


class TestArms:
    def test_faults_stand_at_the_arm_s_own_line(self, tmp_path: Path) -> None:
        told = faults(
            tmp_path,
            """\
            arms:
              before: {objective: null}
              wild:
                model: {dtyp: float16}
                objective: {beta: -1}
                train: {learning_rte: 1.0e-3}
                lera: {}
            """,
        )
        assert [line.split(";")[0] for line in told] == [
            "r.yaml:7: arms.wild.model.dtyp: is not a key of `model`",
            "r.yaml:8: arms.wild.objective.beta: found the number -1",
            "r.yaml:9: arms.wild.train.learning_rte: is not a field of trl's ORPOConfig",
            "r.yaml:10: arms.wild.lera: is not a key of an arm",
        ]

    def test_a_fault_of_the_recipe_is_not_told_again_by_each_arm(self, tmp_path: Path) -> None:
        text = "objective: {beta: -1}\narms:\n  a: {objective: {name: orpo}}\n  b: {objective: {name: orpo}}\n"
        assert fault(tmp_path, text).startswith("r.yaml:4: objective.beta")

    def test_a_second_model_needs_the_first_taken_away(self, tmp_path: Path) -> None:
        assert "arms.big.model: give either" in fault(tmp_path, "arms: {big: {model: {name: a/b}}}")
        recipe = read(tmp_path, "arms: {big: {model: {name: a/b, build: null}}}")
        assert recipe.arm("big").model.name == "a/b"

    def test_a_built_model_is_folded_field_by_field(self, tmp_path: Path) -> None:
        recipe = read(tmp_path, "arms: {deep: {model: {build: {layers: 9}}}}", "model.build.d_model=32")
        build = recipe.arm("deep").model.build
        assert build is not None
        assert (build.layers, build.d_model) == (9, 32)

    def test_an_arm_cannot_have_a_ranker_s_name(self, tmp_path: Path) -> None:
        told = faults(tmp_path, "arms: {retriever: {}, fused-s7: {}, fusion: {}}")
        assert [line.split(";")[0] for line in told] == [
            "r.yaml:4: arms.retriever: a ranker has this name",
            "r.yaml:4: arms.fused-s7: a ranker has this name",
        ]

    def test_an_arm_cannot_have_the_name_of_another_s_seed(self, tmp_path: Path) -> None:
        assert "arms.a-s8: another arm's seeds have folders of this name" in fault(
            tmp_path, "arms: {a: {}, a-s8: {}}", "seeds=2"
        )
        assert read(tmp_path, "arms: {a: {}, a-s8: {}}").seeds == 1

    def test_an_adapter_to_start_from_is_an_arm_or_a_folder(self, tmp_path: Path) -> None:
        text = "arms:\n  sft: {objective: {name: sft}}\n  dpo: {objective: {name: dpo}, lora: {init_from: %s}}"
        assert fault(tmp_path, text % "sfd").endswith("found sfd, neither an arm nor a folder here; did you mean sft?")
        assert fault(tmp_path, text % "else").startswith("r.yaml:6: arms.dpo.lora.init_from: found else")
        (tmp_path / "else").mkdir()
        for start in ("sft", "else", "runs/x/train/orpo/adapter"):
            assert read(tmp_path, text % start).arm("dpo").lora["init_from"].endswith(start)

    def test_an_adapter_to_start_from_brings_its_own_rank(self, tmp_path: Path) -> None:
        text = "lora: {init_from: runs/x/adapter, r: 4}"
        assert fault(tmp_path, text) == "r.yaml:4: lora.r: the adapter of init_from brings its own; take one away"

    def test_no_arms_at_all_is_a_fault(self, tmp_path: Path) -> None:
        assert "arms: is empty" in fault(tmp_path, "arms: {}")


class TestOverrides:
    def test_they_are_read_as_yaml(self, tmp_path: Path) -> None:
        recipe = read(tmp_path, "", "seed=11", "evaluate.at=[1, 10]", "train.learning_rate=1e-4", "objective=null")
        assert (recipe.seed, recipe.evaluate.at, recipe.train, recipe.objective) == (
            11, [1, 10], {"learning_rate": 1e-4}, None,
        )  # fmt: skip

    def test_they_win_over_the_file_and_in_their_order(self, tmp_path: Path) -> None:
        assert read(tmp_path, "seed: 3", "seed=4", "seed=5").seed == 5

    def test_they_mend_a_fault_of_the_file(self, tmp_path: Path) -> None:
        assert read(tmp_path, "seed: three", "seed=3").seed == 3

    def test_their_faults_name_the_command_line(self, tmp_path: Path) -> None:
        told = faults(tmp_path, "sed: 3", "split.mthod=last", "nonsense", "train=[")
        assert told[:3] == [
            "r.yaml:4: sed: is not a key of a recipe; did you mean seed?",
            "command line: split.mthod: is not a key of `split`; did you mean method?",
            "command line: nonsense: overrides are key=value, as in train.learning_rate=1e-4",
        ]
        assert told[3].startswith("command line: train=[: this is not YAML")

    def test_a_key_below_a_number_is_a_fault(self, tmp_path: Path) -> None:
        assert fault(tmp_path, "seed: 3", "seed.x=1") == "command line: seed.x=1: seed is the number 3, so it has no x"

    def test_a_name_with_dots_is_one_key(self, tmp_path: Path) -> None:
        recipe = read(tmp_path, "arms: {qwen3-0.6b: {}}", "arms.qwen3-0.6b.train.learning_rate=1e-4")
        assert recipe.arm("qwen3-0.6b").train == {"learning_rate": 1e-4}

    def test_an_empty_value_is_nothing(self, tmp_path: Path) -> None:
        assert read(tmp_path, "candidates: {two_stage: 50}", "candidates.two_stage=").candidates.two_stage is None


def test_a_recipe_that_is_not_there_names_the_shipped_ones() -> None:
    with pytest.raises(RecipeFault, match=r"onw-data: no such file.*did you mean own-data"):
        load_recipe("onw-data")
