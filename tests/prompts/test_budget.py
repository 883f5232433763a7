from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from llmrec.prompts.budget import Search


def searched(sizes: list[int], costs: list[int], base: int, budget: int) -> tuple[int, int]:
    """Items found to fit, and prompts measured, where a prompt with n items takes sizes[n] tokens."""
    search, measured = Search(costs, base, budget), 0
    while not search.found:
        search.measured(sizes[search.tries])
        measured += 1
    return search.fits, measured


def test_costs_that_are_right_need_one_measurement():
    costs = [5, 3, 9, 2, 7, 4]  # oldest first
    sizes = [10 + extra for extra in accumulate(reversed(costs), initial=0)]
    assert searched(sizes, costs, base=10, budget=25) == (3, 1)
    assert searched(sizes, costs, base=10, budget=1000) == (6, 1)


def test_nothing_fits_where_the_bare_prompt_does_not():
    assert searched([10, 15], [5], base=10, budget=9)[0] == -1


@given(
    steps=st.lists(st.integers(1, 30), max_size=60),
    base=st.integers(0, 20),
    budget=st.integers(1, 600),
    data=st.data(),
)
def test_whatever_the_guesses_what_is_found_fits_and_the_search_is_short(
    steps: list[int], base: int, budget: int, data: st.DataObject
):
    costs = data.draw(st.lists(st.integers(0, 40), min_size=len(steps), max_size=len(steps)))
    sizes = [base, *(base + extra for extra in accumulate(steps))]
    fits, measured = searched(sizes, costs, base=data.draw(st.integers(0, 40)), budget=budget)
    assert fits == -1 or sizes[fits] <= budget
    assert (fits >= 0) == (base <= budget)
    assert measured <= 4 + len(steps).bit_length() + 1


@given(steps=st.lists(st.integers(1, 30), max_size=60), base=st.integers(0, 20), budget=st.integers(20, 600))
def test_without_any_idea_of_costs_one_more_item_would_not_fit(steps: list[int], base: int, budget: int):
    sizes = [base, *(base + extra for extra in accumulate(steps))]
    fits, _ = searched(sizes, [0] * len(steps), base=base + 1, budget=budget)
    assert fits == max(n for n, size in enumerate(sizes) if size <= budget)
