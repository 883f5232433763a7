"""Our metrics against trec_eval's, on rankings without ties."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec import metrics
from llmrec.evaluate.per_query import per_query
from llmrec.ranking import places, ranked
from tests.test_ranking import asked

pytrec_eval = pytest.importorskip("pytrec_eval")
pytestmark = pytest.mark.oracle

QUERIES, ITEMS, LISTED = 60, 40, 25


def test_hit_ndcg_and_mrr_are_those_of_trec_eval() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(ITEMS, size=QUERIES)
    listed = np.stack([rng.permutation(ITEMS)[:LISTED] for _ in range(QUERIES)])  # some lists lack their target
    scores = rng.permuted(np.tile(np.arange(LISTED), (QUERIES, 1)), axis=1)
    ranking = ranked(np.repeat(np.arange(QUERIES), LISTED), listed.ravel(), scores.ravel(), ranker="critic", seed=7)
    stood = places(ranking, asked(*targets.tolist()))
    above, tied = stood["above"].fill_null(-1).to_numpy(), stood["tied"].fill_null(1).to_numpy()

    wanted = {str(query): {str(target): 1} for query, target in enumerate(targets)}
    run = {
        str(query): {str(item): float(score) for item, score in zip(listed[query], scores[query], strict=True)}
        for query in range(QUERIES)
    }
    theirs = pytrec_eval.RelevanceEvaluator(wanted, {"success.1,5,10", "ndcg_cut.1,5,10", "recip_rank"}).evaluate(run)

    def of(measure: str) -> list[float]:
        return [theirs[str(query)][measure] for query in range(QUERIES)]

    for k in (1, 5, 10):
        assert metrics.hit(above, tied, k).tolist() == pytest.approx(of(f"success_{k}"))
        assert metrics.ndcg(above, tied, k).tolist() == pytest.approx(of(f"ndcg_cut_{k}"))
    assert metrics.mrr(above, tied).tolist() == pytest.approx(of("recip_rank"))
    assert 0 < (above < 0).sum() < QUERIES


def test_sets_of_targets_score_what_they_score_in_trec_eval() -> None:
    rng = np.random.default_rng(1)
    wanted = [rng.choice(ITEMS, rng.integers(1, 9), replace=False).tolist() for _ in range(QUERIES)]
    listed = np.stack([rng.permutation(ITEMS)[:LISTED] for _ in range(QUERIES)])
    scores = rng.permuted(np.tile(np.arange(LISTED), (QUERIES, 1)), axis=1)
    ranking = ranked(np.repeat(np.arange(QUERIES), LISTED), listed.ravel(), scores.ravel(), ranker="critic", seed=7)
    targets = pl.DataFrame({"query": range(QUERIES), "target": wanted}).explode("target")
    rows = per_query("sets", {"critic": [ranking]}, asked(*(some[0] for some in wanted)), [1, 5, 10], targets=targets)

    kinds = {"success", "recall", "P", "ndcg_cut", "map_cut"}
    judged = {str(query): {str(item): 1 for item in some} for query, some in enumerate(wanted)}
    run = {
        str(query): {str(item): float(score) for item, score in zip(listed[query], scores[query], strict=True)}
        for query in range(QUERIES)
    }
    theirs = pytrec_eval.RelevanceEvaluator(judged, {f"{kind}.1,5,10" for kind in kinds} | {"recip_rank"}).evaluate(run)
    ours = {"hit": "success", "recall": "recall", "precision": "P", "ndcg": "ndcg_cut", "map": "map_cut"}
    for name, measure in ours.items():
        for k in (1, 5, 10):
            assert rows[f"{name}@{k}"].to_list() == pytest.approx(
                [theirs[str(query)][f"{measure}_{k}"] for query in range(QUERIES)]
            )
    first = np.array([theirs[str(query)]["recip_rank"] for query in range(QUERIES)])
    assert rows["mrr@10"].to_list() == pytest.approx(np.where(first >= 1 / 10, first, 0.0).tolist())


def test_queries_that_no_target_is_known_for_are_absent_there_and_here() -> None:
    ranking = ranked(np.array([0, 0, 1, 1]), np.array([3, 4, 3, 4]), np.array([2, 1, 2, 1]), ranker="critic", seed=7)
    rows = per_query("sets", {"critic": [ranking]}, asked(4), [1, 5])
    run = {"0": {"3": 2.0, "4": 1.0}, "1": {"3": 2.0, "4": 1.0}}
    theirs = pytrec_eval.RelevanceEvaluator({"0": {"4": 1}}, {"recip_rank"}).evaluate(run)
    assert [str(query) for query in rows["query"]] == list(theirs) == ["0"]


def test_ties_are_averaged_here_and_go_by_name_there() -> None:
    """The users A and B of docs/evaluation.md; C, who was given no list, is absent there."""
    a, b, c, x, y, z = range(6)
    ranking = ranked(
        np.repeat([0, 1], 5), np.array([a, x, b, y, z, a, b, x, y, z]), np.array([5, 4, 3, 2, 1, 9, 9, 3, 2, 1]),
        ranker="critic", seed=7,
    )  # fmt: skip
    targets = pl.DataFrame({"query": [0, 0, 0, 1], "target": [a, b, c, b]})
    rows = per_query("docs", {"critic": [ranking]}, asked(a, b), [5], targets=targets)
    judged = {"A": {"a": 1, "b": 1, "c": 1}, "B": {"b": 1}, "C": {"a": 1}}
    run = {
        "A": {"a": 5.0, "x": 4.0, "b": 3.0, "y": 2.0, "z": 1.0},
        "B": {"a": 9.0, "b": 9.0, "x": 3.0, "y": 2.0, "z": 1.0},
    }
    theirs = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.5"}).evaluate(run)
    assert rows["ndcg@5"].to_list() == pytest.approx([0.7039, 0.8155], abs=1e-4)
    assert {user: scores["ndcg_cut_5"] for user, scores in theirs.items()} == pytest.approx(
        {"A": 0.7039, "B": 1.0}, abs=1e-4
    )
