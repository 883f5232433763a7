"""One finished run for all tests of this room; tests that change it copy it first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.report.runs import finished_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder to read."""
    return finished_run(tmp_path_factory.mktemp("cinema"))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A run folder to change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
