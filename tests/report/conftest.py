"""One finished run for all tests of this room; tests that change it copy it first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.report.runs import crowded, finished_run, measured_in_full


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder to read."""
    return finished_run(tmp_path_factory.mktemp("cinema"))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run folder to change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="session")
def full(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder to read that has all that a run may have."""
    return measured_in_full(Path(shutil.copytree(finished, tmp_path_factory.mktemp("full") / "run")))


@pytest.fixture(scope="session")
def crowd(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder to read with nineteen rankers."""
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("crowd") / "run"))
    return crowded(run, [f"mamba_objective_{n:02d}" for n in range(13)])
