"""Fitting in the cinema, where the next film is known; stopping, resuming, refusing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from llmrec.errors import DataFault, TrainingFault
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever import fit as fitting
from llmrec.retriever.fit import Asked, fit, validate
from llmrec.retriever.model import Retriever
from tests.worlds import GENRES, PLACES, cinema, film

KEYS = [film(genre, place) for genre in range(len(GENRES)) for place in range(len(PLACES))]
SEEN = [
    np.array([KEYS.index(key) for key in watched], dtype=np.int32)
    for watched in cinema().group_by("user", maintain_order=True).agg("item")["item"].to_list()
]
FITTED = [films[:-1] for films in SEEN]
ASKED = Asked(FITTED, [int(films[-1]) for films in SEEN])
SMALL = Section(d_model=16, layers=1, d_state=4, headdim=8, dropout=0.1, learning_rate=0.02, batch_size=8, epochs=12)


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def same(one: Retriever, other: Retriever) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it and tidy up."""


def killed(epoch: int, out: Path, section: Section) -> None:
    """Fits until this epoch begins, and not a moment longer."""
    one = fitting._epoch

    def dying(*given: object) -> float:
        if given[-1] == epoch:
            raise Killed
        return one(*given)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "_epoch", dying)
        with pytest.raises(Killed):
            fit(FITTED, len(KEYS), section, valid=ASKED, seed=7, out=out)


def test_who_has_seen_the_cinema_knows_the_next_film(tmp_path: Path) -> None:
    model = fit(FITTED, len(KEYS), SMALL, valid=ASKED, seed=7, out=tmp_path)
    contexts, targets, _ = ASKED
    assert (model.scores(contexts).argmax(1) == targets).mean() > 0.9
    assert log(tmp_path)[-1]["ndcg@10"] > 0.95


def test_it_says_how_good_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("llmrec.progress.EVERY", -1.0)
    section = SMALL.model_copy(update={"epochs": 2})
    fit(FITTED, len(KEYS), section, valid=ASKED, seed=7, out=tmp_path, words="fitting the usher")
    first, second, done = capsys.readouterr().err.splitlines()
    told = r"loss \d\.\d{3}, ndcg@10 0\.\d{4} at best \(epoch \d\)"
    assert re.fullmatch(rf"fitting the usher: 1 of 2, {told}, about \d+ s left", first)
    assert re.fullmatch(rf"fitting the usher: 2 of 2, {told}, about 0 s left", second)
    assert re.fullmatch(rf"fitting the usher: done after 2 epochs, {told}", done)


def test_a_line_an_epoch_and_the_files_of_a_retriever(tmp_path: Path) -> None:
    model = fit(FITTED, len(KEYS), SMALL.model_copy(update={"epochs": 2}), valid=ASKED, seed=7, out=tmp_path)
    lines = log(tmp_path)
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(set(line) == {"epoch", "loss", "ndcg@10", "seconds"} for line in lines)
    assert lines[1]["loss"] < lines[0]["loss"] < 1.2 * np.log(len(KEYS))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "log.jsonl", "model.safetensors"]
    assert same(Retriever.load(tmp_path, n_items=len(KEYS)), model)


def test_the_best_epoch_is_kept_and_patience_ends_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([0.1, 0.3, 0.2, 0.2, 0.9])
    weights = []

    def judged(model: Retriever, *asked: object) -> float:
        weights.append(model.norm_out.weight.detach().clone())
        return next(found)

    monkeypatch.setattr(fitting, "validate", judged)
    model = fit(FITTED, len(KEYS), SMALL.model_copy(update={"patience": 2}), valid=ASKED, seed=7, out=tmp_path)
    assert len(log(tmp_path)) == 4
    assert torch.equal(model.norm_out.weight, weights[1])


def test_without_validation_every_epoch_is_run_and_the_last_is_kept(tmp_path: Path) -> None:
    section = SMALL.model_copy(update={"epochs": 3, "patience": 1})
    fit(FITTED, len(KEYS), section, valid=None, seed=7, out=tmp_path)
    assert [line["ndcg@10"] for line in log(tmp_path)] == [None] * 3


def test_killed_and_run_again_it_ends_where_it_would_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = SMALL.model_copy(update={"epochs": 6})
    undisturbed = fit(FITTED, len(KEYS), section, valid=ASKED, seed=7, out=tmp_path / "one")
    killed(4, tmp_path / "two", section)
    assert len(log(tmp_path / "two")) == 3
    again = fit(FITTED, len(KEYS), section, valid=ASKED, seed=7, out=tmp_path / "two")
    assert "going on after epoch 3" in capsys.readouterr().err
    assert same(again, undisturbed)
    assert [line["loss"] for line in log(tmp_path / "two")] == [line["loss"] for line in log(tmp_path / "one")]


