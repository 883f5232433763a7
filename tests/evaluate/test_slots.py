from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from llmrec.evaluate.slots import dependence, memorised, unevenness
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


def benchmark(slot_of: Callable[[int, int], int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates, the target's slot and the user of 2,000 queries; `slot_of` is given the query and its target."""
    rng = np.random.default_rng(5)
    targets = rng.integers(60, size=2000)
    items = np.array([rng.choice(np.delete(np.arange(60), target), 10, replace=False) for target in targets])
    slots = np.array([slot_of(query, int(target)) for query, target in enumerate(targets)])
    items[np.arange(2000), slots] = targets
    return items, slots, np.arange(2000) // 10


def test_whoever_memorises_slots_that_follow_the_target_needs_no_history():
    known, popular = memorised(*benchmark(lambda _, target: target * 7 % 10), rng=np.random.default_rng(0))
    assert known == pytest.approx(
        0.64, abs=0.03
    )  # where no other candidate stands in its own slot, and its share of ties
    assert popular == pytest.approx(0.1, abs=0.03)


def test_whoever_memorises_honest_slots_learns_nothing():
    coin = np.random.default_rng(9)
    known, _ = memorised(*benchmark(lambda query, _: int(coin.integers(10))), rng=np.random.default_rng(0))
    assert known == pytest.approx(0.1, abs=0.04)


def test_codes_below_0_are_items_like_any_other():
    items, slots, users = benchmark(lambda _, target: target * 7 % 10)
    assert memorised(items, slots, users, rng=np.random.default_rng(0)) == memorised(
        items - 40, slots, users, rng=np.random.default_rng(0)
    )
