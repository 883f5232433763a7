"""The retriever as a scorer: whole histories, followed events, files, and what it refuses."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from llmrec.errors import ModelFault
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.mixers import SSD
from llmrec.retriever.model import Retriever
from llmrec.retriever.states import State

SMALL = Section(d_model=16, layers=2, d_state=4, headdim=8, dropout=0.5)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
Histories = st.lists(st.lists(st.integers(0, 29), max_size=80), min_size=1, max_size=4)


def retriever(seed: int = 0) -> Retriever:
    """Thirty items, two layers; item vectors far enough apart that a wrong state shows in the scores."""
    torch.manual_seed(seed)
    model = Retriever(30, SMALL)
    torch.nn.init.normal_(model.items.weight, std=0.5)
    return model.eval()


MODEL = retriever()


def arrays(histories: list[list[int]]) -> list[np.ndarray]:
    return [np.array(h, dtype=np.int32) for h in histories]


def test_a_score_is_what_the_last_position_expects() -> None:
    history = np.array([3, 1, 4, 1, 5])
    with torch.no_grad():
        expected = MODEL(torch.from_numpy(history)[None])[0, -1] @ MODEL.items.weight.T
    np.testing.assert_allclose(MODEL.scores([history])[0], expected.numpy(), **CLOSE)


def test_what_comes_later_changes_nothing_before_it() -> None:
    with torch.no_grad():
        short, long = MODEL(torch.tensor([[3, 1]])), MODEL(torch.tensor([[3, 1, 0, 0, 29]]))
    torch.testing.assert_close(long[:, :3], short, **CLOSE)
    assert not torch.allclose(long[:, 3], short[:, 2], atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(histories=Histories)
def test_who_else_is_asked_about_changes_nothing(histories: list[list[int]]) -> None:
    together = MODEL.scores(arrays(histories))
    for row, history in enumerate(arrays(histories)):
        np.testing.assert_allclose(together[row], MODEL.scores([history])[0], **CLOSE)


@settings(max_examples=40, deadline=None)
@given(history=st.lists(st.integers(0, 29), max_size=90), cuts=st.lists(st.integers(0, 90), max_size=4))
def test_following_a_user_is_reading_their_whole_history(history: list[int], cuts: list[int]) -> None:
    at = [0, *sorted(min(cut, len(history)) for cut in cuts), len(history)]
    state = MODEL.state([np.empty(0, np.int32)])
    for start, stop in pairwise(at):
        state = MODEL.follow(state, history[start:stop])
    np.testing.assert_allclose(MODEL.scores_from(state), MODEL.scores(arrays([history])), **CLOSE)


@settings(max_examples=20, deadline=None)
@given(histories=Histories, seed=st.integers(0, 9))
def test_many_users_are_followed_at_once_each_at_their_own_pace(histories: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    more = [rng.integers(0, 30, rng.integers(0, 6)) for _ in histories]
    state = MODEL.follow(MODEL.state(arrays(histories)), more)
    whole = [np.concatenate([old, new]) for old, new in zip(arrays(histories), more, strict=True)]
    np.testing.assert_allclose(MODEL.scores_from(state), MODEL.scores(whole), **CLOSE)


@settings(max_examples=20, deadline=None)
@given(histories=Histories, seed=st.integers(0, 9))
def test_queries_along_a_history_score_as_each_alone(histories: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    prefixes = [
        np.array(h[:stop], dtype=np.int32) for h in histories for stop in np.sort(rng.integers(0, len(h) + 1, 3))
    ]
    alone = np.stack([MODEL.scores_from(MODEL.state([prefix]))[0] for prefix in prefixes])
    np.testing.assert_allclose(MODEL.scores(prefixes), alone, **CLOSE)


def test_queries_along_a_history_read_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    forward = Retriever.forward
    monkeypatch.setattr(Retriever, "forward", lambda self, items: read.append(items.numel()) or forward(self, items))
    history = np.arange(25, dtype=np.int32)
    MODEL.scores([history[:stop] for stop in range(15, 26)])
    assert read == [25]


def test_event_by_event_for_a_long_time() -> None:
    history = np.random.default_rng(0).integers(0, 30, 300)
    state = MODEL.state([history[:1]])
    for item in history[1:]:
        state = MODEL.follow(state, [item])
    np.testing.assert_allclose(MODEL.scores_from(state), MODEL.scores([history]), **CLOSE)


def test_a_history_too_long_for_one_pass_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = [np.arange(25) % 30, np.arange(3), np.arange(50) % 30]
    whole = MODEL.scores(histories)
    monkeypatch.setattr("llmrec.retriever.model.SEGMENT", 7)
    monkeypatch.setattr("llmrec.retriever.model.POSITIONS", 10)
    np.testing.assert_allclose(MODEL.scores(histories), whole, **CLOSE)


def test_an_older_state_can_be_gone_back_to() -> None:
    state = MODEL.state([np.array([1, 2, 3])])
    before = MODEL.scores_from(state)
    MODEL.follow(state, [4, 5])
    np.testing.assert_array_equal(MODEL.scores_from(state), before)


def test_states_join_and_part() -> None:
    one, two = MODEL.state([np.array([1, 2])]), MODEL.state([np.array([3]), np.array([4, 5])])
    joined = State.join([one, two])
    assert len(joined) == 3
    np.testing.assert_allclose(MODEL.scores_from(joined[1:3]), MODEL.scores_from(two), **CLOSE)
    with pytest.raises(ModelFault, match="different weights"):
        State.join([one, retriever(seed=1).state([np.array([1])])])


def test_a_new_user_gets_an_answer_and_nobody_gets_none() -> None:
    assert np.isfinite(MODEL.scores([np.empty(0, np.int32)])).all()
    assert MODEL.scores([]).shape == (0, 30)


def test_scoring_drops_nothing_out_and_leaves_the_mode_as_it_was() -> None:
    model = retriever().train()
    history = [np.array([1, 2, 3])]
    np.testing.assert_array_equal(model.scores(history), model.scores(history))
    assert model.training


@pytest.mark.parametrize("item", [30, -1])
def test_an_unknown_item_is_refused_by_name(item: int) -> None:
    with pytest.raises(ModelFault, match=rf"history 1: item {item} is not in the catalogue; its 30 items"):
        MODEL.scores([np.array([1]), np.array([2, item])])
    with pytest.raises(ModelFault, match=f"item {item}"):
        MODEL.follow(MODEL.state([np.array([1])]), [item])


def test_a_state_of_other_weights_is_refused() -> None:
    model = retriever()
    state = model.state([np.array([1])])
    with torch.no_grad():
        model.items.weight[0, 0] += 1  # a refit, however small
    with pytest.raises(ModelFault, match="States do not outlive a refit"):
        model.follow(state, [2])


def test_items_for_the_wrong_number_of_users_are_refused() -> None:
    state = MODEL.state([np.array([1]), np.array([2])])
    with pytest.raises(ModelFault, match="holds 2 users"):
        MODEL.follow(state, [np.array([1])])


def test_what_was_saved_scores_the_same(tmp_path: Path) -> None:
    MODEL.save(tmp_path)
    again = Retriever.load(tmp_path, n_items=30)
    history = [np.array([1, 2, 3])]
    np.testing.assert_array_equal(again.scores(history), MODEL.scores(history))
    assert again.fingerprint == MODEL.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_weights_of_another_catalogue_are_refused(tmp_path: Path) -> None:
    MODEL.save(tmp_path)
    with pytest.raises(ModelFault, match="catalogue of 30 items, and this one has 31"):
        Retriever.load(tmp_path, n_items=31)


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    MODEL.save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["blocks.1.mixer.D"][0] = math.nan
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelFault, match=r"blocks\.1\.mixer\.D holds values that are not finite"):
        Retriever.load(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    MODEL.save(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFault, match="damaged"):
        Retriever.load(tmp_path)


@pytest.mark.parametrize("text", ["{", "{}", '{"n_items": 30, "retriever": {"colour": "red"}}', "[]"])
def test_a_config_that_says_nothing_is_refused(tmp_path: Path, text: str) -> None:
    MODEL.save(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelFault, match="damaged"):
        Retriever.load(tmp_path)


def test_a_config_of_another_shape_is_refused(tmp_path: Path) -> None:
    MODEL.save(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"n_items": 30', '"n_items": 31'))
    with pytest.raises(ModelFault, match=r"its tensors are not those that config\.json describes"):
        Retriever.load(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match=r"config\.json: not there"):
        Retriever.load(tmp_path)


def test_heads_begin_with_memories_from_one_item_to_a_whole_window() -> None:
    """Public recommenders on Mamba begin with a step of 0.69 everywhere, and forget within two items."""
    section = Section(d_model=64, headdim=8, max_length=200)
    mixers = [module for module in Retriever(30, section).modules() if isinstance(module, SSD)]
    assert len(mixers) == section.layers
    for mixer in mixers:
        steps = F.softplus(mixer.dt_bias).sort().values
        assert steps.min() >= 1 / 200 * 0.999
        assert steps.max() <= 1.001
        # Each sixteenth of the range, in logs, has its head.
        assert ((steps * 200).log() / math.log(200) * 16).long().clamp(max=15).tolist() == list(range(16))
