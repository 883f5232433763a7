"""Tuning with a batch that grows and steps that find their own size, on a model that trains in seconds."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llmrec.adaptive.batch import BatchController
from llmrec.adaptive.statistics import Moments
from llmrec.errors import TrainingFault
from llmrec.language import adaptive, guards, trainer
from llmrec.language.examples import collate, parted
from llmrec.language.groups import Groups
from llmrec.language.pace import Pace
from llmrec.language.tokenizer import build_tokenizer
from llmrec.recipe.sections import Recipe
from tests.language.test_trainer import TITLES, World, go, pairs, recipe

GROWS = {"batch": "noise_scale", "threshold": 0.1, "patience": 2}
"""Asks for a hundred noise scales, and so grows whenever it may."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "pairs"
    folder.mkdir()
    pairs(64, k=2).write_parquet(folder / "train.parquet")
    pairs(6).write_parquet(folder / "valid.parquet")
    return folder, build_tokenizer([f" {t}" for t in TITLES], 290)


def asked(own: dict[str, Any] | None, **fields: Any) -> Recipe:
    first = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    return recipe(train={**first, **fields, "adaptive": own})


def batches(log: list[dict[str, Any]]) -> dict[int, int]:
    return {line["step"]: line["batch"] for line in log if "loss" in line}


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every row's loss is the sum of the adapter's weights, so a mean's gradient is 1: what updates had instead."""

    def judged(model: Any, rows: Any, *args: Any, **kwargs: Any) -> Any:
        weights = torch.stack([weight.sum() for weight in model.parameters() if weight.requires_grad]).sum()
        held = torch.full((len(rows),), 5.0)
        names = "preference", "nll_loss", "ndcg", "log_odds", "rewards/margins", "rewards/accuracies"
        return weights.expand(len(rows)), dict.fromkeys(names, held)

    found: list[float] = []

    def on_pre_optimizer_step(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        each = torch.cat([w.grad.flatten() for w in kwargs["model"].parameters() if w.grad is not None])
        torch.testing.assert_close(each, each[:1].expand_as(each))
        found.append(round(each[0].item(), 5))

    monkeypatch.setattr(trainer, "judged", judged)
    monkeypatch.setattr(guards.SteadyGradient, "on_pre_optimizer_step", on_pre_optimizer_step)
    return found


TRAPS = {
    "at once": {1.0, 0.5, 1.5},
    "where it is exact": {1.0},
}


@pytest.mark.parametrize("when", TRAPS)
def test_the_table_of_traps(
    world: World, tmp_path: Path, gradients: list[float], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """64 rows, two at a time, two micro-batches an update, then four: each update's gradient, of a mean's."""

    def grow(pace: Pace) -> None:
        pace.accumulation = pace.wanted

    def observe(controller: BatchController, found: Moments) -> bool:
        assert when == "at once" or found.trace == pytest.approx(0, abs=1e-4)  # all groups are alike
        controller.batch = 8
        return True

    if when == "at once":
        monkeypatch.setattr(Pace, "grow", grow)
    monkeypatch.setattr(BatchController, "observe", observe)
    fields = {"per_device_train_batch_size": 2, "max_grad_norm": 0.0, "num_train_epochs": 2}
    log = go(world, tmp_path / "arm", asked({"batch": "norm"}, **fields))
    assert set(gradients) == TRAPS[when]
    if when == "where it is exact":
        assert len(gradients) == 2 + 7 + 8  # of 32 that were planned
        assert max(line["epoch"] for line in log) == 2
        assert [line["samples"] for line in log if "loss" in line][-1] == 128


@pytest.mark.parametrize("rows", [4, 5])
def test_a_micro_batch_in_halves_is_the_same_update(
    world: World, tmp_path: Path, gradients: list[float], rows: int
) -> None:
    fields = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 1, "max_grad_norm": 0.0}
    go(world, tmp_path / "arm", asked({"batch": "norm", "threshold": 1e6}, **fields))
    assert set(gradients) == {1.0}


def test_the_batch_doubles_and_everything_is_due_by_rows(world: World, tmp_path: Path) -> None:
    log = go(world, tmp_path / "arm", asked(GROWS, num_train_epochs=4, eval_strategy="steps", eval_steps=8))
    found = batches(log)
    assert found[1] == 8
    assert max(found.values()) == 64  # an epoch
    assert all(after in (before, 2 * before, 4 * before) for before, after in pairwise(found.values()))
    assert [line["samples"] for line in log if "eval_ndcg" in line] == [64, 128, 192, 256]
    lines = [line for line in log if "loss" in line]
    assert [line["samples"] for line in lines] == sorted(line["samples"] for line in lines)
    assert lines[-1]["samples"] == 4 * 64
    assert len(lines) < 4 * 64 / 8
    assert lines[-1]["step_size"] < 0.06 * max(line["step_size"] for line in lines) * 2  # the cosine has ended
    for name in ("noise_scale", "elapsed", "step_size"):
        assert all(line[name] > 0 for line in lines[1:]), name
    summary = json.loads((tmp_path / "arm" / "summary.json").read_text())
    assert summary["adaptive"]["batch"] == 64


def test_a_bound_is_kept(world: World, tmp_path: Path) -> None:
    found = batches(go(world, tmp_path / "arm", asked({**GROWS, "most": 16}, num_train_epochs=3)))
    assert set(found.values()) == {8, 16}


def seen(monkeypatch: pytest.MonkeyPatch) -> list[Moments]:
    """The statistics of every measured update."""
    found: list[Moments] = []
    observe = BatchController.observe

    def hear(controller: BatchController, one: Moments) -> bool:
        found.append(one)
        return observe(controller, one)

    monkeypatch.setattr(BatchController, "observe", hear)
    return found


def test_clipping_hides_nothing(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = seen(monkeypatch)
    for norm in (0.0, 1e-3):
        go(world, tmp_path / str(norm), asked({"batch": "norm"}, num_train_epochs=1, max_grad_norm=norm))
    assert len(found) == 2 * 8
    assert found[0] == found[8]
    assert found[0].mean_sq > 1e-4  # far above what is left of it
    assert found[0].trace > 0


def test_halves_of_a_micro_batch_are_what_two_would_be(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = seen(monkeypatch)
    for rows, accumulation in ((8, 1), (4, 2)):
        fields = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": accumulation}
        go(world, tmp_path / str(rows), asked({"batch": "norm"}, num_train_epochs=1, max_grad_norm=0.0, **fields))
    whole, two = found[0], found[1]  # eight updates, of which one, and eight
    assert len(found) == 1 + 8
    for name in ("norm_sq", "trace", "inner", "orthogonal", "mean_sq"):
        assert getattr(whole, name) == pytest.approx(getattr(two, name), rel=1e-4), name


def test_halves_keep_what_belongs_to_a_row() -> None:
    rows = [{"prompt_ids": [n], "answers": [[n], [n, n]], "reference": [0.1 * n, 0.2]} for n in range(5)]
    first, second = parted(collate(rows))
    assert [len(one["pairs"]) for one in (first, second)] == [3, 2]
    assert second["pairs"].reference == [row["reference"] for row in rows[3:]]
    assert second["pairs"].titles is None
    assert first["pairs"].prompts + second["pairs"].prompts == [row["prompt_ids"] for row in rows]


def test_a_measured_run_learns_what_one_that_is_not_measured_does(world: World, tmp_path: Path) -> None:
    for name, own in {"not": {}, "measured": {"batch": "norm", "threshold": 1e6}}.items():
        fields = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
        go(world, tmp_path / name, asked(own, **fields))
    first, second = (load_file(tmp_path / x / "adapter/adapter_model.safetensors") for x in ("not", "measured"))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-4, rtol=1e-3)


def stopped(world: World, out: Path, want: Recipe, at: int, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stopped in step `at`, and gone on."""
    compute = trainer.RecipeTrainer.compute_loss

    def stopping(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == at:
            raise KeyboardInterrupt
        return compute(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.RecipeTrainer, "compute_loss", stopping)
        with pytest.raises(KeyboardInterrupt):
            go(world, out, want)
    return go(world, out, want)


@pytest.mark.parametrize(
    ("step", "at"),  # before the batch grows, in an epoch in which it has, and after one
    [("adamw", 3), ("adamw", 5), ("adamw", 7), ("dowg", 5), ("usgm", 5), ("adabatchgrad", 5), ("prodigy", 5)],
)
def test_a_stopped_run_goes_on_with_the_same_batches_to_the_same_adapter(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, at: int
) -> None:
    if step == "prodigy":
        pytest.importorskip("prodigyopt")
    want = asked({**GROWS, "patience": 4, "step": step}, num_train_epochs=4, save_steps=1)
    whole, broken = go(world, tmp_path / "whole", want), stopped(world, tmp_path / "broken", want, at, monkeypatch)
    assert batches(broken) == batches(whole)
    assert len(set(batches(whole).values())) > 2
    for mine, theirs in zip(*([line for line in log if "loss" in line] for log in (broken, whole)), strict=True):
        for name in ("samples", "epoch", "noise_scale", "step_size", "loss", "learning_rate"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4), name
    a, b = (load_file(tmp_path / x / "adapter/adapter_model.safetensors") for x in ("whole", "broken"))
    for name, tensor in a.items():
        torch.testing.assert_close(b[name], tensor, atol=1e-6, rtol=1e-5)


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.flatten() for _, tensor in sorted(tensors.items())])


@pytest.mark.parametrize(
    "fields",
    [
        {"save_steps": 2, "eval_strategy": "steps", "eval_steps": 3},
        {"save_steps": 3, "patience": 9},
        {"save_strategy": "no", "eval_strategy": "no"},
    ],
    ids=["the last", "the best", "at the end alone"],
)
def test_averages_are_what_is_saved_and_evaluated(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    iterates, judged, kept = [], [], {}

    def here(model: Any) -> torch.Tensor:
        named = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
        return flat({name.replace(".default", ""): weight for name, weight in named.items()})

    def on_optimizer_step(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        iterates.append(here(kwargs["model"]))

    def on_evaluate(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        judged.append((here(kwargs["model"]), torch.stack(iterates).mean(0)))

    def on_save(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        saved = load_file(Path(args.output_dir) / f"checkpoint-{state.global_step}" / "adapter_model.safetensors")
        kept[state.global_step] = flat(saved), torch.stack(iterates).mean(0)

    for event in (on_optimizer_step, on_evaluate, on_save):
        monkeypatch.setattr(guards.SteadyGradient, event.__name__, event)
    own = {"step": "usgm", "scale": 3.0, "batch": "norm"}
    go(world, tmp_path / "arm", asked(own, num_train_epochs=2, **fields))
    whole = torch.stack(iterates).mean(0)
    assert not torch.allclose(whole, iterates[-1], atol=1e-3)
    for found, mean in [*judged, *kept.values()]:
        torch.testing.assert_close(found, mean, atol=1e-5, rtol=1e-4)
    assert ("save_steps" in fields) == (len(kept) > 3) == (len(judged) > 3)
    last = flat(load_file(tmp_path / "arm/adapter/adapter_model.safetensors"))
    among = [found for found, _ in kept.values()] if "patience" in fields else [whole]
    assert min(float((last - one).abs().max()) for one in among) < 1e-5


@pytest.mark.parametrize("step", ["schedule_free", "prodigy"])
def test_steps_of_other_packages_train_too(world: World, tmp_path: Path, step: str) -> None:
    pytest.importorskip({"schedule_free": "schedulefree", "prodigy": "prodigyopt"}[step])
    log = go(world, tmp_path / "arm", asked({**GROWS, "step": step}, num_train_epochs=4))
    losses = [line["loss"] for line in log if "loss" in line]
    assert losses[-1] < losses[0]


def test_statistics_that_are_no_numbers_are_counted_and_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = Groups.moments

    def broken(self: Groups, *args: Any) -> Moments:
        found = measure(self, *args)
        broken.calls += 1  # type: ignore[attr-defined]
        return found if broken.calls > 2 else Moments(2, 4, float("nan"), 1.0, 1.0, 1.0, 1.0)  # type: ignore[attr-defined]

    broken.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(Groups, "moments", broken)
    log = go(world, tmp_path / "arm", asked(GROWS))
    assert [line["skipped"] for line in log if "loss" in line][:3] == [1, 2, 2]
    assert "noise_scale" not in log[1]
    assert "noise_scale" in log[2]
    assert capsys.readouterr().err.count("are no numbers") == 1


@pytest.mark.parametrize(
    ("own", "fields", "says"),
    [
        ({"batch": "norm"}, {"per_device_train_batch_size": 32}, "no room for accumulation: an epoch of 64 pairs is 2"),
        ({"batch": "norm", "most": 8}, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}, None),
        (
            {"batch": "norm"},
            {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1},
            "an update of one pair has no two groups",
        ),
    ],
)
def test_what_cannot_be_is_said_before_training(
    world: World, tmp_path: Path, own: dict[str, Any], fields: dict[str, Any], says: str | None
) -> None:
    if says is None:  # a bound at the first batch is no fault: it only never grows
        assert set(batches(go(world, tmp_path / "arm", asked(own, num_train_epochs=1, **fields))).values()) == {8}
        return
    with pytest.raises(TrainingFault, match=says):
        go(world, tmp_path / "arm", asked(own, **fields))
    assert not (tmp_path / "arm" / "checkpoints").exists() or not [*(tmp_path / "arm" / "checkpoints").iterdir()]


@pytest.mark.parametrize(("sharing", "says"), [("deepspeed", "steps by its own count"), ("fsdp", "none can measure")])
def test_weights_that_are_shared_out_are_refused_with_the_reason(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sharing: str, says: str
) -> None:
    post = trainer.RecipeTrainer.create_accelerator_and_postprocess

    def shared(self: Any) -> None:
        post(self)
        setattr(self, f"is_{sharing}_enabled", True)

    monkeypatch.setattr(trainer.RecipeTrainer, "create_accelerator_and_postprocess", shared)
    with pytest.raises(TrainingFault, match=says):
        go(world, tmp_path / "arm", asked({"batch": None, "step": "dowg"}))
    shutil.rmtree(tmp_path / "arm", ignore_errors=True)


def test_without_it_the_trainer_is_the_recipes_own(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("no adaptive block was asked for")

    monkeypatch.setattr(adaptive.AdaptiveTrainer, "__init__", never)
    log = go(world, tmp_path / "arm", recipe())
    assert not {"batch", "samples", "elapsed"} & {name for line in log for name in line}
