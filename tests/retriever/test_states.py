"""What is remembered of users, kept in a file: whole or refused, never half believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llmrec.errors import ModelFault
from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.model import Retriever
from llmrec.retriever.states import State

SMALL = Section(d_model=16, layers=2, d_state=4, headdim=8)


def retriever(section: Section = SMALL) -> Retriever:
    torch.manual_seed(0)
    return Retriever(30, section).eval()


MODEL = retriever()
STATE = MODEL.state([np.array([1, 2, 3]), np.array([4]), np.empty(0, np.int64)])


@pytest.mark.parametrize("mixer", ["ssd", "mamba1", "attention", "gru"])
def test_a_kept_state_goes_on_as_if_never_put_away(mixer: str, tmp_path: Path) -> None:
    model = retriever(SMALL.model_copy(update={"mixer": mixer, "max_length": 10}))
    state = model.state([np.array([1, 2, 3]), np.array([4])])
    state.save(tmp_path / "state")
    kept = model.load_state(tmp_path / "state")
    assert [items.tolist() for items in kept.seen] == [[1, 2, 3], [4]]
    more = [np.array([7, 8]), np.array([9])]
    np.testing.assert_array_equal(
        model.scores_from(model.follow(kept, more)), model.scores_from(model.follow(state, more))
    )


def test_users_are_picked_with_what_they_saw() -> None:
    assert [items.tolist() for items in STATE[1:].seen] == [[4], []]
    assert [items.tolist() for items in STATE[np.array([2, 0])].seen] == [[], [1, 2, 3]]
    joined = State.join([STATE[2:], STATE[:1]])
    assert [items.tolist() for items in joined.seen] == [[], [1, 2, 3]]


def test_what_was_seen_is_not_found_again() -> None:
    found = MODEL.best_from(STATE, 30)
    assert found.items[found.rows == 0].tolist() == [i for i in found.items[found.rows == 0] if i not in (1, 2, 3)]
    assert np.bincount(found.rows).tolist() == [27, 29, 30]


def test_a_truncated_state_is_refused(tmp_path: Path) -> None:
    STATE.save(tmp_path / "state")
    whole = (tmp_path / "state").read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        (tmp_path / "state").write_bytes(whole[:size])
        with pytest.raises(ModelFault, match="state: not a state, or damaged"):
            MODEL.load_state(tmp_path / "state")


def test_a_state_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="nowhere: no such state"):
        State.load(tmp_path / "nowhere")
    with pytest.raises(ModelFault, match="no such state|not a state"):
        State.load(tmp_path)


def changed(path: Path, name: str, part: torch.Tensor | None) -> None:
    """Rewrites a saved state with one of its tensors changed or, with None, left out."""
    STATE.save(path)
    tensors = load_file(path) | ({name: part} if part is not None else {})
    if part is None:
        del tensors[name]
    save_file(tensors, path, metadata={"state_of": STATE.model})


@pytest.mark.parametrize(
    ("name", "part", "fault"),
    [
        ("vectors", torch.full((3, 16), torch.nan), "not finite"),
        ("vectors", torch.zeros(2, 16), "different numbers of users"),
        ("seen", torch.zeros(1, dtype=torch.int64), "different numbers of users"),
        ("clock", None, "damaged"),
        ("layers/0/1", None, "shapes that these weights do not make"),
        ("layers/1/0", torch.zeros(3, 3, 7), "shapes that these weights do not make"),
    ],
)
def test_a_damaged_state_is_refused(tmp_path: Path, name: str, part: torch.Tensor | None, fault: str) -> None:
    changed(tmp_path / "state", name, part)
    with pytest.raises(ModelFault, match=fault):
        MODEL.load_state(tmp_path / "state")


def test_weights_are_no_state(tmp_path: Path) -> None:
    MODEL.save(tmp_path)
    with pytest.raises(ModelFault, match="not a state"):
        State.load(tmp_path / "model.safetensors")


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    STATE.save(tmp_path / "state")
    other = retriever()
    torch.nn.init.normal_(other.items.weight)
    for ask in (lambda: other.load_state(tmp_path / "state"), lambda: other.best_from(STATE, 3)):
        with pytest.raises(ModelFault, match="States do not outlive a refit"):
            ask()
