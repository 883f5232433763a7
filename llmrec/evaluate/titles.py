"""Items that read alike, and numbers of items that tell more than an item's name should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from llmrec.columns import ITEM, ITEMS, KEY, QUERY, TARGET, TIME
from llmrec.evaluate.case import Case
from llmrec.evaluate.finding import Level, check, share

CATALOGUE = "catalogue"
MOST = 5_000  # candidate sets that are searched for titles within titles
Ints = npt.NDArray[np.int64]
Said = Iterator[tuple[Level, str, str]]


@check(
    "twin-titles",
    "titles",
    why="Items that read the same are one item to a language model: whichever of them is right, it ties.",
    remedy="Tell them apart in `data.text`, by year or brand.",
)
def twin_titles(case: Case) -> Said:
    twins = _alike(case, [text.casefold().strip() for text in case.texts])
    if twins[0]:
        yield (
            "warns" if twins[1] > 0.01 * case.queries.height else "notes",
            CATALOGUE,
            _words(case, *twins, "like another"),
        )


@check(
    "near-twin-titles",
    "titles",
    why="Whoever matches generated text to titles loosely cannot tell these apart, and a person hardly can.",
    remedy="Score by item, not by text; see whether they are one item under two ids.",
)
def near_twin_titles(case: Case) -> Said:
    texts = case.texts
    exact = _twins([text.casefold().strip() for text in texts])
    near = _twins(["".join(words) or text for words, text in zip(case.words, texts, strict=True)]) & ~exact
    if near.any():
        found = (int(near.sum()), _asked(case, near))
        yield "notes", CATALOGUE, _words(case, *found, "like another but for punctuation, case and accents")


@check(
    "title-in-title",
    "titles",
    why="Whoever looks for titles in generated text finds both: a right answer is taken for two, or for the wrong one.",
    remedy="Score by item (likelihoods, or the catalogue's tokens); match whole answers only.",
)
def title_in_title(case: Case) -> Said:
    kinds: dict[tuple[str, ...], int] = {}  # items of one title are one title here
    kind = np.array([kinds.setdefault(tuple(words), len(kinds)) for words in case.words])
    short, long = contained(list(kinds))
    if not len(short):
        return
    inside = np.isin(kind, short)
    what = _words(case, int(inside.sum()), _asked(case, inside), "as a part of another's title", verb="occur")
    for name, table in case.injected.items():
        some = table.head(MOST)
        hit = share(_in_sets(some, _codes(case), kind, short * len(kinds) + long, len(kinds)), some.height)
        what += f"; in {hit} of the sets of `{name}` the target's title is in another's, or another's in it"
    yield "notes", CATALOGUE, what


@check(
    "id-order",
    "training",
    "times",
    "met",
    why="Numbers in the order of time tell what is new: a model that reads them, or a tie broken by them, profits.",
    remedy="Number items at random before anything reads their numbers, and break ties at random.",
)
def id_order(case: Case) -> Said:
    assert case.training is not None
    first = case.training.group_by(ITEM).agg(pl.col(TIME).min())
    for whose, numbers in _numbers(case):
        both = first.join(numbers, on=ITEM).drop_nulls()
        n = both.height
        rho = float(both.select(pl.corr(pl.col(TIME).rank(), pl.col("number").rank())).item() or 0) if n > 2 else 0.0
        asked, after = _next_after_largest(case, numbers)
        ordered = n >= 20 and abs(rho) > 0.3 and abs(rho) * np.sqrt(n - 1) > 6
        if ordered or (after >= 5 and after > max(0.02, 10 / max(n, 1)) * asked):
            yield (
                "notes" if whose == "ids" and case.coded else "warns",
                CATALOGUE,
                f"items' {whose} follow time: Spearman's rho with the first interaction is {rho:+.2f} ({n:,} items), "
                f"and {share(after, asked)} of targets have the number after the largest that their user had met",
            )


def contained(titles: Sequence[Sequence[str]]) -> tuple[Ints, Ints]:
    """Pairs of titles, by place, of which the first stands in the second as consecutive words; all titles differ.

    >>> contained([["heat"], ["the", "heat", "2013"], ["the", "heat"], ["up"]])
    (array([0, 0, 2]), array([1, 2, 1]))
    """
    lengths = np.array([len(words) for words in titles], dtype=np.int64)
    numbered: dict[str, int] = {}
    tokens = np.array([numbered.setdefault(w, len(numbered)) for words in titles for w in words], dtype=np.uint64)
    owner = np.repeat(np.arange(len(titles)), lengths)
    starts = np.cumsum(lengths) - lengths
    left = lengths[owner] - (np.arange(len(tokens)) - starts[owner])  # words from here to the title's end
    # Rolling hashes modulo 2^64 (Karp and Rabin 1987) of mixed numbers: two spans that differ agree once in 2^64.
    mixed = (tokens + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    at, spans = np.arange(len(tokens)), np.zeros(len(tokens), dtype=np.uint64)
    pairs = [np.empty(0, dtype=np.int64)]
    for length in range(1, int(lengths.max(initial=0)) + 1):
        fits = left[at] >= length
        at, spans = at[fits], spans[fits]
        spans = spans * np.uint64(0xBF58476D1CE4E5B9) + mixed[at + length - 1]  # of `length` words from `at` on
        whole = lengths[owner[at]] == length
        order = np.argsort(spans[whole])
        wanted, short = spans[whole][order], owner[at[whole]][order]
        if len(wanted):
            place = np.searchsorted(wanted, spans[~whole]).clip(max=len(wanted) - 1)
            same = wanted[place] == spans[~whole]
            pairs.append(short[place[same]] * len(titles) + owner[at[~whole]][same])
    found = np.unique(np.concatenate(pairs))
    return found // max(len(titles), 1), found % max(len(titles), 1)


def _in_sets(table: pl.DataFrame, codes: Ints, kind: Ints, pairs: Ints, n: int) -> int:
    """In how many candidate sets the target's title holds another's or is held; items without a title are left out."""
    order = np.argsort(codes)
    rows = table.select(QUERY, TARGET, pl.col(ITEMS).alias(ITEM)).explode(ITEM)
    at = [np.searchsorted(codes, rows[c].to_numpy(), sorter=order).clip(max=len(codes) - 1) for c in (ITEM, TARGET)]
    known = (codes[order[at[0]]] == rows[ITEM].to_numpy()) & (codes[order[at[1]]] == rows[TARGET].to_numpy())
    one, other = (kind[order[place]] for place in at)
    hit = known & (np.isin(one * n + other, pairs) | np.isin(other * n + one, pairs))
    return rows.filter(hit)[QUERY].n_unique()


def _numbers(case: Case) -> Iterator[tuple[str, pl.DataFrame]]:
    """What may be read as a number of an item: its code, and the digits at the end of its owner's id."""
    assert case.training is not None
    items = case.items if case.items is not None else case.training.select(ITEM).unique()
    if case.coded:
        yield "codes", items.select(ITEM, number=pl.col(ITEM).cast(pl.Int64))
    if KEY in items.columns:
        numbers = items.select(ITEM, number=pl.col(KEY).str.extract(r"(\d{1,15})$").cast(pl.Int64)).drop_nulls()
        if numbers["number"].n_unique() >= 0.9 * items.height:
            yield "ids", numbers


