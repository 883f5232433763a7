from __future__ import annotations

import os
import subprocess
import sys

import pytest

from llmrec.cli.machine import settle

FREED = """
import os, numpy
from llmrec.cli.machine import settle
settle()
numpy.ones(1 << 23); before = open("/proc/self/stat").read().split()[9]
for _ in range(20): numpy.ones(1 << 23)
print(int(open("/proc/self/stat").read().split()[9]) - int(before))
"""

GROWN = """
import numpy
from llmrec.cli.machine import settle
settle()
kept = []
for n in range(20):
    numpy.ones((40 + n) << 20, numpy.float64)
    kept.append(numpy.ones(1 << 20, numpy.int8))
print([line for line in open("/proc/self/status") if line.startswith("VmRSS")][0].split()[1])
"""


def test_threads_that_wait_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    settle()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_what_the_user_set_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    settle()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_the_largest_arrays_go_back_to_the_system() -> None:
    """Twenty of 320 MB and more, each larger than the one before and with something small made after it."""
    held = int(subprocess.run([sys.executable, "-c", GROWN], capture_output=True, text=True, check=True).stdout)
    assert held < 300_000  # kB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults are read from /proc")
def test_a_large_array_takes_the_pages_of_the_one_before_it() -> None:
    faults = int(subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True).stdout)
    if not hasattr(__import__("ctypes").CDLL(None), "mallopt"):
        pytest.skip("this C library has no mallopt")
    assert faults < 1000  # twenty arrays of 64 MB are 327,680 pages
