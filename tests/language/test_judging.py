"""What our forward pass says of pairs is what TRL's says, and what is in a batch changes no pair's loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from llmrec.language.examples import Batch
from llmrec.language.judging import judged
from llmrec.language.lora import adapted
from llmrec.language.mamba2 import with_ssd
from llmrec.language.tokenizer import build_tokenizer
from llmrec.language.trainer import ORPOConfig, ORPOTrainer
from llmrec.prompts.tokens import encode
from llmrec.recipe.sections import Objective
from tests.language.families import small

TITLES = ["Heat (1995)", "Alien (1979)", "Up (2009)", "Big (1988)", "Jaws (1975)", "Tron (1982)"]
TRL = Objective(name="orpo", beta=0.3, length="mean", nll_on="all")  # what TRL's trainer does


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer([f" {t}" for t in TITLES], 290)


def model(family: str) -> Any:
    """With an adapter that does something already."""
    tuned = adapted(with_ssd(small(family)), {"r": 4, "lora_alpha": 8}, here=Path())
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return tuned


def pairs(tokenizer: Any, rejected: list[str], seen: str = "Big (1988)", chosen: str = "Up (2009)") -> Batch:
    """One pair, read as the trainer reads it."""
    both = [encode(tokenizer, f" {seen}\n", f" {title}", eos=True) for title in [chosen, *rejected]]
    return Batch([both[0][0]], [[answer for _, answer in both]])


def trl(tuned: Any, tokenizer: Any, rejected: list[str], out: Path) -> tuple[Tensor, dict[str, float], ORPOTrainer]:
    """TRL's own loss and metrics of a row a rejected answer."""
    rows = [{"prompt": " Big (1988)\n", "chosen": " Up (2009)", "rejected": f" {title}"} for title in rejected]
    plain = {"activation_checkpointing": False, "use_cpu": True, "bf16": False, "report_to": "none"}
    asked = ORPOConfig(output_dir=str(out), beta=TRL.weight, max_length=256, **plain)  # type: ignore[arg-type]
    trainer = ORPOTrainer(model=tuned, args=asked, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    batch = next(iter(trainer.get_train_dataloader()))
    loss, metrics = trainer.get_batch_loss_metrics(trainer.model, batch)
    return loss, metrics, trainer


def gradients(tuned: Any, loss: Tensor) -> dict[str, Tensor]:
    tuned.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in tuned.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("rejected", [["Jaws (1975)"], ["Jaws (1975)", "Tron (1982)", "Heat (1995)"]], ids=["1", "3"])
@pytest.mark.parametrize("family", ["llama", "gemma3", "mamba2", "mamba"])
def test_the_loss_and_the_gradients_are_trls(
    family: str, rejected: list[str], tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """Of one rejected answer, and of several those of TRL on a row for each."""
    tuned = model(family)
    theirs, metrics, trainer = trl(tuned, tokenizer, rejected, tmp_path)
    wanted = gradients(trainer.model, theirs)
    losses, own = judged(tuned, pairs(tokenizer, rejected), TRL, pad=tokenizer.pad_token_id)
    torch.testing.assert_close(losses.mean(), theirs, atol=1e-4, rtol=0)
    assert float(own["logps/chosen"]) == pytest.approx(metrics["logps/chosen"], abs=1e-4)
    assert float(own["logps/rejected"]) == pytest.approx(metrics["logps/rejected"], abs=1e-4)
    assert float(own["nll_loss"]) == pytest.approx(metrics["nll_loss"], abs=1e-4)
    assert float(own["log_odds"]) == pytest.approx(metrics["log_odds_chosen"], abs=1e-4)
    assert float(own["rewards/margins"]) == pytest.approx(metrics["rewards/margins"], abs=1e-4)
    assert float(own["rewards/accuracies"]) == pytest.approx(metrics["rewards/accuracies"], abs=1e-6)
    found = gradients(tuned, losses.mean())
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert (found[name] - gradient).abs().max() <= 1e-4 * max(1.0, float(gradient.abs().max())), name


@pytest.mark.parametrize("name", ["sft", "orpo", "dpo", "s_dpo", "simpo", "cpo"])
@pytest.mark.parametrize("nll_on", ["branch", "all"])
def test_what_else_is_in_a_batch_changes_no_pairs_loss(
    name: Any, nll_on: Any, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Pairs of unequal length, with unequally many rejected answers."""
    tuned, asked = model("llama"), Objective(name=name, nll_on=nll_on)
    several = [
        pairs(tokenizer, ["Jaws (1975)"]),
        pairs(tokenizer, ["Tron (1982)", "Heat (1995)"], "Alien (1979)\n Jaws (1975)\n Heat (1995)", "Big (1988)"),
    ]
    several = [Batch(one.prompts, one.answers, reference=[[-9.0] * len(one.answers[0])]) for one in several]
    one, other = several
    assert one.reference is not None
    assert other.reference is not None
    references = one.reference + other.reference
    both = Batch(one.prompts + other.prompts, one.answers + other.answers, reference=references)
    together, _ = judged(tuned, both, asked, pad=0)
    alone = torch.cat([judged(tuned, one, asked, pad=0)[0] for one in several])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_a_likelihood_may_be_of_the_historys_titles_too(tokenizer: PreTrainedTokenizerFast) -> None:
    batch, tuned = pairs(tokenizer, ["Jaws (1975)"]), model("llama")
    (prompt,), ((chosen, _),) = batch.prompts, batch.answers
    own = [2 <= at < 5 for at in range(len(prompt))]
    batch = Batch(batch.prompts, batch.answers, titles=[own])
    _, said = judged(tuned, batch, Objective(nll_on="history"), pad=0)
    logps = tuned(torch.tensor([prompt + chosen])).logits[0].log_softmax(-1).detach()
    spoken = [logps[at - 1, token] for at, token in enumerate(prompt + chosen) if at >= len(prompt) or own[at]]
    assert len(spoken) == len(chosen) + 3
    assert float(said["nll_loss"]) == pytest.approx(float(-torch.stack(spoken).mean()), abs=1e-4)


def test_the_chosen_answers_place_among_its_pairs(tokenizer: PreTrainedTokenizerFast) -> None:
    """Equal answers tie, and share their places."""
    batch = pairs(tokenizer, ["Jaws (1975)", "Tron (1982)"])
    same = Batch(batch.prompts, [[batch.answers[0][0]] * 3])
    _, own = judged(model("llama"), same, Objective(), pad=0)
    assert float(own["ndcg"]) == pytest.approx(1 / math.log2(3))  # half of two others stand before it
