"""The three floors in libraries where the counts can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.rank.floors import FLOORS, Popularity, Recent, Transitions
from llmrec.rank.scorer import rank_catalogue
from llmrec.ranking import checked_ranking
from tests.rank.library import DAY, library


def order(scores: np.ndarray) -> list[int]:
    """Books from the best, those of equal score by code."""
    return [int(book) for book in np.argsort(-scores, kind="stable")]


def test_popularity_counts_what_was_borrowed_and_not_what_is_asked_for() -> None:
    larder = library([[0, 1, 3], [1, 2, 3], [1, 0, 3]], books=5)
    assert Popularity.fit(larder).scores([np.array([0])]).tolist() == [[2, 3, 1, 0, 0]]


def test_recent_counts_the_thirty_days_before_each_query() -> None:
    # Book 0 was everybody's in January, book 1 is read in June; the readers are asked in July, in June and in January.
    larder = library([[0, 1, 2], [0, 1, 3], [0, 4, 2]], books=5, days=[[1, 170, 200], [2, 171, 172], [3, 4, 5]])
    scorer = Recent.fit(larder)
    july, june, january = scorer.scores([np.array([0])] * 3, [np.array([day * float(DAY)]) for day in (200, 171, 5)])
    assert order(july)[:2] == [1, 0]  # two loans of book 1; book 0 is popular, though not lately
    assert np.floor(july).tolist() == [0, 2, 0, 0, 0]
    assert np.floor(june).tolist() == [0, 1, 0, 0, 0]  # the loan of day 171 itself is not before day 171
    assert np.floor(january).tolist() == [3, 0, 0, 0, 1]


def test_recent_never_looks_at_the_future_of_a_query() -> None:
    past = [[0, 1, 2], [3, 4, 2]]
    days = [[1, 2, 10], [1, 2, 10]]
    now = [np.array([10.0 * DAY])]
    plain = Recent.fit(library(past, books=6, days=days)).scores([np.array([0])], now)
    later = Recent.fit(library([*past, [5, 5, 5, 5]], books=6, days=[*days, [11, 12, 13, 14]])).scores(
        [np.array([0])], now
    )
    assert np.floor(later).tolist() == np.floor(plain).tolist()


def test_recent_long_after_the_last_loan_looks_at_the_last_days_that_there_were() -> None:
    scorer = Recent.fit(library([[0, 1, 2]], books=3, days=[[1, 100, 101]]))
    assert np.floor(scorer.scores([np.array([0])], [np.array([5000.0 * DAY])])).tolist() == [[0, 1, 0]]


def test_recent_before_the_first_loan_falls_back_on_popularity() -> None:
    scorer = Recent.fit(library([[0, 0, 1, 2]], books=3, days=[[5, 6, 7, 8]]))
    assert order(scorer.scores([np.array([0])], [np.array([1.0 * DAY])])[0])[0] == 0


def test_a_query_without_a_moment_sees_the_end_of_all_training_data() -> None:
    scorer = Recent.fit(library([[0, 1, 2]], books=3, days=[[1, 100, 101]]))
    for clock in (None, [np.array([np.nan])]):
        assert np.floor(scorer.scores([np.array([0])], clock)).tolist() == [[0, 1, 0]]


def test_recent_without_dates_counts_the_last_tenth_of_each_reader() -> None:
    scorer = Recent.fit(library([[0] * 18 + [1, 1, 2], [3, 4]], books=5))
    assert np.floor(scorer.scores([np.array([0])])).tolist() == [[0, 2, 0, 1, 0]]


def test_transitions_weigh_by_distance_on_both_sides() -> None:
    scorer = Transitions.fit(library([[0, 1, 2, 3, 9]], books=10))
    after = scorer.scores([np.array([1, 0])])[0]
    # After 0 (the last, weight 1) came 1, 2, 3 at distances 1, 2, 3; after 1 (weight 1/2) came 2 and 3 at 1 and 2.
    assert after[:4] == pytest.approx([0, 1, 1 / 2 + 1 / 2, 1 / 3 + 1 / 4], abs=1 / 72)


def test_transitions_stay_within_a_reader() -> None:
    scorer = Transitions.fit(library([[0, 1, 9], [2, 3, 9]], books=10))
    assert order(scorer.scores([np.array([1])])[0])[:1] != [2]
    assert scorer.scores([np.array([1])])[0].max() < 1 / 36  # nothing ever followed book 1: popularity alone


def test_popularity_decides_between_equal_transitions_and_never_more() -> None:
    larder = library([[0, 1, 9], [0, 2, 9], [3, 2, 9], *[[4, 9]] * 50], books=10)
    after = Transitions.fit(larder).scores([np.array([0])])[0]
    assert order(after)[:3] == [2, 1, 4]  # 1 and 2 followed 0 once each; 4 never did, for all its fame


@pytest.mark.parametrize("name", FLOORS)
def test_every_floor_ranks_for_a_reader_of_whom_nothing_is_known(name: str) -> None:
    larder = library([[0, 1, 2], [5]], books=6, days=[[1, 2, 3], [4]])
    ranking = rank_catalogue(FLOORS[name](larder), larder, larder.queries, k=6, seed=7)
    assert checked_ranking(ranking).filter(query=101).height == 6
    assert ranking["ranker"].unique().to_list() == [name]


@pytest.mark.parametrize("name", FLOORS)
def test_a_batch_scores_as_its_rows_do(name: str) -> None:
    rng = np.random.default_rng(0)
    borrowed = [rng.permutation(30)[:12].tolist() for _ in range(25)]
    days = [np.sort(rng.integers(0, 200, 12)).tolist() for _ in range(25)]
    larder = library(borrowed, books=30, days=days)
    scorer, contexts = FLOORS[name](larder), larder.contexts(larder.queries)
    times = larder.moments(larder.queries)
    alone = [scorer.scores([context], times[row : row + 1])[0] for row, context in enumerate(contexts)]
    np.testing.assert_array_equal(scorer.scores(contexts, times), np.stack(alone))


def test_transitions_count_as_a_loop_would() -> None:
    rng = np.random.default_rng(1)
    borrowed = [rng.integers(0, 8, rng.integers(1, 15)).tolist() for _ in range(20)]
    larder = library(borrowed, books=8)
    context = rng.integers(0, 8, 5)
    wanted = np.zeros(8)
    for weight, seen in zip((1, 1 / 2, 1 / 3), context[::-1], strict=False):
        for history in larder.training():
            for distance in (1, 2, 3):
                for before, after in zip(history, history[distance:], strict=False):
                    wanted[after] += weight / distance * (before == seen)
    np.testing.assert_allclose(Transitions.fit(larder).scores([context])[0], wanted, atol=1 / 72)
