"""`accelerate launch -m llmrec train`, for real, with one and with two processes on the CPU, talking over gloo."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoTokenizer

from llmrec import resources
from llmrec.language.examples import examples
from llmrec.launch import RANKS, SIZES
from llmrec.recipe.loader import load_recipe
from llmrec.stages import run_stage

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("launch")]

ROOT = Path(__file__).resolve().parents[2]
CPU_2 = ["--config_file", str(resources.find("accelerate", "cpu-2"))]
WORDS = ["Heat", "Jaws", "Tron", "Rope", "Fury", "Gigi", "Hook", "Ikiru", "Kes", "Laura", "Marty", "Nosferatu"]
PEOPLE, EPOCHS = 28, 3
BATCH = {"even": 7, "uneven": 4, "referenced": 4}  # of 28 rows: two steps of 7 + 7, or four of 4 + 3
RECIPE = f"""
name: two
seed: 7
data:
  path: films.csv
  columns: {{user: user, item: title, time: time, title: title}}
  min_user: 1
  min_item: 1
  text: "{{title}}"
split:       {{method: last}}
candidates:  {{count: 3}}
retriever:   {{layers: 1, d_model: 8, d_state: 4, headdim: 8, epochs: 1}}
prompt:      {{template: movies/lines, budget: 64}}
pairs:       {{rejected: 1, per_user: 1, from: {{uniform: 1.0}}}}
model:       {{build: {{vocab_size: 900, d_model: 32, layers: 2, heads: 2, d_ff: 64, window: 64, epochs: 1}}}}
lora:        {{r: 4, lora_alpha: 8}}
train:       {{learning_rate: 5.0e-3, num_train_epochs: {EPOCHS}, logging_steps: 1}}
arms:
  even:      {{train: {{per_device_train_batch_size: {BATCH["even"]}}}}}
  uneven:    {{train: {{per_device_train_batch_size: {BATCH["uneven"]}}}}}
  referenced: {{objective: {{name: dpo}}, train: {{per_device_train_batch_size: {BATCH["referenced"]}}}}}
"""
DOUBLED = [f"arms.{arm}.train.per_device_train_batch_size={2 * batch}" for arm, batch in BATCH.items()]


def launch(*words, diary=None, watched=None):
    """`accelerate launch WORDS`: its exit code and what it said. The group is killed if it hangs."""
    clean = {k: v for k, v in os.environ.items() if k not in (*SIZES, *RANKS) and not k.startswith("ACCELERATE_")}
    env = {**clean, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DIARY": str(diary), "WATCHED": str(watched)}
    process = subprocess.Popen(
        [sys.executable, "-m", "accelerate.commands.launch", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        pytest.fail(f"the launch hung:\n{said}")
    return process.returncode, said


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Everything before training, done. Every title is one token, and every history as long."""
    here = tmp_path_factory.mktemp("launch")
    watched = [(u, WORDS[(u + n) % len(WORDS)], n) for u in range(PEOPLE) for n in range(6)]
    pl.DataFrame(watched, schema=["user", "title", "time"], orient="row").write_csv(here / "films.csv")
    (here / "recipe.yaml").write_text(RECIPE)
    for verb in ("prepare", "retrieve", "pretrain", "pairs"):
        run_stage(verb, load_recipe(here / "recipe.yaml"), runs=here / "runs")
    return here


