"""A run's memory: what is done is not done again, what changed is, and what was cut short goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from llmrec.errors import RunFault
from llmrec.run import Run, Stage

NEEDS: dict[str, tuple[str, ...]] = {"flour": (), "dough": ("flour",), "bread": ("dough",)}


class Kitchen:
    """Flour, then dough, then bread: three stages, and a diary of what was really done."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.diary: list[str] = []
        self.work: dict[str, Callable[[Path], None]] = {name: self.makes(name) for name in NEEDS}

    def makes(self, name: str, like: str | None = None) -> Callable[[Path], None]:
        """Work that writes the stage's own word, or another, after what it was made of."""

        def work(out: Path) -> None:
            self.diary.append(name)
            made_of = "".join((self.run.path(need) / f"{need}.txt").read_text() + ", " for need in NEEDS[name])
            (out / f"{name}.txt").write_text(made_of + (like or name), encoding="utf-8")

        return work

    def stages(self, oven: int = 220, **more: Mapping[str, Any]) -> list[Stage]:
        reads: dict[str, Mapping[str, Any]] = {"flour": {}, "dough": {"water": 0.7}, "bread": {"oven": oven}, **more}
        return [Stage(name, name, reads[name], NEEDS[name], self.work[name]) for name in NEEDS]

    def bake(self, **settings: Any) -> list[str]:
        """Goes through the stages; what had to be done this time."""
        self.diary.clear()
        for stage in self.stages(**settings):
            self.run.do(stage)
        return list(self.diary)

    def bread(self) -> str:
        return (self.run.path("bread") / "bread.txt").read_text(encoding="utf-8")


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(Run(tmp_path / "runs" / "loaf"))


