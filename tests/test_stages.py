"""What a recipe comes to: which stages, in which folders, in an order in which each finds what it needs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from llmrec import stages, work
from llmrec.errors import DataFault, Disqualified, RunFault
from llmrec.recipe.loader import Loaded
from llmrec.recipe.sections import From, Recipe
from llmrec.run import Run, Stage
from llmrec.stages import plan, run_all, run_stage
from llmrec.task import Task, Turn
from llmrec.work.pairs import asked_in, manifest_of, refuse_listed
from llmrec.work.verdict import rankers_of
from tests.candidates.shop import shop

EVERYBODY = ["popularity", "recent", "transitions", "retriever", "language", "fused"]


def task(folder: Path, **sections: Any) -> Task:
    base = {"name": "r", "data": {"path": "films.csv"}, "model": {"build": {}}, "prompt": {"template": "movies/lines"}}
    return Task(Recipe.model_validate({**base, **sections}), folder, Run(folder / "runs" / "r"))


def planned(folder: Path, **sections: Any) -> dict[str, Stage]:
    return {stage.name: stage for stage in plan(task(folder, **sections))}


def reads(folder: Path, **sections: Any) -> dict[str, Any]:
    """What each stage reads of a recipe."""
    return {name: stage.reads for name, stage in planned(folder, **sections).items()}


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The stages that read something else now."""
    assert before.keys() == after.keys()
    return [name for name in before if before[name] != after[name]]


TWO_ARMS: dict[str, Any] = {"arms": {"before": {"objective": None}, "orpo": {}}}


def test_the_stages_of_the_main_job(tmp_path: Path) -> None:
    assert list(planned(tmp_path, **TWO_ARMS)) == [
        "prepare", "candidates", "retrieve", "pretrain", "pairs", "train/orpo",
        "rankings/popularity", "rankings/recent", "rankings/transitions", "rankings/retriever",
        "rankings/before", "rankings/orpo", "rankings/fused", "evaluate", "report",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {**TWO_ARMS, "seeds": 3},
        {"candidates": {"two_stage": 50}},
        {"model": {"name": "some/model"}},
        {"objective": None, "arms": {"as_it_is": {"objective": None}}},
        {
            "arms": {
                "a": {"model": {"build": {"layers": 9}}},
                "b": {"objective": None, "model": {"build": {"layers": 8}}},
            }
        },
        {"pairs": {"from": {"uniform": 1.0}}},
        *({"evaluate": {"rankers": [one]}} for one in EVERYBODY[:-1]),
    ],
)
def test_whatever_a_stage_needs_comes_before_it(tmp_path: Path, sections: dict[str, Any]) -> None:
    done: set[str] = set()
    for name, stage in planned(tmp_path, **sections).items():
        assert set(stage.needs) <= done, name
        done.add(name)


def test_each_seed_of_an_arm_has_folders_of_its_own_and_fused_goes_with_it(tmp_path: Path) -> None:
    stages = planned(tmp_path, **TWO_ARMS, seeds=2, seed=7)
    trained = [name for name in stages if name.startswith("train/")]
    assert trained == ["train/orpo-s7", "train/orpo-s8"]
    assert [stages[name].reads["seed"] for name in trained] == [7, 8]
    assert [name for name in stages if name.startswith("rankings/")][-5:] == [
        "rankings/before", "rankings/orpo-s7", "rankings/orpo-s8", "rankings/fused-s7", "rankings/fused-s8",
    ]  # fmt: skip
    assert "rankings/orpo-s8" in stages["rankings/fused-s8"].needs


def test_an_arm_without_an_objective_is_ranked_and_never_trained(tmp_path: Path) -> None:
    stages = planned(tmp_path, **TWO_ARMS)
    assert "train/before" not in stages
    assert not any(need.startswith("train/") for need in stages["rankings/before"].needs)


def test_where_no_arm_is_trained_there_are_no_pairs(tmp_path: Path) -> None:
    stages = planned(tmp_path, arms={"before": {"objective": None}})
    assert "pairs" not in stages
    assert not stages["retrieve"].reads["mines"]


