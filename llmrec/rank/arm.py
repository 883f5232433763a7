"""One language arm, ranked: the rule is chosen on validation, then the test queries are read once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from transformers import PreTrainedModel

from llmrec.data.larder import Larder
from llmrec.errors import RankingFault
from llmrec.language.search import recall
from llmrec.progress import note
from llmrec.prompts.encoding import Encoder
from llmrec.rank.fused import mean_metric
from llmrec.rank.language import LanguageRanker, Search
from llmrec.rank.letters import LetterRanker
from llmrec.rank.speed import speed
from llmrec.rank.titles import TitleRanker
from llmrec.ranking import write_parquet
from llmrec.recipe.sections import Recipe
from llmrec.rng import rng_for

SAMPLE = 64  # queries on which a beam is held against the exact search
FILES = {
    "valid": {"uniform": "valid", "two_stage": "valid_two_stage"},
    "test": {"uniform": "uniform", "two_stage": "two_stage"},
}


def rank_arm(
    model: PreTrainedModel,
    encoder: Encoder,
    larder: Larder,
    offered: dict[str, dict[str, pl.DataFrame]],
    recipe: Recipe,
    *,
    rule: str,
    words: str,
    ranker: str,
    out: Path,
) -> dict[str, Any]:
    """Ranks both folds' candidate tables (`offered[fold][table]`) and the test queries' catalogue; returns a summary.

    Writes <table>.parquet and valid files into `out`, catalogue.parquet where answers are titles, and the scores of
    the test candidates under every rule into scores/. `rule` is one of the ranker's, or `validation`: the one with the
    highest primary metric on the validation queries' uniform candidates. `words` stand beside progress; `ranker` is
    who the tables say has ranked.
    """
    for fold in ("valid", "test"):
        if not larder.fold(fold).height:
            raise RankingFault(
                f"{words}: the {fold} fold has no queries. A later or earlier moment (split.quantile), or more data, "
                "gives it some."
            )
    seed, primary = recipe.seed, recipe.evaluate.primary
    letters = recipe.answer.style == "letter"
    judge: LanguageRanker = (
        LetterRanker(model, encoder, larder, orders=recipe.answer.orders)
        if letters
        else TitleRanker(model, encoder, larder)
    )
    valid = judge.rank(larder.fold("valid"), offered["valid"], words=f"{words}: valid queries")
    tried = {
        way: mean_metric(valid.tables["uniform"].ranking(way, ranker=ranker, seed=seed), larder.fold("valid"), primary)
        for way in judge.rules
    }
    rule = _chosen(rule, tried, letters=letters)
    asked = recipe.evaluate
    search = None if letters else Search(max(asked.at), bounded(rule), recipe.answer.beam, asked.masks)
    queries = larder.fold("test")
    test = judge.rank(queries, offered["test"], search=search, words=f"{words}: test queries")
    for fold, said in (("valid", valid), ("test", test)):
        for table, scores in said.tables.items():
            write_parquet(scores.ranking(rule, ranker=ranker, seed=seed), out / f"{FILES[fold][table]}.parquet")
    (out / "scores").mkdir(exist_ok=True)
    for table, scores in test.tables.items():
        write_parquet(scores.table(), out / "scores" / f"{table}.parquet")
    summary: dict[str, Any] = {
        "rank_by": rule,
        "validation": {f"{primary} by {way}": value for way, value in tried.items()},
        "seconds": round(test.seconds, 2),
        "users_per_second": round(test.queries / max(test.seconds, 1e-9), 2),
        "tokens_per_query": {kind: round(count / max(1, test.queries), 1) for kind, count in test.tokens.items()},
    }
    if isinstance(judge, LetterRanker):
        summary["slots"] = {"orders": judge.orders, **_said(judge, words)}
    if search is not None and test.catalogue is not None:
        write_parquet(test.catalogue.ranking(search.rule, ranker=ranker, seed=seed), out / "catalogue.parquet")
        summary["nodes_per_query"] = test.nodes / max(1, test.queries)
        summary["search"] = {"rule": search.rule, **_against_exact(judge, queries, search, seed, words)}
    return {**summary, **_speed(judge, queries, offered["test"]["uniform"], search, seed)}


def _chosen(rule: str, tried: dict[str, float], *, letters: bool) -> str:
    if rule == "validation":
        return max(tried, key=lambda way: tried[way])
    if letters:  # one token: its mean is its sum
        return "sum"
    if rule not in tried:
        raise RankingFault(
            f"answer.rank_by is {rule}, which asks the model without a history, and this template cannot be written "
            f"without one. Use {', '.join(tried)} or validation."
        )
    return rule


def bounded(rule: str) -> Any:
    """The rule to search by: a mean, and what a prior is taken off, bound nothing."""
    return "ghost_free" if rule == "ghost_free" else "sum"


def _against_exact(
    ranker: LanguageRanker, queries: pl.DataFrame, search: Search, seed: int, words: str
) -> dict[str, Any]:
    """What a beam finds of the exact list, on a sample of the queries."""
    if search.width is None:
        return {}
    rng = rng_for(seed, "beam")
    some = queries[sorted(rng.choice(queries.height, min(SAMPLE, queries.height), replace=False).tolist())]
    exact = replace(search, width=None)
    lists = [
        {
            int(query[0]): [(0.0, int(item)) for item in items]
            for query, items in zip(said.query, said.item, strict=True)
        }
        for said in (ranker.rank(some, {}, search=one).catalogue for one in (search, exact))
        if said is not None
    ]
    share = recall([lists[0][query] for query in lists[1]], list(lists[1].values()))
    note(f"{words}: a beam of {search.width} finds {share:.1%} of the exact first {search.k} ({some.height} queries)")
    return {"beam": search.width, "recall": share, "queries": some.height}


def _said(ranker: LetterRanker, words: str) -> dict[str, Any]:
    """Which slots it likes, measured and printed."""
    slots = ranker.slots.summary()
    labels, share = ranker.encoder.labels, slots["share"]
    most, least = (labels[share.index(pick(share))] for pick in (max, min))
    note(
        f"{words}: of {slots['slots']} slots {most} is given {max(share):.1%} and {least} {min(share):.1%} on average, "
        f"whatever stands there; {1 / slots['slots']:.1%} would be even"
    )
    return slots


def _speed(
    ranker: LanguageRanker, queries: pl.DataFrame, candidates: pl.DataFrame, search: Search | None, seed: int
) -> dict[str, Any]:
    tables = {} if search is not None else {"uniform": candidates}
    # Batches as when it ranked: what a machine can hold was settled there.
    return speed(lambda some: ranker.rank(some, tables, search=search), queries, seed=seed)