def test_what_is_done_is_not_done_again_and_is_said_to_be_done(
    kitchen: Kitchen, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kitchen.bake() == ["flour", "dough", "bread"]
    capsys.readouterr()
    assert kitchen.bake() == []
    said = capsys.readouterr()
    assert said.err == "flour: done already\ndough: done already\nbread: done already\n"
    assert said.out == ""


def test_a_setting_that_only_the_last_stage_reads_redoes_the_last_alone(kitchen: Kitchen) -> None:
    kitchen.bake()
    assert kitchen.bake(oven=180) == ["bread"]


def test_other_content_upstream_redoes_what_reads_it(kitchen: Kitchen) -> None:
    kitchen.bake()
    kitchen.work["flour"] = kitchen.makes("flour", like="rye")
    assert kitchen.bake(flour={"mill": "steel"}) == ["flour", "dough", "bread"]
    assert kitchen.bread() == "rye, dough, bread"


def test_the_same_content_upstream_redoes_nothing_below(kitchen: Kitchen) -> None:
    kitchen.bake()
    assert kitchen.bake(flour={"mill": "steel"}) == ["flour"]


def test_a_neighbour_s_stage_is_taken_from_there(kitchen: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    kitchen.bake()
    other = Kitchen(Run(kitchen.run.folder.parent / "roll"))
    assert other.bake(oven=180) == ["bread"]
    assert f"dough: taken from {kitchen.run.folder / 'dough'}" in capsys.readouterr().err
    assert other.bread() == "flour, dough, bread"
    assert other.bake(oven=180) == []


def test_what_a_neighbour_does_later_leaves_the_taken_stage_alone(kitchen: Kitchen) -> None:
    kitchen.bake()
    other = Kitchen(Run(kitchen.run.folder.parent / "roll"))
    other.bake()
    kitchen.work["bread"] = kitchen.makes("bread", like="coal")
    kitchen.bake(oven=400)
    assert (kitchen.bread(), other.bread()) == ("flour, dough, coal", "flour, dough, bread")


def test_a_neighbour_s_stage_with_a_file_gone_is_not_taken(kitchen: Kitchen) -> None:
    kitchen.bake()
    (kitchen.run.path("flour") / "flour.txt").unlink()
    assert Kitchen(Run(kitchen.run.folder.parent / "roll")).bake() == ["flour"]


def test_a_stage_whose_file_was_deleted_is_done_again(kitchen: Kitchen) -> None:
    kitchen.bake()
    (kitchen.run.path("dough") / "dough.txt").unlink()
    assert kitchen.bake() == ["dough"]


def test_a_missing_input_names_the_command(kitchen: Kitchen) -> None:
    flour, _, bread = kitchen.stages()
    kitchen.run.do(flour)
    with pytest.raises(RunFault, match=r"^bread reads what dough writes, .*Run `llmrec dough RECIPE` first") as fault:
        kitchen.run.do(bread)
    assert fault.value.exit_code == 2


@pytest.mark.parametrize(
    ("stage", "verb"),
    [("pretrain-2", "pretrain"), ("train/orpo-s8", "train"), ("rankings/orpo", "rank"), ("candidates", "rank")],
)
def test_the_command_of_a_stage_with_another_name(kitchen: Kitchen, stage: str, verb: str) -> None:
    with pytest.raises(RunFault, match=f"Run `llmrec {verb} RECIPE` first"):
        kitchen.run.do(Stage("bread", "bread", {}, (stage,), lambda out: None))


class Interrupted:
    """Kneads three times, and is stopped after the first; goes on from where it was."""

    def __init__(self, stop: BaseException) -> None:
        self.stop: BaseException | None = stop

    def __call__(self, out: Path) -> None:
        done = len(list(out.glob("knead-*")))
        for turn in range(done, 3):
            (out / f"knead-{turn}").write_text(str(done), encoding="utf-8")
            if self.stop:
                (out / f".knead.txt.{os.getpid()}").write_text("half", encoding="utf-8")
                stop, self.stop = self.stop, None
                raise stop


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device"), SystemExit()])
def test_an_interrupted_stage_leaves_what_it_has_and_goes_on(
    kitchen: Kitchen, stop: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    kitchen.work["dough"], kitchen.work["bread"] = Interrupted(stop), lambda out: kitchen.diary.append("bread")
    with pytest.raises(type(stop)):
        kitchen.bake()
    assert not kitchen.run.path("dough").exists()
    assert (kitchen.run.folder / ".partial" / "dough" / "knead-0").exists()

    assert kitchen.bake() == ["bread"]
    assert "dough: going on with what an interrupted run left" in capsys.readouterr().err
    dough = kitchen.run.path("dough")
    assert [(dough / f"knead-{turn}").read_text() for turn in range(3)] == ["0", "1", "1"]
    assert sorted(kitchen.run.record("dough")["outputs"]) == ["knead-0", "knead-1", "knead-2"]  # no half-written file


def test_what_an_interrupted_stage_left_is_not_gone_on_with_under_other_settings(kitchen: Kitchen) -> None:
    kitchen.work["dough"], kitchen.work["bread"] = Interrupted(KeyboardInterrupt()), lambda out: None
    with pytest.raises(KeyboardInterrupt):
        kitchen.bake()
    kitchen.bake(dough={"water": 0.6})
    assert [(kitchen.run.path("dough") / f"knead-{turn}").read_text() for turn in range(3)] == ["0", "0", "0"]


def test_a_failed_stage_leaves_the_finished_one_untouched(kitchen: Kitchen) -> None:
    kitchen.bake()
    before = {p.name: p.read_bytes() for p in kitchen.run.path("bread").iterdir()}
    works, kitchen.work["bread"] = kitchen.work["bread"], Interrupted(RuntimeError("the oven is cold"))
    with pytest.raises(RuntimeError, match="cold"):
        kitchen.bake(oven=0)
    assert {p.name: p.read_bytes() for p in kitchen.run.path("bread").iterdir()} == before
    kitchen.work["bread"] = works
    assert kitchen.bake() == []  # and under the old settings it is still done


def test_a_stage_that_was_killed_just_before_it_took_its_name_takes_it(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen.bake()
    replace, left = os.replace, iter([1])  # the old folder steps aside, then comes the kill

    def killed(source: Any, target: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        kitchen.bake(oven=180)
    monkeypatch.undo()
    assert not kitchen.run.path("bread").exists()
    assert kitchen.bake(oven=180) == []
    assert kitchen.bread() == "flour, dough, bread"


def test_the_record_holds_the_hash_of_every_file_and_what_was_read(kitchen: Kitchen) -> None:
    def work(out: Path) -> None:
        (out / "tins").mkdir()
        (out / "tins" / "abc.txt").write_bytes(b"abc")

    kitchen.work["bread"] = work
    kitchen.bake()
    record = json.loads((kitchen.run.path("bread") / "stage.json").read_text())
    # SHA-256 of "abc", FIPS 180-2, appendix B.1
    assert record["outputs"] == {"tins/abc.txt": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    assert record["reads"] == {"oven": 220}
    assert record["seconds"] >= 0
    assert 0 < record["peak_rss_gb"] < 100


def test_a_half_written_record_is_no_record(kitchen: Kitchen) -> None:
    kitchen.bake()
    record = kitchen.run.path("bread") / "stage.json"
    record.write_text(record.read_text()[:40])
    assert kitchen.bake() == ["bread"]


def test_a_run_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(RunFault, match=r"runs/loaf: the run's folder cannot be written \(.*\)\. Choose another"):
        Run(tmp_path / "runs" / "loaf").open("name: loaf\n", {})


def test_the_manifest_says_who_did_it_and_what_came_out(kitchen: Kitchen) -> None:
    kitchen.run.open("name: loaf\n", {"seeds": [7]})
    kitchen.bake()
    kitchen.run.close(kitchen.stages())
    manifest = json.loads((kitchen.run.folder / "manifest.json").read_text())
    assert manifest["seeds"] == [7]
    assert {"polars", "torch", "trl"} <= set(manifest["versions"])
    assert manifest["stages"]["bread"]["outputs"] == kitchen.run.record("bread")["outputs"]
    assert (kitchen.run.folder / "recipe.yaml").read_text() == "name: loaf\n"


def test_only_the_leading_process_writes(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    kitchen.run.open("name: loaf\n", {})
    kitchen.work["flour"] = lambda out: kitchen.diary.append("flour")
    kitchen.run.do(kitchen.stages()[0])
    assert kitchen.diary == ["flour"]
    assert not kitchen.run.folder.exists()
