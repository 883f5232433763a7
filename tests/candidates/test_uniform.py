from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.candidates.uniform import uniform
from llmrec.errors import RankingFault
from tests.candidates.shop import asked, shop


def test_the_target_stands_once_among_films_that_the_customer_never_borrowed():
    larder = shop([[0, 1, 2, 3], [4, 5, 6, 7]], films=40)
    table = uniform(larder.queries, larder, 20, seed=7)
    for (query, items, source), target, history in zip(table.iter_rows(), [3, 7], [{0, 1, 2}, {4, 5, 6}], strict=True):
        assert len(set(items)) == 20, query
        assert [item for item, name in zip(items, source, strict=True) if name == "target"] == [target]
        assert not history & set(items)


def test_neither_slot_nor_others_know_which_film_is_the_target():
    films = [3, 1, 4, 15, 9, 2, 6]
    larder = shop([films], films=60)
    tables = [uniform(asked([(5, 0, films, place)]), larder, 20, seed=7) for place in range(1, len(films))]
    slots = {table["source"][0].to_list().index("target") for table in tables}
    others = {tuple(i for i in table["items"][0].to_list() if i not in films) for table in tables}
    assert len(slots) == 1
    assert len(others) == 1


def test_every_slot_is_the_targets_as_often_as_any_other():
    films = [0, 1]
    larder = shop([films], films=30)
    table = uniform(asked([(query, 0, films, -1) for query in range(4000)]), larder, 10, seed=7)
    slots = np.array([source.index("target") for source in table["source"].to_list()])
    assert np.bincount(slots, minlength=10) == pytest.approx(400, abs=5 * np.sqrt(400 * 0.9))


def test_every_untouched_film_is_offered_as_often_as_any_other():
    films = [0, 1]
    larder = shop([films], films=12)
    table = uniform(asked([(query, 0, films, -1) for query in range(4000)]), larder, 6, seed=7)
    offered = np.bincount(table["items"].explode(empty_as_null=False).to_numpy(), minlength=12)
    assert offered[0] == 0
    assert offered[1] == 4000
    assert offered[2:] == pytest.approx(2000, abs=5 * np.sqrt(4000 / 4))


def test_a_querys_candidates_do_not_depend_on_which_others_are_asked():
    histories = [[n, n + 1, n + 2] for n in range(20)]
    larder = shop(histories, films=50)
    whole = uniform(larder.queries, larder, 8, seed=7)
    some = uniform(larder.queries.filter(pl.col("query") % 3 == 0).reverse(), larder, 8, seed=7)
    assert some.equals(whole.filter(pl.col("query") % 3 == 0).reverse())
    assert not whole.equals(uniform(larder.queries, larder, 8, seed=8))


def test_the_last_untouched_films_are_found_in_a_large_shop():
    films = 5000
    larder = shop([list(range(films - 3))], films=films)
    offered = set(uniform(larder.queries, larder, 4, seed=7)["items"][0].to_list())
    assert offered == {films - 4, films - 3, films - 2, films - 1}


def test_a_customer_who_has_borrowed_nearly_everything_cannot_be_asked():
    larder = shop([[0, 1, 2, 3]], films=10)
    with pytest.raises(RankingFault, match=r"user 0 has left 6 of 10 items untouched, and candidates.count needs 7"):
        uniform(larder.queries, larder, 8, seed=7)
