"""Our metrics against trec_eval's, on rankings without ties."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec import metrics
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
