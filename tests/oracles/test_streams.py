"""numpy itself is the oracle: many generators side by side draw what each draws alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.rng import rng_for, seed_for
from llmrec.streams import Streams, seeds_for

pytestmark = pytest.mark.oracle

STEPS = st.one_of(
    st.just(("random", 0)),
    st.tuples(st.just("integers"), st.one_of(st.integers(1, 70_000), st.integers(2**31 - 9, 2**32 - 1))),
    st.tuples(st.just("permutation"), st.integers(1, 40)),
)


def drawn(rng: Any, step: tuple[str, int]) -> Any:
    name, size = step
    return rng.random() if name == "random" else getattr(rng, name)(size)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    keys=st.lists(st.integers(-(2**40), 2**62), min_size=1, max_size=30),
    steps=st.lists(STEPS, max_size=12),
)
def test_every_draw_is_numpys(seed: int, keys: list[int], steps: list[tuple[str, int]]):
    many = Streams.of(seed, "negatives", "uniform", keys=np.array(keys))
    alone = [rng_for(seed, "negatives", "uniform", key) for key in keys]
    for step in steps:
        assert drawn(many, step).tolist() == np.array([drawn(rng, step) for rng in alone]).tolist()


def test_seeds_are_those_of_one():
    keys = np.array([0, 1, -5, 2**62])
    assert seeds_for(7, "slots", 3, keys=keys).tolist() == [seed_for(7, "slots", 3, key) for key in keys.tolist()]


def test_a_draw_that_is_refused_is_drawn_again_for_its_stream_alone():
    # Just above 2^31 nearly every second draw is refused, so that streams fall out of step with one another.
    many, keys = Streams.of(7, "x", keys=np.arange(200)), range(200)
    alone = [rng_for(7, "x", key).integers(2**31 + 1, size=9).tolist() for key in keys]
    assert np.stack([many.integers(2**31 + 1) for _ in range(9)], axis=1).tolist() == alone


def test_some_of_them_go_on_alone_and_leave_the_others_where_they_were():
    many, twin = Streams.of(7, "x", keys=np.arange(9)), Streams.of(7, "x", keys=np.arange(9))
    some = many.some(np.array([2, 5]))
    some.random()
    assert many.random().tolist() == twin.random().tolist()


def test_there_is_nothing_to_draw_from_nothing():
    with pytest.raises(ValueError, match="high is 0; from 1"):
        Streams.of(7, "x", keys=np.arange(3)).integers(0)
