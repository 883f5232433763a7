"""What goes wrong silently elsewhere stops the run here."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel

from llmrec.errors import TrainingFault
from llmrec.language import guards
from llmrec.language.lora import adapted
from tests.language.families import small

NOBODY: Any = (None, None, None)  # arguments, state and control, which the callback does not read


def tuned(**fields: Any) -> PeftModel:
    return adapted(small("llama"), {"r": 2, "target_modules": ["q_proj"], **fields}, here=Path())


def test_tuning_that_changes_nothing() -> None:
    model = tuned()
    with pytest.raises(TrainingFault, match="changes no logit"):
        guards.refuse_idle(guards.said(model, [1, 2, 3]), guards.said(model, [1, 2, 3]))


def test_tuning_that_changes_something_passes() -> None:
    model = tuned(init_lora_weights=False)
    with model.disable_adapter():
        before = guards.said(model, [1, 2, 3])
    assert guards.refuse_idle(before, guards.said(model, [1, 2, 3])) > 0


def test_a_loss_that_is_not_a_number() -> None:
    with pytest.raises(TrainingFault, match="the loss is nan at step 3"):
        guards.refuse_non_finite(torch.tensor(float("nan")), 3)


def test_weights_that_are_not_numbers() -> None:
    with pytest.raises(TrainingFault, match="1 of 2 adapter tensors are not finite, first b"):
        guards.refuse_broken({"a": torch.zeros(2), "b": torch.tensor([1.0, float("inf")])})


def steps(model: PeftModel, count: int) -> None:
    """Trains as the trainer does, with the callback told of every step."""
    callback = guards.EveryTensorLearns()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(count):
        callback.on_step_begin(*NOBODY, model=model)
        model(torch.tensor([[1, 2, 3]])).logits.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()  # before the step is over, as DeepSpeed does
        callback.on_step_end(*NOBODY, model=model)


def test_a_tensor_that_no_gradient_reaches() -> None:
    model = tuned(target_modules=["q_proj", "k_proj"])
    for name, module in model.named_modules():
        if name.endswith("k_proj"):
            module.register_forward_hook(lambda module, given, out: out.detach())
    steps(model, guards.EveryTensorLearns.PATIENCE - 1)
    with pytest.raises(TrainingFault, match="4 of 8 adapter tensors get no gradient, first .*k_proj"):
        steps(model, guards.EveryTensorLearns.PATIENCE)


def test_lora_s_first_gradient_of_zero_is_forgiven() -> None:
    steps(tuned(), guards.EveryTensorLearns.PATIENCE + 1)


def test_a_preference_that_stands_still() -> None:
    guard = guards.Standstill()
    for step in range(guard.PATIENCE - 1):
        guard.saw(0.693147, math.log(2), step)
    with pytest.raises(TrainingFault, match="has been 0.6931"):
        guard.saw(0.693147, math.log(2), guard.PATIENCE)


def test_a_preference_that_moves_now_and_then() -> None:
    guard = guards.Standstill()
    for step in range(3 * guard.PATIENCE):
        guard.saw(0.693147 if step % 20 else 0.6921, math.log(2), step)


def test_batches_of_one_step_are_asked_about_the_same_weights() -> None:
    guard = guards.Standstill()
    for _ in range(3 * guard.PATIENCE):
        guard.saw(0.693147, math.log(2), step=0)


def test_half_precision_may_look_for_its_scale() -> None:
    guard, state = guards.SteadyGradient(), SimpleNamespace(global_step=1)
    half: Any = SimpleNamespace(fp16=True)
    for norm in (float("inf"), float("inf"), 1.0) * guard.SKIPPED:
        guard.on_log(half, state, NOBODY[2], logs={"grad_norm": norm})  # type: ignore[arg-type]


@pytest.mark.parametrize("last", [float("nan"), float("inf"), 3e3])
def test_a_gradient_that_explodes(last: float) -> None:
    guard, state = guards.SteadyGradient(), SimpleNamespace(global_step=70)
    for norm in (1.0, 2.0, 30.0) * 4:
        guard.on_log(NOBODY[0], state, NOBODY[2], logs={"grad_norm": norm})  # type: ignore[arg-type]
    with pytest.raises(TrainingFault, match="gradient's norm is .* at step 70"):
        guard.on_log(NOBODY[0], state, NOBODY[2], logs={"grad_norm": last})  # type: ignore[arg-type]
