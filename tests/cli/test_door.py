"""How verbs are found, and how errors leave: one message, the right exit code, results on stdout only."""

from __future__ import annotations

import errno
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmrec.cli import app
from llmrec.cli.door import VERBS, out_of_room
from llmrec.errors import Disqualified, LlmrecError, RunFault

RUNNER = CliRunner()


@pytest.fixture
def going_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """`llmrec run` with stages that raise what they are told to."""
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\ndata: {path: x.csv}\nmodel: {build: {}}\n", encoding="utf-8")

    def run(error: BaseException, *options: str) -> Any:
        stages = types.ModuleType("llmrec.stages")

        def run_all(loaded: object, *, runs: Path) -> None:
            raise error

        stages.run_all = run_all  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "llmrec.stages", stages)
        return RUNNER.invoke(app, ["run", str(recipe), *options])

    return run


def test_help_names_every_verb() -> None:
    shown = RUNNER.invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert all(f" {verb} " in shown.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_of_its_own(verb: str) -> None:
    shown = RUNNER.invoke(app, [verb, "--help"])
    assert shown.exit_code == 0, shown.output
    assert "Usage" in shown.stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "trl", "peft", "polars", "numpy", "pydantic", "datasets", "matplotlib")
    code = (
        "import sys; from llmrec.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_a_misspelt_verb_is_told_the_nearest() -> None:
    shown = RUNNER.invoke(app, ["recomend"])
    assert shown.exit_code == 2
    assert "Did you mean 'recommend'" in shown.stderr


def test_the_user_s_error_is_one_message_on_stderr_and_exit_2(going_wrong: Callable[..., Any]) -> None:
    done = going_wrong(RunFault("runs/r: the stage before is missing. Run `llmrec prepare` first."))
    assert done.exit_code == 2
    assert done.stderr == "runs/r: the stage before is missing. Run `llmrec prepare` first.\n"
    assert done.stdout == ""


def test_traceback_shows_more(going_wrong: Callable[..., Any]) -> None:
    done = going_wrong(RunFault("no"), "--traceback")
    assert done.exit_code == 2
    assert "Traceback" in done.stderr


def test_a_bug_of_ours_is_exit_1_and_says_so(going_wrong: Callable[..., Any]) -> None:
    done = going_wrong(ZeroDivisionError("division by zero"))
    assert done.exit_code == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith(
        "This is a bug of ours, not yours. Please report it with the lines above and the recipe.\n"
    )
    assert going_wrong(LlmrecError("odd")).exit_code == 1


def test_a_disqualified_comparison_is_exit_3(going_wrong: Callable[..., Any]) -> None:
    done = going_wrong(Disqualified(["slots leak the target", "twins"]))
    assert (done.exit_code, done.stderr) == (3, "slots leak the target\ntwins\n")


def test_ctrl_c_is_exit_130_and_one_line(going_wrong: Callable[..., Any]) -> None:
    done = going_wrong(KeyboardInterrupt())
    assert done.exit_code == 130
    assert done.stderr == "\nStopped. Finished stages are kept; run the same command again to go on.\n"


def test_a_full_disk_is_the_user_s_to_put_right(going_wrong: Callable[..., Any]) -> None:
    done = going_wrong(OSError(errno.ENOSPC, "No space left on device", "runs/r/pairs/train.parquet"))
    assert done.exit_code == 2
    assert done.stderr.startswith("runs/r/pairs/train.parquet: the disk is full.")


def test_a_folder_that_may_not_be_written_is_named(going_wrong: Callable[..., Any]) -> None:
    done = going_wrong(PermissionError(errno.EACCES, "Permission denied", "/srv/runs"))
    assert done.exit_code == 2
    assert done.stderr.startswith("/srv/runs: may not be read or written.")


def test_room_is_recognised_however_deep_it_was_met() -> None:
    nowhere = RuntimeError("I/O error: No space left on device (os error 28)")
    assert str(out_of_room(nowhere, "my/runs")).startswith("my/runs: the disk is full")
    torchs_words = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")
    assert "disk is full" in str(out_of_room(torchs_words))
    high = ValueError("could not save")
    high.__cause__ = OSError(errno.ENOSPC, "No space left on device", "x")
    assert str(out_of_room(high)).startswith("x: the disk is full")
    assert out_of_room(ValueError("something else")) is None
    assert out_of_room(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None


def test_a_faulty_recipe_is_told_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\ndata: {path: x.csv}\nmodel: {build: {}}\nsed: 3\n", encoding="utf-8")
    code = (
        "import sys; from llmrec.cli import app\n"
        f"try: app(['train', {str(recipe)!r}, 'split.mthod=last'])\n"
        "except SystemExit as done: print(done.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"
    assert done.stderr.splitlines() == [
        f"{recipe}:4: sed: is not a key of a recipe; did you mean seed?",
        "command line: split.mthod: is not a key of `split`; did you mean method?",
    ]


def test_the_module_runs_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "llmrec", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("llmrec ")