def test_arms_of_one_architecture_share_its_pre_training(tmp_path: Path) -> None:
    stages = planned(tmp_path, arms={"a": {}, "b": {"train": {"learning_rate": 1e-3}}})
    assert [name for name in stages if name.startswith("pretrain")] == ["pretrain"]
    assert all("pretrain" in stages[f"train/{arm}"].needs for arm in "ab")


def test_an_arm_may_start_from_the_adapter_of_another(tmp_path: Path) -> None:
    arms = {"sft": {"objective": {"name": "sft"}}, "dpo": {"objective": {"name": "dpo"}, "lora": {"init_from": "sft"}}}
    assert "train/sft" in planned(tmp_path, arms=arms)["train/dpo"].needs
    several = planned(tmp_path, arms=arms, seeds=2)
    assert "train/sft-s8" in several["train/dpo-s8"].needs
    assert "train/sft-s7" not in several["train/dpo-s8"].needs


@pytest.mark.parametrize(
    ("sft", "said"),
    [
        ({"objective": None}, "no arm that is tuned before it"),
        ({"model": {"build": {"layers": 9}}}, "sft tunes another model"),
    ],
)
def test_an_arm_that_cannot_be_started_from_is_refused(tmp_path: Path, sft: dict[str, Any], said: str) -> None:
    dpo = {"objective": {"name": "dpo"}, "lora": {"init_from": "sft"}}
    with pytest.raises(ValueError, match=said):
        planned(tmp_path, arms={"sft": sft, "dpo": dpo})
    with pytest.raises(ValueError, match="list it above"):
        planned(tmp_path, arms={"dpo": dpo, "sft": {}})


def test_an_arm_of_another_architecture_is_pre_trained_by_itself(tmp_path: Path) -> None:
    stages = planned(tmp_path, arms={"a": {}, "deep": {"model": {"build": {"layers": 9}}}})
    assert [name for name in stages if name.startswith("pretrain")] == ["pretrain", "pretrain-2"]
    assert "pretrain-2" in stages["train/deep"].needs
    assert "pretrain-2" not in stages["train/a"].needs


def test_a_model_by_name_is_not_pre_trained(tmp_path: Path) -> None:
    assert "pretrain" not in planned(tmp_path, model={"name": "some/model"})


def test_the_retrievers_first_are_reranked_where_that_is_asked_for(tmp_path: Path) -> None:
    assert "rankings/retriever" not in planned(tmp_path)["rankings/orpo"].needs
    assert "rankings/retriever" in planned(tmp_path, candidates={"two_stage": 50})["rankings/orpo"].needs


