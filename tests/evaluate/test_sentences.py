from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from llmrec.evaluate.comparison import Comparison, compare
from llmrec.evaluate.resampling import resample
from llmrec.evaluate.sentences import Scene, headline, relation, sentence, title, verdict
from tests.evaluate.test_resampling import scores

CANDIDATES = Scene("uniform", 20, injected=True, users=200, queries=200)
CATALOGUE = Scene("catalogue", None, injected=False, users=200, queries=200)
BEATS = re.compile(r"\bbeats\b")


def between(low: float, difference: float, high: float, p: float = 0.0001, **given: object) -> Comparison:
    base = {
        "a": "orpo",
        "b": "popularity",
        "metric": "ndcg@10",
        "mean_a": 0.5 + difference,
        "mean_b": 0.5,
        "difference": difference,
        "low": low,
        "high": high,
        "p": p,
        "p_holm": p,
        "effect": 0.3,
        "won": 60,
        "tied": 20,
        "lost": 20,
        "seeds_a": 1,
        "seeds_b": 1,
        "pairs": 21,
    }
    return Comparison(**{**base, **given})  # type: ignore[arg-type]


def said(arms: list[str], untuned: list[str] | None = None, **means: float) -> str:
    """The verdict on rankers whose users differ by so little that only equal means are level."""
    rng = np.random.default_rng(0)
    values = scores(**{name: np.full(200, mean) + rng.normal(0, 1e-4, 200) for name, mean in means.items()})
    drawn = resample(values, 300, seed=7)
    made = compare(values, drawn, "hit@1", seed=7)
    return verdict(made, CANDIDATES, means=means, arms=arms, untuned=untuned or [], metric="hit@1")


def test_a_clear_win_reads_as_one():
    assert sentence(between(0.131, 0.149, 0.167), CANDIDATES) == (
        "On 20 uniform candidates (200 users), orpo (NDCG@10 0.649) beats popularity (0.500) by 0.149 [0.131, 0.167]."
    )


def test_the_better_one_comes_first():
    assert sentence(between(-0.167, -0.149, -0.131), CATALOGUE).startswith(
        "On the full catalogue (200 users), popularity (NDCG@10 0.500) beats orpo (0.351) by 0.149 [0.131, 0.167]"
    )


def test_an_interval_with_0_in_it_is_not_a_win():
    words = sentence(between(-0.010, 0.004, 0.018), CANDIDATES)
    assert "orpo (NDCG@10 0.504) cannot be told from popularity (0.500): +0.004 [-0.010, +0.018]" in words


def test_nothing_is_not_written_as_minus_nothing():
    assert relation(between(-0.0001, -0.00001, 0.01)).endswith(": 0.000 [0.000, +0.010]")


def test_a_win_that_the_number_of_comparisons_takes_away_is_not_a_win():
    words = sentence(between(0.001, 0.02, 0.04, p=0.2), CANDIDATES)
    assert "is ahead of popularity (0.500) by 0.020 [0.001, 0.040], though not after correction for 21" in words


@given(some.floats(-0.3, 0.3), some.floats(0, 0.2), some.floats(0, 0.2), some.floats(0, 1))
def test_beats_is_never_written_where_the_interval_includes_0(middle: float, below: float, above: float, p: float):
    found = between(middle - below, middle, middle + above, p=p)
    words = sentence(found, CANDIDATES)
    assert bool(BEATS.search(words)) == (found.outcome in {"beats", "loses"})
    if found.low <= 0 <= found.high:
        assert not BEATS.search(words)
        assert "is below" not in words
        assert "is below" not in relation(found.turned())


def test_a_model_trained_once_is_this_trained_model():
    trained = {"orpo", "retriever"}
    assert sentence(between(0.1, 0.2, 0.3), CANDIDATES, trained).endswith("[0.100, 0.300], for this trained model.")
    both = between(0.1, 0.2, 0.3, b="retriever")
    assert sentence(both, CANDIDATES, trained).endswith(", for these trained models.")
    assert sentence(between(0.1, 0.2, 0.3, seeds_a=3), CANDIDATES, trained).endswith("[0.100, 0.300].")


def test_users_and_queries_are_told_apart():
    assert Scene("catalogue", None, False, 90, 120).words == "the full catalogue (120 queries of 90 users)"
    assert Scene("two_stage", 50, False, 90, 90).words == "50 two-stage candidates, missed targets counted (90 users)"


@pytest.mark.parametrize(("metric", "words"), [("hit@1", "HR@1"), ("ndcg@10", "NDCG@10"), ("mrr@5", "MRR@5")])
def test_metrics_have_their_usual_names(metric: str, words: str):
    assert title(metric) == words


