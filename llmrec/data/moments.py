"""Times as people write them, in pieces, to whole numbers that order them.

Numbers stay what they are (seconds, milliseconds, ...), seconds with fractions become microseconds; dates become
seconds since 1970, or microseconds where any has a fraction. Times without a zone are taken as UTC. What the column is
is decided by all of it: where most values are numbers, dates are strays, and the other way round.

A number below 0 is no moment but a word for none (-1), and is left out; a date before 1970 is a date. Where numbers of
several sizes meet (seconds and milliseconds in one file), each is read by its own size and all become microseconds;
those that lie outside 1990 to 2100 even so are left out, and where that is most of them, the file is refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from llmrec.columns import TIME
from llmrec.errors import DataFault

DATES = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S%.f", "%Y/%m/%d")
KIND = "kind"
EMPTY, UNREADABLE, ENDLESS, NUMBER, FRACTION, DATE = range(6)  # fractions and dates are held in microseconds
NUMBERS = (ENDLESS, NUMBER, FRACTION)
UNITS = ("s", "ms", "us", "ns")  # by size: a number below 1e11 counts seconds, below 1e14 milliseconds, and so on
BOUNDS = np.array([1e11, 1e14, 1e17])
EARLY, LATE = 631_152_000, 4_102_444_800  # 1990 and 2100, in seconds
UNREAD, NEGATIVE, OUT_OF_PLACE = "time cannot be read", "a negative time", "a time of another size than the others"


@dataclass
class Moments:
    """What a column of times turned out to hold, so far."""

    tally: Counter[int] = field(default_factory=Counter)
    """Rows a kind."""
    sizes: Counter[tuple[int, bool]] = field(default_factory=Counter)
    """Numbers by unit, and by whether they lie between 1990 and 2100 in it."""
    examples: dict[int, int] = field(default_factory=dict)
    """The first number of each unit."""
    fine: bool = False
    """Whether any date has a fraction of a second."""
    first: str | None = None
    """The first value that could not be read."""

    def seen(self, column: pl.Series) -> pl.DataFrame:
        """A piece of the column as time: i64 and kind: u8 (see the constants); takes note of what it holds."""
        found = _typed(column) if not column.dtype.is_float() and not _is_text(column) else _written(column)
        kinds = found[KIND].to_numpy()
        counts = np.bincount(kinds, minlength=6)
        self.tally.update({kind: int(n) for kind, n in enumerate(counts) if n})
        if self.first is None and counts[UNREADABLE]:
            self.first = str(column.cast(pl.String, strict=False).filter(kinds == UNREADABLE)[0]).strip()
        if counts[DATE] and not self.fine:
            self.fine = bool((found[TIME].filter(kinds == DATE) % 1_000_000 != 0).any())
        if counts[NUMBER] or counts[FRACTION]:
            self._weigh(found[TIME].to_numpy(allow_copy=True), kinds)
        return found

    def settle(self, table: pl.DataFrame) -> pl.DataFrame:
        """Rows with `time` and `kind` as `seen` gave them, the times all in one unit and a fault, or null, for each.

        Adds `fault` and drops `kind`. To be called when the whole column has been seen.
        """
        time, kind = pl.col(TIME), pl.col(KIND)
        if not self.are_numbers:
            moment = time if self.fine else time // 1_000_000
            fault = pl.when(kind != DATE).then(pl.lit(UNREAD))
            return table.with_columns(moment, fault.cast(pl.String).alias("fault")).drop(KIND)
        faults = pl.when(kind == DATE).then(pl.lit(UNREAD)).when(time < 0).then(pl.lit(NEGATIVE))
        micro = (time.cast(pl.Float64) * 1e6).round().cast(pl.Int64, strict=False)
        if self.mixed:
            whole = pl.when(kind == FRACTION).then(time // 1_000_000).otherwise(time)
            unit = pl.sum_horizontal((whole >= int(bound)).cast(pl.Int64) for bound in BOUNDS)
            moment = (
                pl.when(kind == FRACTION)
                .then(time // pl.lit(1000).cast(pl.Int64).pow(unit))
                .when(unit == 3)
                .then(time // 1000)
                .otherwise(time * pl.lit(1000).cast(pl.Int64).pow(2 - unit.clip(0, 2)))
            )
            seconds = moment / 1_000_000
            faults = faults.when(~seconds.is_between(EARLY, LATE)).then(pl.lit(OUT_OF_PLACE))
        elif self.tally[FRACTION]:
            moment = pl.when(kind == FRACTION).then(time).otherwise(micro)
        else:
            moment = time
        settled = table.with_columns(moment.cast(pl.Int64).alias(TIME), faults.alias("fault"))
        unread = pl.when(pl.col(TIME).is_null() & pl.col("fault").is_null()).then(pl.lit(UNREAD))
        return settled.with_columns(unread.otherwise(pl.col("fault")).alias("fault")).drop(KIND)

    @property
    def are_numbers(self) -> bool:
        """Whether most of what is given are numbers: one stray number does not make dates numbers."""
        given = sum(self.tally.values()) - self.tally[EMPTY]
        found = sum(self.tally[kind] for kind in NUMBERS)
        return 2 * found > given and found > self.tally[ENDLESS]

    @property
    def mixed(self) -> bool:
        """Whether the numbers are of several sizes, such as seconds and milliseconds."""
        return self.are_numbers and len({unit for unit, _ in self.sizes}) > 1

    def check(self, *, where: str) -> None:
        """Raises DataFault where not one value can be read, or where nobody can tell what the numbers count."""
        total = sum(self.tally.values())
        if total and not self.are_numbers and not self.tally[DATE]:
            example = f"the first is {self.first!r}" if self.first is not None else "all are empty"
            raise DataFault(
                f"{where}: none of {total:,} times can be read; {example}. Give seconds since 1970 or ISO dates "
                "(2026-05-31 or 2026-05-31 18:30:00), or map another column with data.columns: {time: ...}."
            )
        if self.mixed and 2 * sum(n for (_, fits), n in self.sizes.items() if fits) < sum(self.sizes.values()):
            raise DataFault(f"{where}: times of several sizes in one column: {self.words()}. Give all in one unit.")

    def words(self) -> str:
        """How many numbers look like which unit, with an example of each."""
        counts = Counter(dict.fromkeys(self.examples, 0))
        for (unit, _), n in self.sizes.items():
            counts[unit] += n
        return ", ".join(f"{counts[unit]:,} like {UNITS[unit]} ({self.examples[unit]})" for unit in sorted(counts))

    def _weigh(self, times: np.ndarray, kinds: np.ndarray) -> None:
        """Counts numbers by their size."""
        numbers = np.where(kinds == FRACTION, times // 1_000_000, times)[(kinds == NUMBER) | (kinds == FRACTION)]
        numbers = numbers[numbers >= 0]
        units = np.searchsorted(BOUNDS, numbers, side="right")
        for unit in np.flatnonzero(np.bincount(units, minlength=4)).tolist():
            own = numbers[units == unit]
            fits = int(((own >= EARLY * 1000**unit) & (own <= LATE * 1000**unit)).sum())
            self.sizes.update({(unit, fit): n for fit, n in ((True, fits), (False, len(own) - fits)) if n})
            self.examples.setdefault(unit, int(own[0]))


def as_found(table: pl.DataFrame) -> pl.Series:
    """What stood in a row's file as its time, for the account of rows left out. Reads time, kind as `seen` gave them.

    >>> as_found(pl.DataFrame({"time": [-1, 1_500_000, 1_500_000], "kind": [NUMBER, FRACTION, DATE]})).to_list()
    ['-1', '1.5', '1970-01-01 00:00:01.500000']
    """
    time, kind = pl.col(TIME), pl.col(KIND)
    date = time.cast(pl.Datetime("us")).cast(pl.String)
    text = pl.when(kind == DATE).then(date).when(kind == FRACTION).then((time / 1e6).cast(pl.String))
    return table.select(text.otherwise(time.cast(pl.String)).fill_null("")).to_series()


def times(column: pl.Series, *, where: str) -> pl.Series:
    """Part of a column as moments, null where a value cannot be read; numbers stay as they are, whatever their size.

    Raises DataFault where not one can be read.
    """
    moments = Moments()
    seen = moments.seen(column)
    moments.sizes.clear()
    moments.check(where=where)
    settled = moments.settle(seen)
    return settled[TIME].set((settled["fault"] != NEGATIVE).fill_null(False), None)


def _is_text(column: pl.Series) -> bool:
    return not (
        column.dtype.is_integer() or (column.dtype.is_temporal() and column.dtype not in (pl.Time, pl.Duration))
    )


def _typed(column: pl.Series) -> pl.DataFrame:
    """Whole numbers and dates, as Parquet keeps them."""
    if column.dtype.is_integer():
        found, kind = column.cast(pl.Int64, strict=False), NUMBER
    else:
        found, kind = column.cast(pl.Datetime("us")).dt.epoch("us"), DATE
    kinds = pl.Series(np.full(len(found), kind, dtype=np.uint8))
    if found.null_count():
        kinds = kinds.set(found.is_null(), EMPTY)
    return pl.DataFrame({TIME: found, KIND: kinds})


def _written(column: pl.Series) -> pl.DataFrame:
    """Floats and text."""
    text = column.cast(pl.String, strict=False).str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    endless = (~numbers.is_finite() | (numbers.abs() > 9e18)).fill_null(False)
    usable = numbers.set(endless, None)
    table = pl.DataFrame({"text": text, "number": usable, "endless": endless}).with_columns(
        fraction=(pl.col("number") % 1 != 0).fill_null(False),
        whole=pl.col("text").cast(pl.Int64, strict=False).fill_null(pl.col("number").cast(pl.Int64, strict=False)),
        micro=(pl.col("number") * 1e6).round().cast(pl.Int64, strict=False),
        date=_dates(text) if int(numbers.null_count()) else pl.lit(None, pl.Int64),
    )
    kind = (
        pl.when(pl.col("text").is_null() | (pl.col("text") == ""))
        .then(EMPTY)
        .when("endless")
        .then(ENDLESS)
        .when(pl.col("fraction") & pl.col("micro").is_not_null())
        .then(FRACTION)
        .when(pl.col("number").is_not_null() & ~pl.col("fraction"))
        .then(NUMBER)
        .when(pl.col("number").is_null() & pl.col("date").is_not_null())
        .then(DATE)
        .otherwise(UNREADABLE)
        .cast(pl.UInt8)
        .alias(KIND)
    )
    time = (
        pl.when(pl.col("fraction")).then("micro").when(pl.col("number").is_not_null()).then("whole").otherwise("date")
    )
    return table.select(time.alias(TIME), kind)


def _dates(text: pl.Series) -> pl.Series:
    """Microseconds since 1970, null where no format fits."""
    plain = text.str.replace("T", " ", literal=True).str.replace(r"\s*(Z|UTC)$", "+00:00")
    stamps = plain.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", strict=False, time_zone="UTC", time_unit="us")
    found = stamps.dt.epoch("us")
    for form in DATES:
        found = found.fill_null(plain.str.to_datetime(form, strict=False, time_unit="us").dt.epoch("us"))
    return found
