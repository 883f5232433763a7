"""One language arm, ranked: a rule chosen on validation, the test queries read once, and a summary of what it took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from llmrec.columns import FOLD
from llmrec.data.larder import Larder
from llmrec.errors import RankingFault
from llmrec.prompts.encoding import Encoder
from llmrec.rank.arm import rank_arm
from llmrec.recipe.sections import Recipe
from tests.rank.library import offered
from tests.rank.speakers import OFFERED, films, letters, speaker, titles


def asked(**answer: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "x", "data": {"path": "a.csv"}, "model": {"build": {}}, "answer": answer,
            "evaluate": {"at": [1, 3], "primary": "ndcg@3"},
        }
    )  # fmt: skip


def both_folds(larder: Larder) -> Larder:
    """The same three queries, asked for validation too."""
    folds = [larder.queries.with_columns(pl.lit(fold).alias(FOLD)) for fold in ("valid", "test")]
    return Larder(larder.histories, larder.catalogue, pl.concat(folds), larder.users)


def go(encoder: Encoder, recipe: Recipe, rule: str, out: Path) -> dict[str, Any]:
    larder = both_folds(films())
    table = {"uniform": offered(films(), *OFFERED)}
    return rank_arm(
        speaker(encoder.tokenizer), encoder, larder, {"valid": table, "test": table}, recipe,
        rule=rule, words="before", ranker="before", out=out,
    )  # fmt: skip


def test_validation_chooses_the_rule_and_the_summary_has_all(tmp_path: Path) -> None:
    said = go(titles(), asked(), "validation", tmp_path)
    tried = {name.rpartition(" ")[2]: value for name, value in said["validation"].items()}
    assert list(tried) == ["sum", "mean", "pmi", "ghost_free"]
    assert tried[said["rank_by"]] == max(tried.values())
    assert said["search"]["rule"] == ("ghost_free" if said["rank_by"] == "ghost_free" else "sum")
    assert said["nodes_per_query"] > 0
    assert said["latency_ms"]["queries"] == 3
    for file in ("valid", "uniform", "catalogue"):
        assert pl.read_parquet(tmp_path / f"{file}.parquet")["ranker"].unique().to_list() == ["before"]


@pytest.mark.parametrize("rule", ["sum", "mean", "pmi", "ghost_free"])
def test_scores_stand_side_by_side_and_the_rule_orders_them(tmp_path: Path, rule: str) -> None:
    assert go(titles(), asked(), rule, tmp_path)["rank_by"] == rule
    side_by_side = pl.read_parquet(tmp_path / "scores" / "uniform.parquet")
    assert side_by_side.columns == ["query", "item", "sum", "mean", "pmi", "ghost_free"]
    ranking = pl.read_parquet(tmp_path / "uniform.parquet").join(side_by_side, on=["query", "item"])
    assert ranking["score"].to_numpy() == pytest.approx(ranking[rule].to_numpy().astype(np.float32))


def test_a_beam_says_what_it_finds_of_the_exact_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide = go(titles(), asked(beam=99), "sum", tmp_path)
    assert wide["search"] == {"rule": "sum", "beam": 99, "recall": 1.0, "queries": 3}
    narrow = go(titles(), asked(beam=1), "sum", tmp_path)
    assert narrow["search"]["recall"] < 1
    assert pl.read_parquet(tmp_path / "catalogue.parquet").group_by("query").len()["len"].min() == 3
    assert "a beam of 1 finds" in capsys.readouterr().err


@pytest.mark.parametrize("fold", ["valid", "test"])
def test_a_fold_without_queries_is_named(tmp_path: Path, fold: str) -> None:
    larder, encoder = both_folds(films()), titles()
    other = Larder(larder.histories, larder.catalogue, larder.queries.filter(pl.col(FOLD) != fold), larder.users)
    table = {"uniform": offered(films(), *OFFERED)}
    with pytest.raises(RankingFault, match=rf"before: the {fold} fold has no queries.*split.quantile"):
        rank_arm(
            speaker(encoder.tokenizer), encoder, other, {"valid": table, "test": table}, asked(),
            rule="sum", words="before", ranker="before", out=tmp_path,
        )  # fmt: skip


def test_letters_say_which_slots_they_like(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = go(letters(), asked(style="letter", eos=False, orders=4), "mean", tmp_path)
    assert said["rank_by"] == "sum"
    assert (said["slots"]["orders"], said["slots"]["slots"], said["slots"]["lists"]) == (4, 4, 24)
    assert sum(said["slots"]["share"]) == pytest.approx(1, abs=1e-3)
    assert "25.0% would be even" in capsys.readouterr().err
    assert not (tmp_path / "catalogue.parquet").exists()


def test_a_rule_that_the_template_cannot_give_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrec.errors import PromptFault

    def none(self: Encoder, context: Any, candidates: Any = None) -> Any:
        raise PromptFault("no history")

    monkeypatch.setattr(Encoder, "prompt", none)
    with pytest.raises(RankingFault, match=r"rank_by is pmi.*Use sum, mean, ghost_free or validation"):
        go(titles(), asked(), "pmi", tmp_path)
