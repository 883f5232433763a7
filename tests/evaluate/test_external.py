"""Rankings as other people write them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from llmrec.errors import RankingFault
from llmrec.evaluate.asked import Asked, read_queries
from llmrec.evaluate.external import read_rankings
from llmrec.ranking import places, write_parquet
from tests.evaluate.club import club, offered, placing

CLUB = club(members=4)
TABLE = offered(CLUB, 5)
KEYS = dict(CLUB.catalogue.select("item", "key").iter_rows())
MINE = placing(CLUB, TABLE, [1, 2, 3, 5], ranker="mine")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "club"
    CLUB.write(folder / "prepare")
    return folder


def file(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def named() -> list[tuple[str, str, int, float]]:
    """MINE in the owner's words: member, book, rank, score."""
    return [(f"m{query}", KEYS[item], rank, score) for query, item, rank, score, _ in MINE.iter_rows()]


def stood(ranking: pl.DataFrame, asked: Asked) -> list[tuple[int | None, int | None]]:
    return places(ranking, asked.queries).select("above", "tied").rows()


def refused(asked: Asked, *paths: Path) -> str:
    with pytest.raises(RankingFault) as fault:
        read_rankings(paths, asked)
    return str(fault.value)


def test_a_csv_in_its_owners_words_becomes_our_ranking(run: Path, tmp_path: Path):
    csv = file(tmp_path / "theirs.csv", "user,item,score", *(f"{u},{i},{s}" for u, i, _, s in named()))
    found = read_rankings([csv], read_queries(run))
    assert list(found) == ["theirs"]
    assert found["theirs"].select("query", "item", "rank").rows() == MINE.select("query", "item", "rank").rows()


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_ranks_do_where_there_are_no_scores(run: Path, tmp_path: Path, ending: str):
    comma = {"csv": ",", "tsv": "\t"}[ending]
    rows = (comma.join((u, i, str(r))) for u, i, r, _ in named())
    table = file(tmp_path / f"theirs.{ending}", comma.join(("User", "Item", "Rank")), *rows)
    asked = read_queries(run)
    assert stood(read_rankings([table], asked)["theirs"], asked) == [(0, 1), (1, 1), (2, 1), (4, 1)]


def test_a_trec_run_is_ordered_by_its_scores_and_named_by_its_tag(run: Path, tmp_path: Path):
    lines = [f"{u} Q0 {i} 1 {s} bm25" for u, i, _, s in named()]  # trec_eval, too, never reads the rank
    asked = read_queries(run)
    found = read_rankings([file(tmp_path / "theirs.run", *lines)], asked)
    assert list(found) == ["bm25"]
    assert stood(found["bm25"], asked) == [(0, 1), (1, 1), (2, 1), (4, 1)]


def test_our_own_parquet_is_read_as_it_is(run: Path, tmp_path: Path):
    path = write_parquet(MINE, tmp_path / "uniform.parquet")
    assert read_rankings([path], read_queries(run))["mine"].equals(MINE)


def test_a_parquet_in_its_owners_words_is_read_like_a_csv(run: Path, tmp_path: Path):
    table = pl.DataFrame(named(), schema=["user", "item", "rank", "score"], orient="row").drop("rank")
    asked = read_queries(run)
    found = read_rankings([write_parquet(table, tmp_path / "theirs.parquet")], asked)
    assert stood(found["theirs"], asked) == [(0, 1), (1, 1), (2, 1), (4, 1)]


def test_one_csv_may_hold_several_rankers(run: Path, tmp_path: Path):
    rows = [f"{u},{i},{s},{ranker}" for ranker in ("a", "b") for u, i, _, s in named()]
    found = read_rankings([file(tmp_path / "both.csv", "user,item,score,ranker", *rows)], read_queries(run))
    assert list(found) == ["a", "b"]


def test_equal_scores_tie_and_nearly_equal_ones_do_not(run: Path, tmp_path: Path):
    book = KEYS[CLUB.queries["target"][0]]
    other = next(key for key in KEYS.values() if key != book)
    asked = read_queries(run)
    only = Asked(asked.queries.head(1), asked.names.head(1), asked.users, asked.items, coded=True, keyed=True)
    tied = file(tmp_path / "tied.csv", "user,item,score", f"m0,{book},0.5", f"m0,{other},0.5")
    near = file(tmp_path / "near.csv", "user,item,score", f"m0,{book},0.5", f"m0,{other},0.5000000001")
    found = read_rankings([tied, near], only)
    assert stood(found["tied"], only) == [(0, 2)]
    assert stood(found["near"], only) == [(1, 1)]


def test_a_book_that_is_not_in_the_catalogue_keeps_its_place(run: Path, tmp_path: Path):
    """A model that makes titles up does not get them taken out for free."""
    rows = [f"m{q},{key},{rank}" for q in range(4) for rank, key in enumerate(("made-up", KEYS[q + 4]), start=1)]
    asked = read_queries(run)
    found = read_rankings([file(tmp_path / "inventive.csv", "user,item,rank", *rows)], asked)["inventive"]
    assert stood(found, asked) == [(1, 1)] * 4
    assert found.filter(pl.col("rank") == 1)["item"].unique().to_list() == [-1]


