"""Batch decisions of two processes, of one, and of one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import PreTrainedTokenizerFast

from llmrec import resources
from tests.language.test_adaptive import asked, batches, world  # noqa: F401 - a fixture
from tests.language.test_killed import KILLED
from tests.language.test_launch import CPU_2, ROOT, launch

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("launch")]

SHARED = """
import torch
from accelerate.state import PartialState
from tests.language.sharded import backend, on_cpu

PartialState._prepare_backend, PartialState.set_device = backend, on_cpu
torch.distributed.init_process_group("gloo")
"""
OWN = {"batch": "augmented", "threshold": 0.2, "patience": 3}


def put(world: Any, here: Path, accumulation: int, script: str = KILLED) -> Path:  # noqa: F811
    """A script that tunes, and what it reads."""
    tokenizer: PreTrainedTokenizerFast = world[1]
    tokenizer.save_pretrained(here / "tokenizer")
    want = asked(OWN, gradient_accumulation_steps=accumulation, num_train_epochs=4, save_steps=2)
    (here / "recipe.json").write_text(want.model_dump_json(by_alias=True))
    (here / "tune.py").write_text(script)
    return here / "tune.py"


def alone(script: Path, name: str, at: int = -1) -> list[dict[str, Any]]:
    """Tuned by one process, killed in step `at`."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(script), str(script.parent), name, str(at)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == (-signal.SIGKILL if at >= 0 else 0), done.stderr[-2000:]
    return read(script.parent / name)


def read(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def test_two_processes_take_the_batch_decisions_of_one_with_the_same_micro_batches(world: Any, tmp_path: Path) -> None:  # noqa: F811
    one = alone(put(world, tmp_path, 2), "one")
    code, said = launch(*CPU_2, put(world, tmp_path, 1), tmp_path, "two", -1)
    assert code == 0, said
    two = read(tmp_path / "two")
    assert batches(two) == batches(one)
    assert [*dict.fromkeys(batches(one).values())][:3] == [8, 16, 32]
    for mine, theirs in zip(two, one, strict=True):
        for name in ("noise_scale", "loss", "step_size", "samples", "epoch"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-3), name
    assert json.loads((tmp_path / "two" / "summary.json").read_text())["processes"] == 2


def test_killed_at_three_steps_it_takes_the_same_batches(world: Any, tmp_path: Path) -> None:  # noqa: F811
    script = put(world, tmp_path, 2)
    whole = alone(script, "whole")
    for at in (3, 6, 9):
        alone(script, "killed", at)
    killed = alone(script, "killed")
    assert batches(killed) == batches(whole)
    for mine, theirs in zip(killed, whole, strict=True):
        for name in ("noise_scale", "loss", "step_size", "samples"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-5), name


def test_weights_that_are_shared_out_are_refused(world: Any, tmp_path: Path) -> None:  # noqa: F811
    config = yaml.safe_load(resources.find("accelerate", "fsdp").read_text())
    here = {"num_processes": 2, "mixed_precision": "no", "main_process_port": 0}
    (tmp_path / "fsdp.yaml").write_text(yaml.safe_dump(config | here))
    script = put(world, tmp_path, 1, SHARED + KILLED)
    code, said = launch("--config_file", tmp_path / "fsdp.yaml", script, tmp_path, "shared", -1)
    assert code != 0
    assert "train.adaptive: FSDP leaves each process a part of the averaged gradient" in said
    assert not (tmp_path / "shared" / "train_log.jsonl").exists()
