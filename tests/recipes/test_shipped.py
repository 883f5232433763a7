"""Every recipe and launch file that ships holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec import resources
from llmrec.recipe.loader import dump_recipe, load_recipe

FOLDER = resources.folder("recipes")
RECIPES = sorted(path for path in FOLDER.rglob("*.yaml") if "accelerate" not in path.parts[len(FOLDER.parts) :])
LAUNCHES = sorted(resources.folder("accelerate").glob("*.yaml"))


def test_some_were_found() -> None:
    assert {"own-data.yaml", "smoke.yaml"} <= {path.name for path in RECIPES}
    assert {"cpu-2.yaml", "ddp.yaml", "fsdp.yaml", "zero3.yaml"} <= {path.name for path in LAUNCHES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_shipped_recipe_holds(path: Path, tmp_path: Path) -> None:
    loaded = load_recipe(path)
    for arm in loaded.recipe.arms:
        loaded.recipe.arm(arm)
    again = tmp_path / "recipe.yaml"
    again.write_text(dump_recipe(loaded.recipe), encoding="utf-8")
    if loaded.recipe.data.path is None:
        assert load_recipe(again).recipe == loaded.recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_shipped_recipe_says_how_to_run_it_and_where_its_schema_is(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line for line in lines[:12] if line.startswith("#")]
    assert any("llmrec run" in line for line in head)
    (modeline,) = [line for line in head if "yaml-language-server" in line]
    assert (path.parent / modeline.partition("$schema=")[2]).is_file()


def test_the_page_about_them_names_each() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [str(path.relative_to(FOLDER)) for path in RECIPES if f"`{path.relative_to(FOLDER)}`" not in page] == []


@pytest.mark.parametrize("path", LAUNCHES, ids=lambda path: path.stem)
def test_a_launch_file_is_one_that_accelerate_reads(path: Path) -> None:
    config_args = pytest.importorskip("accelerate.commands.config.config_args")
    assert config_args.load_config_from_file(str(path)).num_processes >= 2


@pytest.mark.slow
def test_cpu_2_starts_two_processes_that_talk(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = tmp_path / "count.py"
    script.write_text(
        "import os\n"
        "import torch\n"
        "from accelerate import PartialState\n"
        "state = PartialState(cpu=True)\n"  # what train.use_cpu makes of it
        "total = torch.ones(1)\n"
        "torch.distributed.all_reduce(total)\n"
        # One write each: what two processes print at once gets mixed.
        "os.write(1, f'processes {state.num_processes} counted {int(total)}\\n'.encode())\n",
        encoding="utf-8",
    )
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(FOLDER / "accelerate/cpu-2.yaml"),
    ]
    done = subprocess.run([*launch, str(script)], capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.count("processes 2 counted 2") == 2, done.stdout + done.stderr