def test_killed_after_the_last_epoch_it_only_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = SMALL.model_copy(update={"epochs": 2})
    with monkeypatch.context() as patch:
        patch.setattr(Retriever, "save", lambda *given: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            fit(FITTED, len(KEYS), section, valid=ASKED, seed=7, out=tmp_path)
    monkeypatch.setattr(fitting, "_epoch", lambda *given: pytest.fail("there was nothing left to fit"))
    fit(FITTED, len(KEYS), section, valid=ASKED, seed=7, out=tmp_path)
    assert len(log(tmp_path)) == 2


@pytest.mark.parametrize("change", ["settings", "seed", "histories", "damage"])
def test_a_checkpoint_of_another_fit_is_left_alone(
    tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    section = SMALL.model_copy(update={"epochs": 3})
    killed(2, tmp_path, section)
    if change == "damage":
        path = tmp_path / "checkpoint.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
    other = section.model_copy(update={"dropout": 0.2}) if change == "settings" else section
    histories = FITTED[:-1] if change == "histories" else FITTED
    fit(histories, len(KEYS), other, valid=ASKED, seed=8 if change == "seed" else 7, out=tmp_path)
    assert "starting over" in capsys.readouterr().err
    assert len(log(tmp_path)) == 3


def test_a_fit_depends_on_its_seed_and_on_nothing_else(tmp_path: Path) -> None:
    section = SMALL.model_copy(update={"epochs": 2})
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = fit(FITTED, len(KEYS), section, valid=ASKED, seed=7, out=tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(one, fit(FITTED, len(KEYS), section, valid=ASKED, seed=7, out=tmp_path / "two"))
    assert not same(one, fit(FITTED, len(KEYS), section, valid=ASKED, seed=8, out=tmp_path / "three"))


def test_state_matrices_biases_and_norms_do_not_decay() -> None:
    model = Retriever(len(KEYS), SMALL)
    names = {id(weight): name for name, weight in model.named_parameters()}
    decaying, exempt = (
        {names[id(weight)] for weight in group["params"]} for group in fitting._optimizer(model, SMALL).param_groups
    )
    assert {"items.weight", "blocks.0.mixer.in_proj.weight", "blocks.0.ff_out.weight"} <= decaying
    mixer = {f"blocks.0.mixer.{name}" for name in ("A_log", "D", "dt_bias", "conv_bias", "norm.weight")}
    assert mixer | {"norm_out.weight", "blocks.0.ff_norm.bias"} <= exempt
    assert len(decaying | exempt) == len(names)


def test_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="none of 2 histories"):
        fit([np.empty(0, np.int32)] * 2, 5, SMALL, valid=None, seed=7, out=tmp_path, words="fitting the miner")


def test_empty_and_single_item_histories_are_taken_as_they_come(tmp_path: Path) -> None:
    histories = [np.empty(0, np.int32), *[np.array([3])] * 20, np.array([1, 2])]
    model = fit(histories, 5, SMALL, valid=Asked([], []), seed=7, out=tmp_path)
    assert model.scores([np.empty(0, np.int32)]).argmax() == 3  # most begin with it


def test_a_loss_that_is_not_a_number_stops_the_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "loss_of", lambda *given: lambda vectors, *others, bias: vectors.sum() * float("nan"))
    with pytest.raises(TrainingFault, match=r"loss is nan in epoch 1, step 1. Lower retriever.learning_rate"):
        fit(FITTED, len(KEYS), SMALL, valid=None, seed=7, out=tmp_path)


def test_validation_asks_the_whole_catalogue_and_leaves_out_what_was_seen() -> None:
    class Fixed(Retriever):
        def scores(self, contexts: object, times: object = None) -> np.ndarray:
            return np.tile(np.array([5.0, 4.0, 3.0, 3.0], dtype=np.float32), (2, 1))

    model = Fixed(4, SMALL)
    first, second = 1 / np.log2(2), 1 / np.log2(3)
    contexts = [np.array([0]), np.array([0, 1])]
    assert validate(model, Asked(contexts, [1, 2])) == pytest.approx((first + (first + second) / 2) / 2)


MIXED = {
    "mamba1": {"mixer": "mamba1"},
    "attention": {"mixer": "attention"},
    "gru": {"mixer": "gru"},
    "mamba4rec": {"mixer": "mamba1", "block": "mamba4rec"},
    "packed": {"rows": "packed"},
    "packed attention": {"rows": "packed", "mixer": "attention"},
    "prefixes": {"supervise": "prefixes", "epochs": 4},
    "cosines": {"temperature": 0.1, "bias": True},
    "sampled softmax": {"loss": "sampled_softmax", "negatives": 8},
    "gbce": {"loss": "gbce", "negatives": 8},
    "horizon": {"horizon": 3},
    "bpr": {"loss": "bpr"},
}


@pytest.mark.parametrize("settings", MIXED.values(), ids=MIXED.keys())
def test_every_kind_comes_to_know_the_next_film(settings: dict[str, object], tmp_path: Path) -> None:
    section = Section.model_validate(SMALL.model_dump() | {"epochs": 20, "patience": 20} | settings)
    fit(FITTED, len(KEYS), section, valid=ASKED, seed=7, out=tmp_path)
    assert max(line["ndcg@10"] for line in log(tmp_path)) > 0.8


def test_a_clock_tells_what_the_items_do_not(tmp_path: Path) -> None:
    """Who waited a day goes on with item 2, who came at once with item 3: only the clock can tell them apart."""
    histories = [np.array([0, 1, 2 + at % 2]) for at in range(60)]
    times = [np.array([0, 86_400 * (1 - at % 2), 1e6]) for at in range(60)]
    asked = Asked([h[:2] for h in histories], [int(h[2]) for h in histories], times)
    scores = []
    for scale in (3600.0, None):
        section = SMALL.model_copy(
            update={"time_scale": scale, "dropout": 0.0, "learning_rate": 0.01, "epochs": 30, "patience": 30}
        )
        fit(histories, 4, section, valid=asked, seed=7, out=tmp_path / str(scale), times=times)
        scores.append(max(line["ndcg@10"] for line in log(tmp_path / str(scale))))
    assert scores[0] > 0.99
    assert scores[1] < 0.9


def test_a_clock_without_times_is_refused(tmp_path: Path) -> None:
    section = SMALL.model_copy(update={"time_scale": 60.0})
    with pytest.raises(DataFault, match="time_scale needs the moment of each interaction"):
        fit(FITTED, len(KEYS), section, valid=None, seed=7, out=tmp_path)
