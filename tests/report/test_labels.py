"""Names beside points."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from llmrec.report.labels import Box, crowds, placed

FRAME = Box(0, 0, 500, 300)
SIZE = 8.5


def boxes(ends: list[tuple[float, float]], names: list[str]) -> list[Box]:
    return [
        Box(x, y - SIZE / 2, x + 0.6 * SIZE * len(name), y + SIZE / 2) for (x, y), name in zip(ends, names, strict=True)
    ]


def test_nineteen_names_of_two_crowds_and_three_loners_do_not_overlap():
    """As on a real run: two families of rankers that cost and reach nearly the same."""
    spots = [(30.0, 40.0), (45.0, 200.0), (180.0, 230.0)]
    spots += [(300.0 + i, 120.0 + i) for i in range(8)] + [(340.0 + i % 3, 120.0 + i / 2) for i in range(8)]
    names = ["popularity", "transitions", "retriever", *(f"ranker_{n:02d}" for n in range(16))]
    drawn = boxes(placed(spots, names, FRAME, taken=[]), names)
    assert all(FRAME.holds(box) for box in drawn)
    assert not any(a.meets(b) for a, b in combinations(drawn, 2))


def test_a_name_gives_way_to_what_is_there_already():
    line = Box(100, 99, 500, 101)
    ((x, y),) = placed([(100, 100)], ["retriever"], FRAME, taken=[line])
    (box,) = boxes([(x, y)], ["retriever"])
    assert not box.meets(line)


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 300)), max_size=30))
def test_every_point_is_in_one_crowd_and_has_one_name(spots: list[tuple[float, float]]):
    groups = crowds(spots)
    assert sorted(i for group in groups for i in group) == list(range(len(spots)))
    assert len(placed(spots, ["name"] * len(spots), FRAME, taken=[])) == len(spots)
