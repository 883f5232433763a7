"""What a wheel holds, what the lock pins, and that the front page of the package is in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import llmrec

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_public_names_are_sorted_and_there():
    assert list(llmrec.__all__) == sorted(llmrec.__all__)
    assert [name for name in llmrec.__all__ if not hasattr(llmrec, name)] == []


def test_importing_llmrec_imports_no_room():
    code = "import sys, llmrec; sys.exit(any(name.startswith('llmrec.') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    from hatchling import build

    out = tmp_path_factory.mktemp("wheel")
    here = Path.cwd()
    os.chdir(ROOT)
    try:
        return zipfile.ZipFile(out / build.build_wheel(str(out)))
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("folder", "inside"), PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].items()
)
def test_a_wheel_ships_recipes_prompts_and_manifests(wheel: zipfile.ZipFile, folder: str, inside: str):
    shipped = {name for name in wheel.namelist() if name.startswith(f"{inside}/")}
    ours = {p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*") if p.suffix in {".yaml", ".jinja", ".csv"}}
    assert ours
    assert {f"{inside}/{path.as_posix()}" for path in ours} <= shipped


def test_relative_paths_in_shipped_recipes_hold_in_a_wheel(wheel: zipfile.ZipFile):
    """A recipe's `../data/sample/x.csv` starts at its own folder, which is llmrec/_recipes there."""
    led = {
        p for r in (ROOT / "recipes").rglob("*.yaml") for p in re.findall(r"\.\./data/(sample/[\w.]+)", r.read_text())
    }
    assert led
    assert {f"llmrec/data/{path}" for path in led} <= set(wheel.namelist())


def test_a_wheel_ships_types_templates_and_the_licence(wheel: zipfile.ZipFile):
    names = wheel.namelist()
    for needed in ("llmrec/py.typed", "llmrec/report/page.html.jinja", "llmrec/report/page.md.jinja"):
        assert needed in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_lock_pins_every_dependency_that_a_developer_installs():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = [
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")
    ]
    pins = {canonicalize_name(r.name): r for r in map(Requirement, lines)}
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [Requirement(r) for r in PROJECT["project"]["dependencies"] + extras["dev"] + extras["cpu"]]
    for wish in asked:
        if wish.name != "llmrec":
            (pin,) = pins[canonicalize_name(wish.name)].specifier
            assert pin.operator == "=="
            assert wish.specifier.contains(pin.version), wish


def test_torch_is_pinned_without_a_build():
    """A `+cpu` or `+cu130` in the lock would shut out everybody with the other one."""
    assert "torch==2.13.0" in (ROOT / "requirements.lock").read_text().splitlines()
