"""From scores to rankings: who is listed, in what order, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest

from llmrec.errors import RankingFault
from llmrec.rank.scorer import first_and_tied, rank_candidates, rank_catalogue
from llmrec.ranking import checked_ranking
from tests.rank.library import library, offered


@dataclass
class Librarian:
    """Says what it was told to say of each book, whoever asks, and remembers what it was asked."""

    says: Sequence[float]
    name: str = "librarian"
    asked: list[int] = field(default_factory=list)
    clocks: list[Sequence[np.ndarray] | None] = field(default_factory=list)

    def scores(self, contexts: Sequence[np.ndarray], times: Sequence[np.ndarray] | None = None) -> np.ndarray:
        self.asked.append(len(contexts))
        self.clocks.append(times)
        return np.tile(np.asarray(self.says, dtype=np.float32), (len(contexts), 1))


def lists(ranking: pl.DataFrame) -> dict[int, list[int]]:
    return {q: ranking.filter(query=q).sort("rank")["item"].to_list() for q in ranking["query"].unique()}


TWO = library([[0, 1, 2], [3, 4, 0]], books=6)


def test_every_candidate_is_listed_in_the_scorers_order() -> None:
    ranking = rank_candidates(Librarian([5, 1, 4, 2, 3, 0]), TWO, TWO.queries, offered(TWO, [2, 4, 5], [5, 0]), seed=7)
    assert lists(ranking) == {100: [2, 4, 5], 101: [0, 5]}
    assert checked_ranking(ranking)["ranker"].unique().to_list() == ["librarian"]


def test_the_catalogue_is_listed_without_what_the_reader_has_seen() -> None:
    ranking = rank_catalogue(Librarian([5, 1, 4, 2, 3, 0]), TWO, TWO.queries, k=3, seed=7)
    assert lists(ranking) == {100: [2, 4, 3], 101: [0, 2, 1]}


def test_or_with_it_where_nothing_is_masked() -> None:
    scorer = Librarian([5, 1, 4, 2, 3, 0])
    assert lists(rank_catalogue(scorer, TWO, TWO.queries, k=3, seed=7, masked=False)) == {
        100: [0, 2, 4], 101: [0, 2, 4],
    }  # fmt: skip


def test_whatever_ties_with_the_kth_is_listed_too() -> None:
    ranking = rank_catalogue(Librarian([1, 9, 2, 2, 2, 0]), TWO, TWO.queries.head(1), k=1, seed=7)
    assert sorted(ranking["item"]) == [2, 3, 4]
    assert ranking["score"].unique().to_list() == [2.0]


def test_a_reader_with_little_left_unseen_gets_a_shorter_list() -> None:
    larder = library([[0, 1, 2, 3]], books=5)
    assert lists(rank_catalogue(Librarian([1, 2, 3, 4, 5]), larder, larder.queries, k=4, seed=7)) == {100: [4, 3]}


def test_ties_fall_by_chance_not_by_code() -> None:
    larder = library([[0, 1]] * 400, books=3)
    ranking = rank_candidates(Librarian([0, 1, 1]), larder, larder.queries, offered(larder, *[[1, 2]] * 400), seed=7)
    first = ranking.filter(rank=1)["item"]
    assert 150 < (first == 1).sum() < 250


def test_many_queries_are_asked_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmrec.rank.scorer.CELLS", 30)
    larder = library([[0, 1]] * 8, books=10)
    scorer = Librarian(range(10))
    ranking = rank_catalogue(scorer, larder, larder.queries, k=2, seed=7)
    assert scorer.asked == [3, 3, 2]
    assert lists(ranking) == {100 + reader: [9, 8] for reader in range(8)}


def test_a_scorer_is_told_when_each_item_came_and_when_the_query_is() -> None:
    larder = library([[0, 1], [1, 2]], books=3, days=[[1, 5], [1, 9]])
    scorer = Librarian([0, 0, 0])
    rank_catalogue(scorer, larder, larder.queries, k=1, seed=7)
    (clock,) = scorer.clocks
    assert clock is not None
    assert [moments.tolist() for moments in clock] == [[86_400, 5 * 86_400], [86_400, 9 * 86_400]]


def test_scores_that_are_not_finite_are_refused_with_their_place() -> None:
    with pytest.raises(RankingFault, match=r"librarian: 2 scores .* query 100, item 4 \(nan\)"):
        rank_catalogue(Librarian([0, 1, 2, 3, np.nan, 5]), TWO, TWO.queries, k=1, seed=7)


def test_scores_for_another_catalogue_are_refused() -> None:
    with pytest.raises(RankingFault, match=r"scores come as \(2, 3\).*catalogue of 6 items"):
        rank_candidates(Librarian([0, 1, 2]), TWO, TWO.queries, offered(TWO, [2], [0]), seed=7)


def test_a_query_without_candidates_is_refused() -> None:
    with pytest.raises(RankingFault, match=r"query 101 has none"):
        rank_candidates(Librarian(range(6)), TWO, TWO.queries, offered(TWO, [2], [0]).head(1), seed=7)


def test_no_queries_give_an_empty_ranking() -> None:
    ranking = rank_catalogue(Librarian(range(6)), TWO, TWO.queries.head(0), k=3, seed=7)
    assert checked_ranking(ranking).height == 0


def test_the_first_k_never_hold_what_was_left_out() -> None:
    scores = np.array([[3, -np.inf, 1, 2], [-np.inf, -np.inf, -np.inf, 0]])
    assert first_and_tied(scores, 2).tolist() == [[True, False, False, True], [False, False, False, True]]