def test_the_verdict_names_the_language_model_the_retriever_and_the_best_floor():
    words = said(["zero_shot", "orpo"], popularity=0.3, transitions=0.4, retriever=0.5, zero_shot=0.45, orpo=0.6)
    assert words.startswith("On 20 uniform candidates (200 users), orpo (HR@1 0.600) beats retriever (0.500) by 0.100")
    assert "and beats transitions, the best floor (0.400) by 0.200" in words
    assert "; retriever beats transitions (0.400) by 0.100" in words
    assert "; what tuning gave: orpo beats zero_shot (0.450) by 0.150" in words
    assert words.endswith(", for these trained models.")


def test_whoever_is_below_a_floor_is_said_to_be():
    words = said(["orpo"], popularity=0.3, transitions=0.7, retriever=0.5, orpo=0.6)
    assert "orpo (HR@1 0.600) beats retriever" in words
    assert "and is below transitions, the best floor (0.700) by 0.100" in words
    assert "; retriever is below transitions (0.700) by 0.200" in words


def test_whoever_does_not_clear_a_floor_is_said_not_to():
    """Half a standard error below the floor."""
    noise = np.random.default_rng(0).normal(size=200)
    values = scores(transitions=np.full(200, 0.5), orpo=0.5 + (noise - noise.mean()) / noise.std() - 0.5 / np.sqrt(200))
    made = compare(values, resample(values, 300, seed=7), "hit@1", seed=7)
    means = {"transitions": 0.5, "orpo": made[0].mean_a}
    words = verdict(made, CANDIDATES, means=means, arms=["orpo"], metric="hit@1")
    assert "does not clear transitions, the best floor (0.500): -0.035 [-0." in words
    assert "below" not in words


def test_the_arm_before_is_the_first_or_the_untuned_one():
    means = {"popularity": 0.3, "sft": 0.4, "raw": 0.35, "orpo": 0.6}
    assert "what tuning gave: orpo beats sft" in said(["sft", "raw", "orpo"], **means)
    assert "what tuning gave: orpo beats raw" in said(["sft", "raw", "orpo"], ["raw"], **means)
    assert "what tuning gave" not in said(["orpo"], **means)


def test_an_untuned_arm_that_comes_last_is_not_the_language_model():
    assert "orpo (HR@1 0.600) beats popularity" in said(["orpo", "raw"], ["raw"], popularity=0.3, orpo=0.6, raw=0.4)


def test_a_ranker_above_all_of_them_is_mentioned():
    words = said(["orpo"], popularity=0.3, retriever=0.5, orpo=0.6, fused=0.65)
    assert "the highest mean is fused's (0.650)" in words


def test_a_table_without_language_models_still_has_a_verdict():
    words = said(["orpo"], popularity=0.3, retriever=0.5)
    assert "retriever (HR@1 0.500) beats popularity, the best floor (0.300) by 0.200" in words


def test_floors_among_themselves_are_compared_best_first():
    assert "transitions (HR@1 0.400) beats recent (0.350) by 0.050" in said(
        [], popularity=0.3, transitions=0.4, recent=0.35
    )
    assert said([], popularity=0.3).endswith("popularity (HR@1 0.300) stands alone.")


def test_the_short_sentence_has_no_numbers_and_never_says_beats_inside_an_interval():
    scene = Scene("catalogue", None, True, 40, 40)
    won = Comparison("orpo", "before", "ndcg@10", 0.5, 0.3, 0.2, 0.1, 0.3, 0.001, 0.003, 1.0, 30, 5, 5, 1, 1, 3)
    level = Comparison("orpo", "retriever", "ndcg@10", 0.5, 0.49, 0.01, -0.1, 0.1, 0.9, 1.0, 0.0, 3, 34, 3, 1, 1, 3)
    means = {"retriever": 0.49, "before": 0.3, "orpo": 0.5}
    assert headline([(scene, [won, level], means)], arms=["before", "orpo"], untuned=["before"]) == (
        "In short: on the full catalogue the language model (orpo) cannot be told from the retriever "
        "and beats itself before tuning (before), for these trained models."
    )
    assert headline([(scene, [], {"popularity": 0.1})], arms=["orpo"]) == ""


def test_the_short_sentence_of_several_trainings_speaks_of_more_than_these():
    scene = Scene("catalogue", None, True, 40, 40)
    level = Comparison("orpo", "retriever", "ndcg@10", 0.5, 0.49, 0.01, -0.1, 0.1, 0.9, 1.0, 0.0, 3, 34, 3, 3, 1, 3)
    means = {"retriever": 0.49, "orpo": 0.5}
    assert headline([(scene, [level], means)], arms=["orpo"]).endswith("the retriever, for this trained model.")
    both = replace(level, seeds_b=2)
    assert headline([(scene, [both], means)], arms=["orpo"]).endswith("cannot be told from the retriever.")
