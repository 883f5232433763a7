from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from llmrec.evaluate import comparison
from llmrec.evaluate.comparison import Comparison, compare, effect_size, find, holm, sign_flip
from llmrec.evaluate.per_query import Values
from llmrec.evaluate.resampling import resample
from tests.evaluate.test_resampling import scores


def compared(values: Values) -> list[Comparison]:
    return compare(values, resample(values, 1000, seed=7), "hit@1", seed=7)


def one(**rankers: np.ndarray) -> Comparison:
    (only,) = compared(scores(**rankers))
    return only


def test_every_pair_is_compared_once_the_later_with_the_earlier():
    flat = np.full(20, 0.5)
    pairs = [(c.a, c.b) for c in compared(scores(popularity=flat, retriever=flat, orpo=flat))]
    assert pairs == [("retriever", "popularity"), ("orpo", "popularity"), ("orpo", "retriever")]


def test_one_ranker_alone_is_compared_with_nobody():
    assert compared(scores(popularity=np.ones(5))) == []


def test_differences_count_users_who_won_tied_and_lost():
    found = one(b=np.array([0.0, 0.5, 1.0, 0.0]), a=np.array([1.0, 0.5, 0.0, 0.5]))
    assert (found.won, found.tied, found.lost) == (2, 1, 1)
    assert found.difference == pytest.approx(0.125)
    assert (found.mean_a, found.mean_b) == pytest.approx((0.5, 0.375))


def test_several_queries_of_a_user_win_or_lose_once():
    users = np.array([0, 0, 1])
    a, b = np.array([1.0, 0.0, 1.0]), np.array([0.0, 0.5, 0.0])
    (found,) = compared(Values(users, ["hit@1"], {"b": b[None, :, None], "a": a[None, :, None]}))
    assert (found.won, found.tied, found.lost) == (2, 0, 0)


def test_a_clear_difference_beats():
    rng = np.random.default_rng(0)
    floor = rng.random(200)
    found = one(floor=floor, me=floor + rng.normal(0.2, 0.3, 200))
    assert found.outcome == "beats"
    assert found.p == pytest.approx(1 / (comparison.FLIPS + 1))
    assert found.turned().outcome == "loses"


def test_the_same_ranker_twice_is_level_and_p_is_1():
    luck = np.random.default_rng(0).random(100)
    found = one(a=luck, b=luck)
    assert (found.outcome, found.p, found.effect, found.tied) == ("level", 1.0, 0.0, 100)


def test_rankers_that_are_alike_are_told_apart_one_time_in_twenty():
    rng = np.random.default_rng(0)
    wrong = sum(sign_flip(rng.normal(size=(60, 1)), flips=500, seed=world)[0] <= 0.05 for world in range(400))
    assert 0.02 <= wrong / 400 <= 0.09


def test_flipping_signs_finds_the_share_of_sign_patterns_that_go_as_far():
    differences = np.array([3.0, 2.0, 2.0, 0.5, -1.0])
    sums = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=5)]
    exact = np.mean([total >= abs(differences.sum()) - 1e-9 for total in sums])
    assert sign_flip(differences[:, None], seed=7)[0] == pytest.approx(exact, abs=0.01)


def test_many_users_need_no_flips(monkeypatch: pytest.MonkeyPatch):
    differences = np.random.default_rng(0).normal(0.06, 1, size=(900, 1))
    drawn = sign_flip(differences, seed=7)[0]
    monkeypatch.setattr(comparison, "MANY_USERS", 500)
    assert sign_flip(differences, seed=7)[0] == pytest.approx(drawn, abs=0.01)
    assert 0.01 < drawn < 0.5


def test_users_who_do_not_differ_weigh_nothing(monkeypatch: pytest.MonkeyPatch):
    """Six of many users differ, five of them one way: 14 of 64 sign patterns go as far."""
    few = np.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0])
    monkeypatch.setattr(comparison, "MANY_USERS", 500)
    assert sign_flip(np.append(few, np.zeros(900))[:, None], seed=7)[0] == pytest.approx(14 / 64, abs=0.02)
    assert sign_flip(np.zeros((900, 1)), seed=7)[0] == 1


def test_holm_is_strict_first_and_never_falls():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_more_comparisons_make_each_one_less_sure():
    """2.5 standard errors decide between two rankers, not among eight."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(7, 100))
    noise = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(axis=1, keepdims=True)
    floor = rng.random(100)
    me = floor + noise[0] + 0.25
    assert one(floor=floor, me=me).outcome == "beats"
    others = {f"other{i}": floor + noise[i] for i in range(1, 7)}
    among = find(compared(scores(floor=floor, **others, me=me)), "me", "floor")
    assert among is not None
    assert among.low > 0
    assert among.p_holm > 0.05
    assert among.outcome == "ahead"
    assert among.turned().outcome == "behind"


def test_several_trainings_must_agree_before_anything_is_won():
    """One training far ahead and one far behind: sure for these two models, not for the next."""
    floor = np.full(200, 0.5)
    seeds = np.stack([np.full(200, 0.9), np.full(200, 0.3)])
    found = one(floor=floor, orpo=seeds)
    assert found.difference == pytest.approx(0.1)
    assert (found.seeds_a, found.seeds_b) == (2, 1)
    assert found.outcome == "level"
    assert found.p > 0.05


def test_effect_size_is_the_mean_over_the_spread():
    assert effect_size(np.array([1.0, 2.0, 3.0])) == 2.0
    assert effect_size(np.zeros(9)) == 0.0
    assert effect_size(np.full(9, 0.5)) is None
    assert effect_size(np.array([0.5])) is None


def test_find_turns_a_comparison_that_was_made_the_other_way():
    made = compared(scores(b=np.array([0.0, 0.0, 1.0]), a=np.array([1.0, 0.5, 1.0])))
    turned = find(made, "b", "a")
    assert turned is not None
    assert turned.difference == pytest.approx(-0.5)
    assert (turned.won, turned.lost) == (0, 2)
    assert turned.turned() == find(made, "a", "b")
    assert find(made, "a", "nobody") is None
