"""No network, no telemetry, one thread, and a home that is thrown away."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Before anything imports torch, tokenizers or a hub library: they read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Downloads and caches of the tests stay out of the owner's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_HOME", str(tmp_path_factory.mktemp("home")))
        yield
