"""Verbs call one function each: what is handed over, what is printed, and where."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from llmrec.cli import app
from llmrec.cli.stages import STAGES
from llmrec.recipe.presets import PRESETS
from llmrec.recommend import Recommendation

RUNNER = CliRunner()
SMALL = "name: r\ndata: {path: x.csv}\nmodel: {build: {}}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe that holds."""
    path = tmp_path / "r.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the stages were asked for."""
    calls: list[Any] = []
    stages = types.ModuleType("llmrec.stages")
    stages.run_all = lambda loaded, *, runs: calls.append(("all", loaded.recipe.seed, runs))  # type: ignore[attr-defined]
    stages.run_stage = lambda name, loaded, *, runs: calls.append((name, loaded.recipe.seed, runs))  # type: ignore[attr-defined]
    stages.show_prompt = lambda loaded, user, *, runs: f"prompt of {user}"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "llmrec.stages", stages)
    monkeypatch.delenv("LLMREC_RUNS", raising=False)
    return calls


def test_run_hands_over_the_recipe_with_its_overrides(recipe: Path, asked: list[Any]) -> None:
    assert RUNNER.invoke(app, ["run", str(recipe), "seed=11"]).exit_code == 0
    assert RUNNER.invoke(app, ["run", str(recipe), "--runs", "there", "seed=12"]).exit_code == 0
    assert asked == [("all", 11, Path("runs")), ("all", 12, Path("there"))]


def test_each_stage_alone(recipe: Path, asked: list[Any]) -> None:
    for stage in STAGES:
        assert RUNNER.invoke(app, [stage, str(recipe)], env={"LLMREC_RUNS": "elsewhere"}).exit_code == 0
    assert [name for name, _, _ in asked] == [
        "prepare", "retrieve", "pretrain", "pairs", "train", "rank", "evaluate", "report",
    ]  # fmt: skip
    assert {runs for _, _, runs in asked} == {Path("elsewhere")}


def test_prompt_prints_what_the_model_reads(recipe: Path, asked: list[Any]) -> None:
    assert RUNNER.invoke(app, ["prompt", str(recipe), "--user", "17"]).stdout == "prompt of 17\n"


class TestRecipes:
    def test_ls(self) -> None:
        listed = RUNNER.invoke(app, ["recipes", "ls"]).stdout
        assert any(line.startswith("own-data\t") for line in listed.splitlines())
        assert "own-data" in {one["name"] for one in json.loads(RUNNER.invoke(app, ["recipes", "ls", "--json"]).stdout)}

    def test_show_prints_the_file_or_the_whole(self, recipe: Path) -> None:
        assert RUNNER.invoke(app, ["recipes", "show", str(recipe)]).stdout == SMALL
        assert "quantile: 0.9" in RUNNER.invoke(app, ["recipes", "show", str(recipe), "--filled"]).stdout
        assert "seed: 11" in RUNNER.invoke(app, ["recipes", "show", str(recipe), "seed=11"]).stdout

    def test_copy_says_where(self, tmp_path: Path) -> None:
        done = RUNNER.invoke(app, ["recipes", "copy", "own-data", str(tmp_path / "mine.yaml")])
        assert done.stdout == f"{tmp_path / 'mine.yaml'}\n"
        assert RUNNER.invoke(app, ["recipes", "copy", "own-data", str(tmp_path / "mine.yaml")]).exit_code == 2

    def test_check_tells_good_from_bad(self, recipe: Path, tmp_path: Path) -> None:
        assert RUNNER.invoke(app, ["recipes", "check", str(recipe)]).stdout == f"{recipe}: holds\n"
        (tmp_path / "bad.yaml").write_text(SMALL + "sed: 3\nspilt: {}\n", encoding="utf-8")
        done = RUNNER.invoke(app, ["recipes", "check", str(tmp_path)])
        assert done.exit_code == 2
        assert done.stdout == f"{recipe}: holds\n"
        assert len(done.stderr.splitlines()) == 2

    def test_protocols_are_listed_with_what_they_hide(self) -> None:
        lines = RUNNER.invoke(app, ["recipes", "protocols"]).stdout.splitlines()
        assert [line.split("\t")[0] for line in lines] == list(PRESETS)
        said = json.loads(RUNNER.invoke(app, ["recipes", "protocols", "--json"]).stdout)
        assert said["recbole-loo"]["fixed"] == {"split": {"method": "last"}, "evaluate": {"seen": "ranked"}}
        assert said["recbole-loo"]["hides"] == lines[2].split("\t")[2]

    def test_schema_is_json(self) -> None:
        assert "properties" in json.loads(RUNNER.invoke(app, ["recipes", "schema"]).stdout)


class TestRecommend:
    @pytest.fixture(autouse=True)
    def one_film(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def recommend(run: Path, **asked: Any) -> list[Recommendation]:
            return [Recommendation(1, "f2", f"{run} {asked}", 0.5)]

        monkeypatch.setattr("llmrec.recommend.recommend", recommend)

    def test_a_table(self) -> None:
        done = RUNNER.invoke(app, ["recommend", "runs/r", "--user", "17", "-k", "3"])
        assert done.stdout == "1\truns/r {'user': '17', 'history': None, 'k': 3, 'state': None}\tf2\t0.500\n"

    def test_json(self) -> None:
        done = RUNNER.invoke(app, ["recommend", "runs/r", "--history", "A; B", "--json"])
        text = "runs/r {'user': None, 'history': 'A; B', 'k': 10, 'state': None}"
        assert json.loads(done.stdout)[0] == {"rank": 1, "key": "f2", "text": text, "score": 0.5}


def test_export_says_how_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(pairs: Path, form: str, out: Path, chat: Any = None) -> int:
        pl.DataFrame({"form": [form]}).write_parquet(out)
        return 1234

    monkeypatch.setattr("llmrec.pairs.export.export", export)
    out = tmp_path / "sft.parquet"
    done = RUNNER.invoke(app, ["export", "pairs.parquet", "--format", "sft", str(out)])
    assert done.stdout == f"{out}: 1,234 rows\n"
    assert pl.read_parquet(out)["form"].to_list() == ["sft"]
    assert RUNNER.invoke(app, ["export", "pairs.parquet", "--format", "csv", str(out)]).exit_code == 2


class TestModels:
    def test_ls_names_some_to_start_from(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("llmrec.language.hub._cached", lambda: {"me/mine": "1.2M"})
        listed = {one["name"]: one["here"] for one in json.loads(RUNNER.invoke(app, ["models", "ls", "--json"]).stdout)}
        assert listed["Qwen/Qwen3-0.6B"] == ""
        assert listed["me/mine"] == "1.2M"

    def test_get_without_a_network_says_so(self) -> None:
        done = RUNNER.invoke(app, ["models", "get", "nobody/nothing"])
        assert done.exit_code == 2
        assert "not cached here, and the hub cannot be reached" in done.stderr

    def test_get_wants_a_hub_id(self) -> None:
        assert "not a hub id" in RUNNER.invoke(app, ["models", "get", "a b"]).stderr


def test_doctor_speaks_json() -> None:
    done = RUNNER.invoke(app, ["doctor", "--json"])
    assert done.exit_code == 0
    assert {"level", "what", "words"} == set(json.loads(done.stdout)[0])