class TestWhatChangesWhat:
    def test_the_depths_of_the_metrics(self, tmp_path: Path) -> None:
        before, after = ({"at": [1, 10, 20]}, {"at": [10, 20]})
        assert changed(reads(tmp_path, evaluate=before), reads(tmp_path, evaluate=after)) == ["evaluate"]

    def test_the_deepest_of_them_is_how_far_the_catalogue_is_ranked(self, tmp_path: Path) -> None:
        after = changed(reads(tmp_path), reads(tmp_path, evaluate={"at": [1, 10, 50]}))
        assert after == [f"rankings/{r}" for r in [*EVERYBODY[:4], "orpo", "fused"]] + ["evaluate"]

    def test_whether_seen_items_are_ranked(self, tmp_path: Path) -> None:
        after = changed(reads(tmp_path), reads(tmp_path, evaluate={"seen": "ranked"}))
        assert after == [name for name in reads(tmp_path) if name.startswith("rankings/")] + ["evaluate"]

    def test_a_protocol_by_what_it_says_and_its_name_on_the_page_alone(self, tmp_path: Path) -> None:
        assert changed(reads(tmp_path), reads(tmp_path, protocol="time")) == ["report"]
        two, after = reads(tmp_path, protocol="sasrec-loo"), reads(tmp_path, protocol="recbole-loo")
        assert changed(two, after) == [name for name in two if name.startswith("rankings/")] + ["evaluate", "report"]

    def test_the_step_size_of_one_arm(self, tmp_path: Path) -> None:
        arms: dict[str, Any] = {"a": {}, "b": {}}
        after = reads(tmp_path, arms={**arms, "b": {"train": {"learning_rate": 1e-3}}})
        assert changed(reads(tmp_path, arms=arms), after) == ["train/b"]

    def test_the_run_s_name(self, tmp_path: Path) -> None:
        assert changed(reads(tmp_path), reads(tmp_path, name="other")) == ["report"]

    def test_the_seed_changes_everything_but_the_page(self, tmp_path: Path) -> None:
        before = reads(tmp_path)
        assert changed(before, reads(tmp_path, seed=8)) == [name for name in before if name != "report"]

    def test_the_data_s_content_and_not_its_place(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        for folder in (one, two):
            folder.mkdir()
            (folder / "films.csv").write_text("user,item\n1,2\n", encoding="utf-8")
        assert changed(reads(one), reads(two)) == []
        assert changed(reads(one), reads(tmp_path, data={"path": str(two / "films.csv")})) == []
        (two / "films.csv").write_text("user,item\n1,3\n", encoding="utf-8")
        assert changed(reads(one), reads(two)) == ["prepare"]

    def test_a_template_s_content(self, tmp_path: Path) -> None:
        asked = {"prompt": {"template": "mine.jinja"}}
        (tmp_path / "mine.jinja").write_text("one", encoding="utf-8")
        before = reads(tmp_path, **asked)
        (tmp_path / "mine.jinja").write_text("two", encoding="utf-8")
        assert changed(before, reads(tmp_path, **asked)) == ["pretrain", "pairs", "rankings/orpo"]

    def test_a_dataset_s_own_files(self, tmp_path: Path) -> None:
        manifest = (
            "name: mine\ntitle: Mine\nabout: Films.\nlicence: none\ncitation: none\n"
            "sources: [{files: [{path: films.csv}], interactions: {file: films.csv}}]\n"
        )
        (tmp_path / "mine.yaml").write_text(manifest, encoding="utf-8")
        (tmp_path / "films.csv").write_text("user,item\n1,2\n", encoding="utf-8")
        before = reads(tmp_path, data={"dataset": "mine.yaml"})
        (tmp_path / "films.csv").write_text("user,item\n1,3\n", encoding="utf-8")
        assert changed(before, reads(tmp_path, data={"dataset": "mine.yaml"})) == ["prepare"]
        before = reads(tmp_path, data={"dataset": "mine.yaml"})
        (tmp_path / "mine.yaml").write_text(manifest.replace("Films", "All films"), encoding="utf-8")
        assert changed(before, reads(tmp_path, data={"dataset": "mine.yaml"})) == []

    def test_a_model_folder_s_files(self, tmp_path: Path) -> None:
        (tmp_path / "lm").mkdir()
        before = reads(tmp_path, model={"name": "lm"})
        (tmp_path / "lm" / "model.safetensors").write_bytes(b"weights")
        assert changed(before, reads(tmp_path, model={"name": "lm"})) == ["pairs", "train/orpo", "rankings/orpo"]


def loaded(asked: Task) -> Loaded:
    return Loaded(asked.recipe, asked.here / "r.yaml", asked.here)


@pytest.mark.parametrize(
    ("verb", "first"),
    [("retrieve", "prepare"), ("pretrain", "prepare"), ("pairs", "prepare"), ("train", "prepare"), ("rank", "prepare"),
     ("evaluate", "prepare"), ("report", "evaluate")],
)  # fmt: skip
def test_a_stage_asked_for_too_early_names_the_command_to_run_first(tmp_path: Path, verb: str, first: str) -> None:
    with pytest.raises(RunFault, match=f"Run `llmrec {first} RECIPE` first") as fault:
        run_stage(verb, loaded(task(tmp_path)), runs=tmp_path / "runs")
    assert fault.value.exit_code == 2


@pytest.mark.parametrize("verb", ["run", "prepare", "rank"])
def test_only_training_is_shared_among_processes(tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    asked = loaded(task(tmp_path))
    with pytest.raises(RunFault, match="Launch only `train`"):
        run_all(asked, runs=tmp_path) if verb == "run" else run_stage(verb, asked, runs=tmp_path)


def test_a_verb_that_a_recipe_has_no_use_for_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage("pretrain", loaded(task(tmp_path, model={"name": "some/model"})), runs=tmp_path / "runs")
    assert capsys.readouterr().err == "pretrain: this recipe has nothing to do here.\n"


def test_an_unfair_comparison_is_refused_after_everything_was_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.path("evaluate").mkdir()
    audit = run.path("evaluate") / "audit.json"
    audit.write_text(json.dumps({"findings": [{"level": "warns", "what": "a tie", "where": "uniform"}]}))
    stages._refuse_disqualified(run)
    audit.write_text(json.dumps({"findings": [{"level": "disqualifies", "what": "a leak", "where": "uniform"}]}))
    with pytest.raises(Disqualified, match="uniform: a leak"):
        stages._refuse_disqualified(run)


def test_a_manifest_beside_the_recipe_is_found_for_the_card(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "data" / "sample.yaml", tmp_path / "mine.yaml")
    recipe = Recipe.model_validate({"name": "own", "data": {"dataset": "mine.yaml"}, "model": {"build": {}}})
    assert manifest_of(recipe, tmp_path)["title"] == "Sample readings"


@pytest.mark.parametrize(("asked", "rule"), [(None, "mean"), ("sum", "sum"), ("validation", "validation")])
def test_tuned_and_untuned_arms_are_scored_by_one_rule(tmp_path: Path, asked: str | None, rule: str) -> None:
    values = {"name": "x", "data": {"path": "a.csv"}, "model": {"build": {}}, "answer": {"rank_by": asked}}
    recipe = Recipe.model_validate({**values, "arms": {"before": {"objective": None}, "orpo": {}}})
    task = Task(recipe, tmp_path, Run(tmp_path))
    assert [work.rule_of(task, one) for one in task.arms] == [rule, rule]


def test_a_control_ranks_with_the_last_arm_and_dealt_titles(tmp_path: Path) -> None:
    rankers = ["retriever", "language", "shuffled_titles"]
    asked = task(tmp_path, arms={"before": {"objective": None}, "orpo": {}}, evaluate={"rankers": rankers}, seeds=2)
    [stage] = [stage for stage in plan(asked) if stage.name == "rankings/shuffled_titles"]
    assert "train/orpo-s7" in stage.needs
    [arm] = [stage for stage in plan(asked) if stage.name == "rankings/orpo-s7"]
    assert stage.reads != arm.reads
    assert "rankings/shuffled_titles" in plan(asked)[-2].needs
    assert rankers_of(asked)["shuffled_titles"] == ["shuffled_titles"]


THREE: list[dict[str, Any]] = [
    {"from": {"uniform": 1}},
    {"from": {"retrieved": {"share": 0.5, "ranks": [20, 150]}, "uniform": 0.5}},
    {"from": {"self_play": 0.5, "uniform": 0.5}},
]


class TestRounds:
    def test_without_rounds_a_recipe_reads_what_it_always_read(self, tmp_path: Path) -> None:
        read, [section] = reads(tmp_path), [Recipe.model_fields["pairs"].default]
        assert read["pairs"]["pairs"] == {
            "rejected": section.rejected,
            "per_user": section.per_user,
            "from": {"uniform": 0.4, "popular": 0.2, "retrieved": 0.4},
        }
        assert read["retrieve"].keys() == {"seed", "retriever", "per_user", "mines"}
        assert read["pairs"].keys() == {"seed", "pairs", "prompt", "answer", "tokenizer"}
        assert read["train/orpo"].keys() == {"model", "lora", "objective", "train", "answer", "seed", "budget"}

    def test_a_guard_writes_other_pairs(self, tmp_path: Path) -> None:
        assert changed(reads(tmp_path), reads(tmp_path, pairs={"guard": {"after": 0}})) == ["pairs"]

    def test_each_round_is_pairs_and_training_and_ranks_where_the_next_plays_itself(self, tmp_path: Path) -> None:
        stages = planned(tmp_path, **TWO_ARMS, rounds=THREE, seeds=2)
        names = list(stages)
        assert names[names.index("pretrain") + 1 : names.index("rankings/popularity")] == [
            "pairs/round-1", "pairs/round-2",
            "rounds/1/train/orpo-s7", "rounds/2/train/orpo-s7", "rounds/2/rank/orpo-s7", "pairs/round-3/orpo-s7",
            "train/orpo-s7",
            "rounds/1/train/orpo-s8", "rounds/2/train/orpo-s8", "rounds/2/rank/orpo-s8", "pairs/round-3/orpo-s8",
            "train/orpo-s8",
        ]  # fmt: skip
        assert {"pairs/round-2", "rounds/1/train/orpo-s7"} <= set(stages["rounds/2/train/orpo-s7"].needs)
        assert {"pairs/round-3/orpo-s8", "rounds/2/train/orpo-s8"} <= set(stages["train/orpo-s8"].needs)
        assert "rounds/2/rank/orpo-s8" in stages["pairs/round-3/orpo-s8"].needs
        assert stages["retrieve"].reads["mined"] == 150
        done: set[str] = set()
        for name, stage in stages.items():
            assert set(stage.needs) <= done, name
            done.add(name)

    def test_another_last_round_leaves_the_ones_before_as_they_are(self, tmp_path: Path) -> None:
        before, after = (reads(tmp_path, rounds=[*THREE[:2], last]) for last in (THREE[0], THREE[1]))
        assert changed(before, after) == ["pairs/round-3"]

    def test_an_arm_that_starts_from_another_does_so_in_the_first_round_alone(self, tmp_path: Path) -> None:
        arms = {
            "sft": {"objective": {"name": "sft"}},
            "dpo": {"objective": {"name": "dpo"}, "lora": {"init_from": "sft"}},
        }
        stages = planned(tmp_path, arms=arms, rounds=[THREE[0], THREE[0], THREE[1]])
        done: list[str] = []
        for name, stage in stages.items():
            assert set(stage.needs) <= set(done), name
            done.append(name)
        assert "train/sft" in stages["rounds/1/train/dpo"].needs
        assert "train/sft" not in stages["rounds/2/train/dpo"].needs

    def test_a_prompt_that_lists_candidates_takes_none_that_were_drawn_around_the_target(self) -> None:
        shares = From.model_validate({"uniform": 0.5, "text_similar": 0.5})
        lists = SimpleNamespace(template=SimpleNamespace(lists_candidates=True, signature="movies/choose@1"))
        with pytest.raises(DataFault, match="text_similar draws around the target, and movies/choose@1 lists"):
            refuse_listed(Turn(0, 0, shares), [lists])
        lists.template.lists_candidates = False
        refuse_listed(Turn(0, 0, shares), [lists])

    def test_what_the_data_lack_is_told_before_a_retriever_is_fitted(self, tmp_path: Path) -> None:
        shares = {"pairs": {"from": {"uniform": 1}}, "rounds": [{}, {"from": {"uniform": 1, "rated_lower": 1}}]}
        asked = task(tmp_path, **shares)
        shop([[0, 1, 2, 3]], films=9).write(asked.run.path("prepare"))
        with pytest.raises(DataFault, match=r"rated_lower has a share, and the histories have no ratings"):
            work.retrieve(asked, tmp_path / "out")

    def test_too_many_rounds_for_the_positions_are_refused(self, tmp_path: Path) -> None:
        asked = task(tmp_path, rounds=[{}] * 3)
        folder = asked.run.path("retrieve")
        folder.mkdir(parents=True)
        pl.DataFrame({"user": [1, 2], "position": [1, 1]}).write_parquet(folder / "queries.parquet")
        with pytest.raises(DataFault, match="2 training positions for 3 rounds, and round 1 has none"):
            asked_in(asked, asked.turns[0])

    def test_a_missing_round_names_its_command(self, tmp_path: Path) -> None:
        with pytest.raises(RunFault, match="Run `llmrec prepare RECIPE` first"):
            run_stage("train", loaded(task(tmp_path, rounds=THREE)), runs=tmp_path / "runs")
        stage = planned(tmp_path, rounds=THREE)["pairs/round-3/orpo"]
        run = Run(tmp_path)
        for need in stage.needs[:-1]:
            run.path(need).mkdir(parents=True)
            (run.path(need) / "stage.json").write_text('{"outputs": {}, "fingerprint": "x"}', encoding="utf-8")
        with pytest.raises(RunFault, match="rounds/2/rank/orpo writes.*Run `llmrec rank RECIPE` first"):
            run.fingerprint(stage)
