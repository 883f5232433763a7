"""What looks along a history: the same numbers whole, in pieces, at the last position alone, and packed in a row."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.recipe.sections import Retriever as Section
from llmrec.retriever.layout import Layout
from llmrec.retriever.mixers import MIXERS, Mixer

CLOSE = {"rtol": 1e-4, "atol": 1e-4}
SMALL = Section(d_model=16, d_state=4, headdim=8, max_length=12)


def mixer(name: str) -> Mixer:
    torch.manual_seed(0)
    return MIXERS[name](SMALL).eval()


ALL = {name: mixer(name) for name in MIXERS}
every = pytest.mark.parametrize("mixer", ALL.values(), ids=ALL.keys())
PACKING = ["ssd", "mamba1", "attention"]


def heard(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, length, 16, generator=torch.Generator().manual_seed(seed))


@every
@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 50), max_size=5), seed=st.integers(0, 9))
@torch.no_grad()
def test_in_pieces_as_whole(mixer: Mixer, cuts: list[int], seed: int) -> None:
    x = heard(2, 50, seed)
    state, said = mixer.start(2), []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 50], strict=True):
        y, state = mixer.extend(x[:, start:stop], state)
        said.append(y)
    torch.testing.assert_close(torch.cat(said, 1), mixer(x), **CLOSE)


@every
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4), seed=st.integers(0, 9))
@torch.no_grad()
def test_the_last_position_alone(mixer: Mixer, lengths: list[int], seed: int) -> None:
    x, layout = heard(len(lengths), max(lengths), seed), Layout(lengths=torch.tensor(lengths))
    torch.testing.assert_close(mixer.last(x, layout), layout.at_last(mixer(x)), **CLOSE)


@every
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4), more=st.integers(0, 5), seed=st.integers(0, 9))
@torch.no_grad()
def test_a_state_knows_nothing_of_padding(mixer: Mixer, lengths: list[int], more: int, seed: int) -> None:
    x, then = heard(len(lengths), 30, seed), heard(len(lengths), more, seed + 100)
    _, state = mixer.extend(x, mixer.start(len(lengths)), Layout(lengths=torch.tensor(lengths)))
    said, _ = mixer.extend(then, state)
    for row, length in enumerate(lengths):
        alone = mixer(torch.cat([x[row : row + 1, :length], then[row : row + 1]], 1))[:, length:]
        torch.testing.assert_close(said[row : row + 1], alone, **CLOSE)


@pytest.mark.parametrize("name", PACKING)
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=5), seed=st.integers(0, 9))
@torch.no_grad()
def test_users_packed_in_a_row_do_not_hear_each_other(name: str, lengths: list[int], seed: int) -> None:
    x = heard(1, sum(lengths), seed)
    starts = torch.cat([torch.arange(length) == 0 for length in lengths])[None]
    alone = [ALL[name](piece) for piece in x.split(lengths, 1)]
    torch.testing.assert_close(ALL[name](x, Layout(starts=starts)), torch.cat(alone, 1), **CLOSE)


def test_a_gru_is_not_packed() -> None:
    with pytest.raises(ValueError, match="cannot start over inside a row"):
        ALL["gru"](heard(1, 4), Layout(starts=torch.tensor([[True, False, True, False]])))


@torch.no_grad()
def test_attention_hears_a_window_and_nothing_before_it() -> None:
    x, other = heard(1, 30), heard(1, 30, seed=1)
    other[:, 10:] = x[:, 10:]
    one, two = ALL["attention"](x), ALL["attention"](other)
    torch.testing.assert_close(one[:, 21:], two[:, 21:], **CLOSE)  # twelve positions: 10 to 21 at position 21
    assert not torch.allclose(one[:, 20], two[:, 20], atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["ssd", "mamba1"])
def test_a_state_space_hears_everything(name: str) -> None:
    x = heard(1, 30)
    other = x.clone()
    other[:, 0] += 1
    assert (ALL[name](x)[:, -1] - ALL[name](other)[:, -1]).abs().max() > 1e-7


@pytest.mark.parametrize("name", ["ssd", "mamba1"])
def test_published_recommenders_begin_with_one_step_size_for_all(name: str) -> None:
    made = MIXERS[name](SMALL.model_copy(update={"dt_init": "zero"}))
    bias = made.dt_bias if name == "ssd" else made.dt_proj.bias
    assert F.softplus(bias).tolist() == pytest.approx([0.693] * len(bias), abs=1e-3)