def _next_after_largest(case: Case, numbers: pl.DataFrame) -> tuple[int, int]:
    """Queries with a history, and how many of their targets have the number after the largest one in it."""
    assert case.met is not None
    largest = case.met.join(numbers, on=ITEM).group_by(QUERY).agg(pl.col("number").max().alias("largest"))
    asked = case.queries.select(QUERY, pl.col(TARGET).alias(ITEM)).join(numbers, on=ITEM).join(largest, on=QUERY)
    return asked.height, asked.filter(pl.col("number") == pl.col("largest") + 1).height


def _codes(case: Case) -> Ints:
    assert case.items is not None
    return case.items[ITEM].to_numpy().astype(np.int64)


def _twins(texts: list[str]) -> npt.NDArray[np.bool_]:
    return pl.Series(texts, dtype=pl.String).is_duplicated().to_numpy()


def _alike(case: Case, texts: list[str]) -> tuple[int, int]:
    twins = _twins(texts)
    return int(twins.sum()), _asked(case, twins)


def _asked(case: Case, items: npt.NDArray[np.bool_]) -> int:
    """How many targets are among the items."""
    return int(np.isin(case.queries[TARGET].to_numpy(), _codes(case)[items]).sum())


def _words(case: Case, found: int, asked: int, how: str, *, verb: str = "read") -> str:
    of = len(_codes(case))
    return (
        f"{found:,} of {of:,} items ({share(found, of)}) {verb} {how}; {asked:,} targets "
        f"({share(asked, case.queries.height)}) are among them"
    )


CHECKS = (twin_titles, near_twin_titles, title_in_title, id_order)
