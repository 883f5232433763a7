from __future__ import annotations

import numpy as np
import pytest

from llmrec.evaluate.slots import dependence, unevenness
from llmrec.rng import rng_for


def test_slots_shuffled_by_query_say_nothing_of_the_target():
    scores = []
    for world in range(30):
        rng = np.random.default_rng(world)
        scores.append(dependence(rng.integers(20, size=900), rng.integers(500, size=900), rng=rng))
    assert max(scores) < 5
    assert abs(np.mean(scores)) < 0.6


def test_slots_shuffled_by_target_follow_it():
    """The published mistake: the shuffle is seeded with the answer."""
    targets = np.random.default_rng(0).integers(500, size=900)
    slots = np.array([rng_for(7, "shuffle", int(target)).integers(20) for target in targets])
    assert dependence(slots, targets, rng=np.random.default_rng(1)) > 20


def test_targets_asked_for_once_tell_nothing():
    assert dependence(np.arange(50) % 5, np.arange(50), rng=np.random.default_rng(0)) == 0


def test_slots_that_are_uneven_but_independent_are_no_leak_of_the_target():
    rng = np.random.default_rng(0)
    assert dependence(np.minimum(rng.integers(8, size=900), 3), rng.integers(90, size=900), rng=rng) < 5


def test_even_slots_look_even_and_uneven_ones_do_not():
    even = [unevenness(np.random.default_rng(w).integers(20, size=900), 20) for w in range(200)]
    assert np.mean(np.array(even) < 0.05) == pytest.approx(0.05, abs=0.04)
    assert min(even) > 1e-5
    assert unevenness(np.zeros(100, dtype=int), 20) < 1e-12


def test_the_p_value_is_that_of_chi_square():
    stats = pytest.importorskip("scipy.stats")
    slots = np.random.default_rng(3).choice(10, p=np.array([2, *[1] * 9]) / 11, size=300)
    exact = stats.chisquare(np.bincount(slots, minlength=10)).pvalue
    assert unevenness(slots, 10) == pytest.approx(exact, rel=0.05)


def test_one_slot_cannot_be_uneven():
    assert unevenness(np.zeros(9, dtype=int), 1) == 1
