"""A tuning run that is killed again and again learns what one learns that was left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llmrec.rng import rng_for
from tests.language.test_trainer import go, recipe, world  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, STEPS = 6, 18
KILLED = """
import os, signal, sys
from pathlib import Path
from transformers import AutoTokenizer
from llmrec.language import trainer, tuning
from llmrec.recipe.sections import Recipe
from tests.language.families import small

here, name, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
compute = trainer.RecipeTrainer.compute_loss

def dying(self, *args, **kwargs):
    loss = compute(self, *args, **kwargs)
    if self.state.global_step == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss

trainer.RecipeTrainer.compute_loss = dying
asked = Recipe.model_validate_json((here / "recipe.json").read_text())
tokenizer = AutoTokenizer.from_pretrained(here / "tokenizer")
tuning.train(asked, small("llama"), tokenizer, here / "pairs", seed=7, here=here, out=here / name)
"""


def losses(log: list[dict[str, Any]]) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in log if "loss" in line}


@pytest.mark.parametrize("patience", [None, 2], ids=["to the end", "until nothing gets better"])
def test_killed_at_three_random_steps_it_ends_where_an_unbroken_run_does(
    world: Any,  # noqa: F811
    tmp_path: Path,
    patience: int | None,
) -> None:
    asked = recipe(train={"num_train_epochs": EPOCHS, "save_steps": 2, "patience": patience})
    whole = losses(go(world, tmp_path / "whole", asked))
    last = max(whole)
    assert sorted(whole) == list(range(1, last + 1))
    assert last < STEPS if patience else last == STEPS
    world[1].save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "recipe.json").write_text(asked.model_dump_json(by_alias=True))
    steps = sorted(rng_for(7, "killed").choice(range(1, last), 3, replace=False).tolist())
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for at in [*steps, -1]:
        words = [sys.executable, "-c", KILLED, str(tmp_path), "killed", str(at)]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == (-signal.SIGKILL if at >= 0 else 0), done.stderr[-2000:]
    log = [json.loads(line) for line in (tmp_path / "killed" / "train_log.jsonl").read_text().splitlines()]
    assert losses(log) == pytest.approx(whole, abs=1e-6)
    first, second = (load_file(tmp_path / one / "adapter/adapter_model.safetensors") for one in ("whole", "killed"))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-6, rtol=0)