@pytest.fixture(scope="module")
def two(world):
    """Trained by two processes: their diaries."""
    (world / "diary").mkdir()
    code, said = launch(
        *CPU_2, ROOT / "tests/language/launched.py", "train", world / "recipe.yaml", "--runs", world / "runs",
        diary=world / "diary", watched=world / "runs",
    )  # fmt: skip
    assert code == 0, said
    return [json.loads((world / "diary" / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def one(world, two):
    """Trained by one process with twice the batch: its run's folder."""
    shutil.copytree(world / "runs/two", world / "runs/one", ignore=shutil.ignore_patterns("train"))
    code, said = launch(
        "--cpu", "--num_processes", 1, "-m", "llmrec", "train", world / "recipe.yaml", "--runs", world / "runs",
        "name=one", *DOUBLED,
    )  # fmt: skip
    assert code == 0, said
    return world / "runs/one"


def rows(world):
    """Each pair's tokens, as JSON."""
    tokenizer = AutoTokenizer.from_pretrained(world / "runs/two/pretrain")
    read = examples(world / "runs/two/pairs/train.parquet", tokenizer, eos=True, budget=64)
    return [json.dumps([row["prompt_ids"], row["answers"]]) for row in read]


def adapter(run, arm):
    return load_file(run / "train" / arm / "adapter" / "adapter_model.safetensors")


def summary(run, arm):
    return json.loads((run / "train" / arm / "summary.json").read_text())


def logged(run, arm):
    lines = [json.loads(line) for line in (run / "train" / arm / "train_log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


@pytest.mark.parametrize("arm", BATCH)
def test_every_row_is_seen_once_an_epoch_by_one_of_the_two(world, two, arm):
    asked = Counter(rows(world))
    assert asked.total() == PEOPLE
    steps = {"even": 2, "uneven": 4, "referenced": 4}[arm]
    for epoch in range(EPOCHS):
        seen = [
            json.dumps(row)
            for diary in two
            for entry in diary["seen"]
            if entry["arm"] == arm and entry["step"] // steps == epoch
            for row in entry["rows"]
        ]
        assert Counter(seen) == asked
    for diary in two:
        assert len([entry for entry in diary["seen"] if entry["arm"] == arm]) == steps * EPOCHS


def test_two_processes_take_half_the_steps(world, two):
    assert summary(world / "runs/two", "even")["processes"] == 2
    assert len(logged(world / "runs/two", "even")) == EPOCHS * PEOPLE / BATCH["even"] / 2


def test_only_the_leading_process_writes(two):
    leading, other = (
        [line for line in diary["wrote"] if not re.search(r"/checkpoint-\d+(/rng_state_\d\.pth)?$", line)]
        for diary in two
    )
    assert any("train_log.jsonl" in line for line in leading)
    assert other == []  # but for its own random state, in the trainer's checkpoints


def test_both_end_with_the_same_adapter(two):
    leading, other = (diary["adapters"] for diary in two)
    assert len(leading) == len(BATCH)
    assert leading == other


@pytest.mark.parametrize("arm", BATCH)
def test_two_processes_learn_what_one_with_twice_the_batch_does(world, two, one, arm):
    """Also where one has a row more in a step: every row counts as much."""
    for mine, theirs in zip(logged(world / "runs/two", arm), logged(one, arm), strict=True):
        for field in ("loss", "nll_loss", "preference", "rewards/margins", "rewards/accuracies", "log_odds", "ndcg"):
            assert mine[field] == pytest.approx(theirs[field], abs=1e-5), field
    first, second = adapter(world / "runs/two", arm), adapter(one, arm)
    for name, tensor in second.items():
        torch.testing.assert_close(first[name], tensor, atol=1e-4 * tensor.abs().max().item(), rtol=0)


@pytest.fixture(scope="module")
def sharded(world, two):
    """Trained by two processes that hold half of the weights each, as recipes/accelerate/fsdp.yaml says: its run."""
    shutil.copytree(world / "runs/two", world / "sharded/two", ignore=shutil.ignore_patterns("train"))
    config = yaml.safe_load(resources.find("accelerate", "fsdp").read_text())
    here = {"num_processes": 2, "mixed_precision": "no", "main_process_port": 0}
    (world / "fsdp.yaml").write_text(yaml.safe_dump(config | here))
    code, said = launch(
        "--config_file", world / "fsdp.yaml", ROOT / "tests/language/sharded.py", "train", world / "recipe.yaml",
        "--runs", world / "sharded",
    )  # fmt: skip
    assert code == 0, said
    return world / "sharded/two"


@pytest.mark.parametrize("arm", BATCH)
def test_processes_that_share_the_weights_out_learn_what_those_with_all_of_them_do(world, two, sharded, arm):
    assert summary(sharded, arm)["distributed"] == "FSDP"
    for mine, theirs in zip(logged(sharded, arm), logged(world / "runs/two", arm), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    first, second = adapter(sharded, arm), adapter(world / "runs/two", arm)
    assert first.keys() == second.keys()
    for name, tensor in second.items():
        torch.testing.assert_close(first[name], tensor, atol=1e-4 * tensor.abs().max().item(), rtol=0)


def test_one_process_through_the_launcher_is_one_process(one):
    assert summary(one, "even")["processes"] == 1


def test_a_launch_that_comes_up_short_is_refused(world):
    """accelerate starts one process here, whatever it was asked for."""
    code, said = launch("--cpu", "--num_processes", 2, "-m", "llmrec", "train", world / "recipe.yaml",
                        "--runs", world / "elsewhere")  # fmt: skip
    assert code != 0
    assert "several processes were asked for and one was started" in said
    assert "returned non-zero exit status 2" in said
    assert not (world / "elsewhere").exists()


def test_the_other_stages_are_not_shared(world):
    code, said = launch(*CPU_2, "-m", "llmrec", "run", world / "recipe.yaml", "--runs", world / "elsewhere")
    assert code != 0
    assert "llmrec run runs in one process, and this is one of 2" in said
    assert "exitcode  : 2" in said
    assert not (world / "elsewhere").exists()


def test_training_without_pairs_names_the_command(world):
    shutil.copytree(world / "runs/two", world / "bare/two", ignore=shutil.ignore_patterns("train", "pairs"))
    code, said = launch(*CPU_2, "-m", "llmrec", "train", world / "recipe.yaml", "--runs", world / "bare")
    assert code != 0
    assert "Run `llmrec pairs RECIPE` first" in said
    assert "exitcode  : 2" in said
