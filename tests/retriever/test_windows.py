"""What a step is given: every item asked for once, each after what came before it, however the rows are filled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.retriever.windows import Window, batch, bucketed, packed, prefixes, windows

Lengths = st.lists(st.integers(0, 60), max_size=5)
BEGIN = 1000  # the start vector's code


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 60), max_size=5), longest=st.integers(1, 20), seed=st.integers(0, 9))
def test_every_item_is_predicted_exactly_once(lengths: list[int], longest: int, seed: int) -> None:
    predicted = [[0] * length for length in lengths]
    for window in windows(lengths, longest, np.random.default_rng(seed)):
        assert 0 < window.stop - window.start <= longest + 1
        for at in range(window.asked, window.stop):
            predicted[window.history][at] += 1
    assert predicted == [[1] * length for length in lengths]


def test_windows_begin_elsewhere_each_time() -> None:
    rng = np.random.default_rng(0)
    starts = {window.start for _ in range(200) for window in windows([100], 10, rng)}
    assert starts >= set(range(1, 98))


@settings(max_examples=30, deadline=None)
@given(lengths=Lengths, longest=st.integers(1, 20))
def test_a_prefix_asks_for_one_item_after_as_much_as_a_window_holds(lengths: list[int], longest: int) -> None:
    cut = prefixes(lengths, longest)
    assert [(w.history, w.asked) for w in cut] == [(h, at) for h, length in enumerate(lengths) for at in range(length)]
    assert all(w.stop == w.asked + 1 and w.start == max(0, w.asked - longest) for w in cut)


@pytest.mark.parametrize("begin", [BEGIN, None])
@settings(max_examples=40, deadline=None)
@given(lengths=Lengths, longest=st.integers(1, 20), pack=st.booleans(), seed=st.integers(0, 9))
def test_what_comes_later_is_of_the_same_window(
    begin: int | None, lengths: list[int], longest: int, pack: bool, seed: int
) -> None:
    """Histories count on from one another, so that an item says which history it is of and what comes d places on."""
    rng = np.random.default_rng(seed)
    histories = list(np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])) if lengths else []
    cut = [w for w in windows(lengths, longest, rng) if begin is not None or w.stop - w.start > 1]
    last = {
        int(histories[w.history][at]): int(histories[w.history][w.stop - 1])
        for w in cut
        for at in range(w.asked, w.stop)
    }
    for some in packed(cut, 3, longest, rng) if pack else bucketed(cut, 3, rng):
        one = batch(some, histories, None, begin=begin, horizon=3)
        assert len(one.later) == 2
        for d, later in enumerate(one.later, start=1):
            for target, found in zip(one.targets.flatten().tolist(), later.flatten().tolist(), strict=True):
                there = target >= 0 and target + d <= last[target]
                assert found == (target + d if there else -1)


@pytest.mark.parametrize("begin", [BEGIN, None])
@settings(max_examples=40, deadline=None)
@given(lengths=Lengths, longest=st.integers(1, 20), size=st.integers(1, 4), pack=st.booleans(), seed=st.integers(0, 9))
def test_each_item_is_asked_for_right_after_the_one_before_it(
    begin: int | None, lengths: list[int], longest: int, size: int, pack: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    histories = list(np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])) if lengths else []
    cut = [w for w in windows(lengths, longest, rng) if begin is not None or w.stop - w.start > 1]
    rows = packed(cut, size, longest, rng) if pack else bucketed(cut, size, rng)
    firsts, asked = {int(h[0]) for h in histories if len(h)}, []
    for some in rows:
        assert len(some) <= size
        one = batch(some, histories, None, begin=begin)
        assert one.codes.shape[1] <= longest + 1
        for codes, targets in zip(one.codes.tolist(), one.targets.tolist(), strict=True):
            for code, target in zip(codes, targets, strict=True):
                if target >= 0:
                    asked.append(target)
                    assert code == (BEGIN if target in firsts else target - 1)
    assert sorted(asked) == [i for i in range(sum(lengths)) if begin is not None or i not in firsts]


def test_packed_rows_say_where_each_history_starts() -> None:
    histories = [np.array([1, 2, 3]), np.array([7, 8])]
    one = batch(
        [[Window(0, 0, 3, 0), Window(1, 0, 2, 0)]], histories, [np.array([0, 0.5, 1]), np.array([0, 2])], begin=9
    )
    assert one.codes.tolist() == [[9, 1, 2, 9, 7]]
    assert one.targets.tolist() == [[1, 2, 3, 7, 8]]
    assert one.layout.starts is not None
    assert one.layout.gaps is not None
    assert one.layout.starts.tolist() == [[True, False, False, True, False]]
    assert one.layout.gaps.tolist() == [[0, 0, 0.5, 0, 0]]


def test_packed_rows_are_full() -> None:
    rng = np.random.default_rng(0)
    rows = [row for some in packed(windows([5] * 1000, 49, rng), 8, 49, rng) for row in some]
    assert all(len(row) == 10 for row in rows)


def test_side_by_side_little_is_padding() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 200, 2000)
    rows = [
        batch(some, [np.zeros(n, int) for n in lengths], None, begin=0)
        for some in bucketed(windows(lengths, 200, rng), 32, rng)
    ]
    asked = sum(int((one.targets >= 0).sum()) for one in rows)
    assert asked / sum(one.codes.numel() for one in rows) > 0.85
