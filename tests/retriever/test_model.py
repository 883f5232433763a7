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
from llmrec.retriever.mixers.ssd import SSD
from llmrec.retriever.model import Retriever
from llmrec.retriever.states import State

SMALL = Section(d_model=16, layers=2, d_state=4, headdim=8, dropout=0.5)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
Histories = st.lists(st.lists(st.integers(0, 29), max_size=80), min_size=1, max_size=4)
KINDS = {
    "ssd": SMALL,
    "mamba1": SMALL.model_copy(update={"mixer": "mamba1"}),
    "attention": SMALL.model_copy(update={"mixer": "attention", "max_length": 20}),  # forgets what is further back
    "gru": SMALL.model_copy(update={"mixer": "gru"}),
    "one layer": SMALL.model_copy(update={"layers": 1}),
    "mamba4rec": SMALL.model_copy(update={"mixer": "mamba1", "block": "mamba4rec"}),
    "clock": SMALL.model_copy(update={"time_scale": 60.0}),
    "cosines": SMALL.model_copy(update={"temperature": 0.05, "bias": True}),
}


def retriever(kind: str = "ssd", seed: int = 0) -> Retriever:
    """Thirty items; item vectors far enough apart that a wrong state shows in the scores."""
    torch.manual_seed(seed)
    model = Retriever(30, KINDS[kind])
    torch.nn.init.normal_(model.items.weight, std=0.5)
    if model.item_bias is not None:
        torch.nn.init.normal_(model.item_bias)
    for name, weight in model.named_parameters():
        if name.endswith("gap"):
            torch.nn.init.normal_(weight)
    return model.eval()


MODELS = {kind: retriever(kind) for kind in KINDS if kind != "clock"}
CLOCKED = retriever("clock")
MODEL = MODELS["ssd"]
every_kind = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def arrays(histories: list[list[int]], model: Retriever = MODEL) -> list[np.ndarray]:
    least = 0 if model.begin is not None else 1  # a model without a start vector has no answer to nothing
    return [np.array(h if len(h) >= least else [0], dtype=np.int32) for h in histories]


@every_kind
def test_a_score_is_what_the_last_position_expects(model: Retriever) -> None:
    history = [3, 1, 4, 1, 5]
    codes = torch.tensor([history if model.begin is None else [model.begin, *history]])
    with torch.no_grad():
        expected = model(codes)[0, -1] @ model.compared().T + (0 if model.item_bias is None else model.item_bias)
    np.testing.assert_allclose(model.scores([np.array(history)])[0], expected.numpy(), **CLOSE)


@every_kind
def test_the_best_are_those_of_the_highest_scores(model: Retriever) -> None:
    contexts = arrays([[3, 1, 4], [1], [5, 9, 2, 6]])
    scores = model.scores(contexts)
    found, everything = model.best(contexts, 7), model.best(contexts, 7, masked=False)
    for row, context in enumerate(contexts):
        best = np.argsort(-scores[row], kind="stable")
        assert everything.items[everything.rows == row].tolist() == best[:7].tolist()
        assert found.items[found.rows == row].tolist() == [item for item in best if item not in context][:7]


@every_kind
def test_what_comes_later_changes_nothing_before_it(model: Retriever) -> None:
    with torch.no_grad():
        short, long = model(torch.tensor([[3, 1]])), model(torch.tensor([[3, 1, 0, 0, 29]]))
    torch.testing.assert_close(long[:, :2], short, **CLOSE)
    assert not torch.allclose(long[:, 2], short[:, 1], atol=1e-3)


@every_kind
@settings(max_examples=15, deadline=None)
@given(histories=Histories)
def test_who_else_is_asked_about_changes_nothing(model: Retriever, histories: list[list[int]]) -> None:
    together = model.scores(arrays(histories, model))
    for row, history in enumerate(arrays(histories, model)):
        np.testing.assert_allclose(together[row], model.scores([history])[0], **CLOSE)


@every_kind
@settings(max_examples=20, deadline=None)
@given(history=st.lists(st.integers(0, 29), min_size=1, max_size=90), cuts=st.lists(st.integers(1, 90), max_size=4))
def test_following_a_user_is_reading_their_whole_history(model: Retriever, history: list[int], cuts: list[int]) -> None:
    at = [1, *sorted(min(cut, len(history)) for cut in cuts), len(history)]
    state = model.state([np.array(history[:1])])
    for start, stop in pairwise(at):
        state = model.follow(state, history[start:stop])
    np.testing.assert_allclose(model.scores_from(state), model.scores(arrays([history])), **CLOSE)
    assert state.seen[0].tolist() == history


