from __future__ import annotations

import numpy as np
import pytest

from llmrec.evaluate import resampling
from llmrec.evaluate.per_query import Values
from llmrec.evaluate.resampling import resample


def scores(**rankers: np.ndarray) -> Values:
    """Rankers' values of one metric: (queries,) for one seed, (seeds, queries) for several; one query a user."""
    shaped = {name: np.atleast_2d(np.asarray(v, dtype=float))[:, :, None] for name, v in rankers.items()}
    n = next(iter(shaped.values())).shape[1]
    return Values(np.arange(n), ["hit@1"], shaped)


def width(interval: dict[str, float]) -> float:
    return interval["high"] - interval["low"]


def test_a_ranker_that_is_always_right_has_no_doubt_about_it():
    assert resample(scores(me=np.ones(50)), 200, seed=7).interval("me", "hit@1") == {"mean": 1, "low": 1, "high": 1}


def test_the_interval_is_as_wide_as_theory_says():
    right = np.arange(400) % 2
    interval = resample(scores(me=right), 4000, seed=7).interval("me", "hit@1")
    assert interval["mean"] == 0.5
    assert width(interval) == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.06)


def test_about_95_of_100_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    held = 0
    for world in range(200):
        interval = resample(scores(me=rng.random(150) < 0.3), 300, seed=world).interval("me", "hit@1")
        held += interval["low"] <= 0.3 <= interval["high"]
    assert 0.89 <= held / 200 <= 0.99


def test_differences_are_paired_by_user():
    luck = np.random.default_rng(0).random(300)
    means = resample(scores(a=luck + 0.1, b=luck), 500, seed=7)
    gap = means.difference("a", "b", "hit@1")
    assert [gap["difference"], gap["low"], gap["high"]] == pytest.approx([0.1, 0.1, 0.1])
    assert width(means.interval("a", "hit@1")) > 0.05


def test_a_users_queries_are_drawn_together():
    """Ten queries each that all say the same are worth one, not ten."""
    users = np.repeat(np.arange(40), 10)
    right = (users % 2).astype(float)
    together = resample(Values(users, ["hit@1"], {"me": right[None, :, None]}), 2000, seed=7)
    apart = resample(scores(me=right), 2000, seed=7)
    assert width(together.interval("me", "hit@1")) == pytest.approx(
        width(apart.interval("me", "hit@1")) * np.sqrt(10), rel=0.15
    )


def test_the_mean_is_over_queries_also_when_users_ask_unequally():
    users = np.array([0, 0, 0, 1])
    values = Values(users, ["hit@1"], {"me": np.array([1.0, 1.0, 1.0, 0.0])[None, :, None]})
    means = resample(values, 500, seed=7)
    assert means.mean["me"][0] == 0.75
    # User 0 alone, both, or user 1 alone: nothing in between.
    assert set(means.draws["me"][:, 0].round(6)) == {0.0, 0.75, 1.0}


def test_the_order_of_queries_does_not_matter():
    rng = np.random.default_rng(0)
    users, right = np.repeat(np.arange(30), 2), rng.random(60)
    order = rng.permutation(60)
    a = resample(Values(users, ["hit@1"], {"me": right[None, :, None]}), 200, seed=7)
    b = resample(Values(users[order], ["hit@1"], {"me": right[order][None, :, None]}), 200, seed=7)
    assert a.draws["me"] == pytest.approx(b.draws["me"])


def test_training_seeds_are_drawn_too():
    """Two trainings, one always right and one always wrong: the next one may be either."""
    means = resample(scores(orpo=np.stack([np.ones(50), np.zeros(50)])), 500, seed=7)
    assert means.interval("orpo", "hit@1") == {"mean": 0.5, "low": 0.0, "high": 1.0}


def test_rankers_with_equally_many_seeds_share_the_draw():
    lucky = np.stack([np.full(50, 0.2), np.full(50, 0.6), np.full(50, 0.4)])
    gap = resample(scores(sft=lucky, orpo=lucky + 0.1), 300, seed=7).difference("orpo", "sft", "hit@1")
    assert [gap["low"], gap["high"]] == pytest.approx([0.1, 0.1])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    values = scores(a=np.random.default_rng(0).random(70))
    whole = resample(values, 50, seed=7).draws["a"]
    monkeypatch.setattr(resampling, "BLOCK", 70 * 3)
    assert resample(values, 50, seed=7).draws["a"] == pytest.approx(whole)


def test_the_same_seed_draws_the_same_users():
    values = scores(a=np.random.default_rng(0).random(70))
    assert (resample(values, 50, seed=7).draws["a"] == resample(values, 50, seed=7).draws["a"]).all()
    assert (resample(values, 50, seed=7).draws["a"] != resample(values, 50, seed=8).draws["a"]).any()