def test_queries_that_were_not_asked_are_left_out(run: Path, tmp_path: Path):
    rows = [*(f"{u},{i},{s}" for u, i, _, s in named()), "m99,isbn-1,1.0"]
    found = read_rankings([file(tmp_path / "theirs.csv", "user,item,score", *rows)], read_queries(run))
    assert found["theirs"].height == MINE.height


def test_queries_can_come_from_a_csv_alone(tmp_path: Path):
    """Nothing of ours at all: everybody's own words, joined to each other."""
    queries = file(tmp_path / "queries.csv", "query,user,target", "q1,ann,Heat", "q2,ben,Up")
    theirs = file(tmp_path / "theirs.run", "q1 Q0 Alien 1 2.0 x", "q1 Q0 Heat 2 1.0 x", "q2 Q0 Up 1 3.0 x")
    others = file(tmp_path / "others.csv", "query,item,rank", "q1,Heat,1", "q1,Alien,2", "q2,Brazil,1")
    asked = read_queries(queries)
    found = read_rankings([theirs, others], asked)
    assert stood(found["x"], asked) == [(1, 1), (0, 1)]
    assert stood(found["others"], asked) == [(0, 1), (None, None)]
    alien = [ranking.filter(pl.col("item") < 0)["item"][0] for ranking in found.values()]
    assert alien[0] == alien[1]  # what no query asks for is still one item to everybody


def test_a_csv_of_queries_may_speak_a_runs_ids(run: Path, tmp_path: Path):
    queries = file(tmp_path / "queries.csv", "query,user,target", "a,m0,isbn-4", "b,m1,isbn-5")
    asked = read_queries(queries, keys=run)
    assert asked.queries["target"].to_list() == [4, 5]
    theirs = file(tmp_path / "theirs.csv", "user,item,score", "m0,isbn-4,1", "m1,isbn-9,1")
    assert stood(read_rankings([theirs], asked)["theirs"], asked) == [(0, 1), (None, None)]


def test_a_queries_file_without_keys_speaks_in_codes(tmp_path: Path):
    path = write_parquet(CLUB.queries, tmp_path / "queries.parquet")
    asked = read_queries(path)
    rows = [f"{query},{item},{score}" for query, item, _, score, _ in MINE.iter_rows()]
    found = read_rankings([file(tmp_path / "codes.csv", "query,item,score", *rows)], asked)
    assert stood(found["codes"], asked) == [(0, 1), (1, 1), (2, 1), (4, 1)]


def test_rankers_of_the_same_name_are_told_apart_by_their_folders(run: Path, tmp_path: Path):
    paths = [write_parquet(MINE, tmp_path / name / "mine" / "uniform.parquet") for name in ("small", "large")]
    assert list(read_rankings(paths, read_queries(run))) == ["small/mine/mine", "large/mine/mine"]


def test_the_same_file_twice_is_refused(run: Path, tmp_path: Path):
    path = write_parquet(MINE, tmp_path / "mine.parquet")
    assert "`mine` is ranked twice" in refused(read_queries(run), path, path)


def test_a_rank_that_contradicts_its_score_is_refused(run: Path, tmp_path: Path):
    csv = file(tmp_path / "odd.csv", "user,item,rank,score", "m0,isbn-1,1,0.2", "m0,isbn-2,2,0.9")
    assert refused(read_queries(run), csv).endswith(
        "odd.csv: rank and score disagree in 1 rows, first for m0: item isbn-2 (rank 2) scores 0.9, more than the item "
        "before it. Leave out the column that does not count."
    )


@pytest.mark.parametrize("wrong", ["nan", "inf", "good", ""])
def test_a_score_that_is_no_number_is_named(run: Path, tmp_path: Path, wrong: str):
    csv = file(tmp_path / "odd.csv", "user,item,score", "m0,isbn-1,0.5", f"m1,isbn-2,{wrong}")
    assert "1 scores are not finite numbers, first for m1, item isbn-2" in refused(read_queries(run), csv)


@pytest.mark.parametrize(
    ("name", "lines", "words"),
    [
        ("x.csv", ["user,score", "m0,1"], "needs columns user or query, item, and score or rank; found user, score"),
        ("x.csv", ["user,item,score"], "ranks nothing"),
        ("x.csv", ["user,item,score", "m0,isbn-1,1", "m0,isbn-1,2"], "item isbn-1 stands more than once for m0"),
        ("x.csv", ["user,item,score", ",isbn-1,1"], "1 rows have no user or no item"),
        (
            "x.csv",
            ["user,item,score", "u0,isbn-1,1"],
            "ranks none of the 4 queries: its first user is 'u0', theirs is 'm0'",
        ),
        ("x.csv", ["user,item,score", "m0,1,1"], "none of its items is known: its first item is '1'"),
        ("x.run", ["m0 Q0 isbn-1 1 2.0"], "six words a line (qid Q0 docid rank score tag), and line 1 has 5"),
        ("x.run", [""], "and it is empty"),
    ],
)
def test_what_cannot_be_read_is_said(run: Path, tmp_path: Path, name: str, lines: list[str], words: str):
    assert words in refused(read_queries(run), file(tmp_path / name, *lines))