@every_kind
@settings(max_examples=15, deadline=None)
@given(histories=Histories, seed=st.integers(0, 9))
def test_many_users_are_followed_at_once_each_at_their_own_pace(
    model: Retriever, histories: list[list[int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    more = [rng.integers(0, 30, rng.integers(0, 6)) for _ in histories]
    state = model.follow(model.state(arrays(histories, model)), more)
    whole = [np.concatenate([old, new]) for old, new in zip(arrays(histories, model), more, strict=True)]
    np.testing.assert_allclose(model.scores_from(state), model.scores(whole), **CLOSE)


@every_kind
@settings(max_examples=15, deadline=None)
@given(histories=Histories, seed=st.integers(0, 9))
def test_queries_along_a_history_score_as_each_alone(model: Retriever, histories: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    prefixes = [
        h[:stop] for h in arrays(histories, model) if len(h) for stop in np.sort(rng.integers(1, len(h) + 1, 3))
    ]
    for prefix, found in zip(prefixes, model.scores(prefixes), strict=True):
        np.testing.assert_allclose(found, model.scores_from(model.state([prefix]))[0], **CLOSE)


def test_queries_along_a_history_read_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    embedded = Retriever._embedded
    monkeypatch.setattr(Retriever, "_embedded", lambda self, codes: read.append(codes.numel()) or embedded(self, codes))
    history = np.arange(25, dtype=np.int32)
    MODEL.scores([history[:stop] for stop in range(15, 26)])
    assert read == [1 + 25]  # the start vector, and each item


@every_kind
def test_event_by_event_for_a_long_time(model: Retriever) -> None:
    history = np.random.default_rng(0).integers(0, 30, 300)
    state = model.state([history[:1]])
    for item in history[1:]:
        state = model.follow(state, [item])
    np.testing.assert_allclose(model.scores_from(state), model.scores([history]), **CLOSE)


@every_kind
def test_a_history_too_long_for_one_pass_is_continued(model: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    histories = [np.arange(25) % 30, np.arange(3), np.arange(50) % 30]
    whole = model.scores(histories)
    monkeypatch.setattr("llmrec.retriever.model.SEGMENT", 7)
    monkeypatch.setattr("llmrec.retriever.model.POSITIONS", 10)
    np.testing.assert_allclose(model.scores(histories), whole, **CLOSE)


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 60), cut=st.integers(1, 60), seed=st.integers(0, 9))
def test_a_clock_is_followed_too(length: int, cut: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    history, times = rng.integers(0, 30, length), rng.exponential(100, length).cumsum()
    state = CLOCKED.state([history[:cut]], [times])
    state = CLOCKED.follow(state, history[cut:], times[cut:])
    np.testing.assert_allclose(CLOCKED.scores_from(state), CLOCKED.scores([history], [times]), **CLOSE)


def test_a_clock_hears_how_long_one_waited_and_not_what_year_it_is() -> None:
    history = [np.arange(5)]
    soon, again, late = (
        CLOCKED.scores(history, [start + step * np.arange(5)]) for start, step in ((0, 60), (1e9, 60), (0, 86400))
    )
    np.testing.assert_allclose(soon, again, **CLOSE)
    assert not np.allclose(soon, late, atol=1e-2)


def test_a_moment_that_nobody_knows_counts_as_no_wait() -> None:
    history = [np.arange(5)]
    unknown, same = CLOCKED.scores(history, [np.full(5, np.nan)]), CLOCKED.scores(history, [np.full(5, 7.0)])
    np.testing.assert_allclose(unknown, same, **CLOSE)


def test_a_retriever_that_looks_at_the_clock_is_not_left_without_one() -> None:
    with pytest.raises(ModelFault, match="history 0: 5 items and 0 times. This retriever looks at the clock"):
        CLOCKED.scores([np.arange(5)])
    with pytest.raises(ModelFault, match="5 items and 3 times"):
        CLOCKED.scores([np.arange(5)], [np.arange(3.0)])


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