def test_files_of_another_kind_are_refused(run: Path, tmp_path: Path):
    (tmp_path / "x.bin").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "x.csv").write_bytes(b"user,item,score\n\xff\xfe,a,1\n")
    asked = read_queries(run)
    assert "neither Parquet, CSV nor text" in refused(asked, tmp_path / "x.bin")
    assert "cannot be read as Parquet" in refused(asked, tmp_path / "x.parquet")
    assert "cannot be read as CSV" in refused(asked, tmp_path / "x.csv")
    assert "no such file" in refused(asked, tmp_path / "nowhere.csv")


def test_users_who_ask_several_queries_cannot_be_gone_by(tmp_path: Path):
    twice = club(members=3, queries_each=2)
    twice.write(tmp_path / "run" / "prepare")
    csv = file(tmp_path / "theirs.csv", "user,item,score", "m0,isbn-1,1")
    words = refused(read_queries(tmp_path / "run"), csv)
    assert "goes by user, and user m0 asks several queries. Use a column query instead" in words


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["query,user", "q1,ann"], "column target missing; found query, user"),
        (["query,user,target"], "every row needs a query, a user and a target"),
        (["query,user,target", "q1,ann,"], "every row needs a query, a user and a target"),
        (["query,user,target", "q1,ann,Up", "q1,ben,Up"], "query 'q1' is of more than one user"),
        (["query,user,target", "q1,ann,Up", "q1,ann,Up"], "query 'q1' has target 'Up' more than once"),
    ],
)
def test_queries_that_do_not_hold_are_refused(tmp_path: Path, lines: list[str], words: str):
    with pytest.raises(RankingFault) as fault:
        read_queries(file(tmp_path / "queries.csv", *lines))
    assert words in str(fault.value)


def test_queries_of_another_run_are_refused(run: Path, tmp_path: Path):
    with pytest.raises(RankingFault, match="user 'ann' is not one of the run's"):
        read_queries(file(tmp_path / "queries.csv", "query,user,target", "q1,ann,isbn-4"), keys=run)


def test_a_folder_without_queries_is_refused(tmp_path: Path):
    with pytest.raises(RankingFault, match=r"has no prepare/queries\.parquet"):
        read_queries(tmp_path)


def test_only_test_queries_are_asked(run: Path):
    mixed = CLUB.queries.with_columns(fold=pl.Series(["test", "valid", "valid", "test"]))
    write_parquet(mixed, run / "prepare" / "queries.parquet")
    assert read_queries(run).queries["query"].to_list() == [0, 3]
    with pytest.raises(RankingFault, match="no query is of fold train; found test, valid"):
        read_queries(run, fold="train")


def test_made_up_books_of_two_files_stay_two_books(run: Path, tmp_path: Path):
    """One was met in a file of candidates, and has a code below 0 already."""
    asked = read_queries(run)
    assert asked.items is not None
    strange = pl.DataFrame({"item": [-1], "key": ["made-up"]}, schema_overrides={"item": pl.Int32})
    wider = replace(asked, items=pl.concat([asked.items.select("item", "key"), strange]))
    rows = [f"m{q},{key},{rank}" for q in range(4) for rank, key in enumerate(("made-up", "other", "isbn-7"), start=1)]
    found = read_rankings([file(tmp_path / "theirs.csv", "user,item,rank", *rows)], wider)["theirs"]
    assert found["item"].to_list() == [-1, -2, 7] * 4


@pytest.mark.parametrize("head", ["user,item,score,Score", 'user,item,score,"score "'])
def test_two_columns_of_one_name_are_refused(run: Path, tmp_path: Path, head: str):
    words = refused(read_queries(run), file(tmp_path / "x.csv", head, "m0,isbn-1,1,2"))
    assert "x.csv: has 2 columns score: 'score', " in words
    assert words.endswith("Leave out what does not count.")


@pytest.mark.parametrize(
    ("item", "score", "words"),
    [
        (["isbn-1"], 1.0, "column item holds List(String) in 1 rows. Write one value a row."),
        ({"a": 1}, 1.0, "column item holds Struct"),
        ("isbn-1", [1.0], "column score holds List(Float64) in 1 rows. Write one value a row."),
    ],
)
def test_lists_where_one_value_belongs_are_refused(run: Path, tmp_path: Path, item: object, score: object, words: str):
    path = tmp_path / "x.parquet"
    pl.DataFrame({"user": ["m0"], "item": [item], "score": [score]}).write_parquet(path)
    assert words in refused(read_queries(run), path)


@pytest.mark.parametrize("blank", ["", " ", '""'])
def test_a_ranker_without_a_name_is_refused(run: Path, tmp_path: Path, blank: str):
    rows = [f"{u},{i},{s},{'mine' if u != 'm0' else blank}" for u, i, _, s in named()]
    words = refused(read_queries(run), file(tmp_path / "x.csv", "user,item,score,ranker", *rows))
    assert "x.csv: 5 of 20 rows have an empty ranker. Name it in each row, or leave out the column" in words
