"""Many generators side by side: what `rng_for(seed, purpose, key)` draws, for an array of keys at once.

A generator a query costs tens of microseconds to make, most of a table of pairs. Here the same numbers come out of a
few array operations: numpy's SeedSequence, PCG64 and its bounded integers, restated for arrays.
tests/oracles/test_streams.py holds every draw to the installed numpy, bit for bit.

Sources: numpy/random/bit_generator.pyx (SeedSequence), src/pcg64/pcg64.h (XSL-RR 128/64), src/distributions
(Lemire's bounded integers, arXiv 1805.10941; `random_interval`).
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

LOW32 = np.uint64(0xFFFFFFFF)
MULTIPLIER = (np.uint64(0x2360ED051FC65DA4), np.uint64(0x4385DF649FCCF645))  # high and low half
Words = np.ndarray[Any, np.dtype[np.uint32]]
POOL = 4  # words of 32 bits in a SeedSequence


def seeds_for(seed: int, *purpose: str | int, keys: np.ndarray) -> np.ndarray:
    """`seed_for(seed, *purpose, key)` for every key: (n,) u64."""
    head = "\x1f".join([str(int(seed)), *(f"{type(p).__name__}:{p}" for p in purpose), "int:"]).encode()
    sha256 = hashlib.sha256
    digests = b"".join([sha256(head + b"%d" % key).digest() for key in keys.tolist()])
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 4)[:, 0].astype(np.uint64) >> np.uint64(1)


class Streams:
    """The generators of `n` keys, each at its own place in its own stream.

    `Streams.of(seed, "negatives", keys=queries)` stands for `[rng_for(seed, "negatives", query) for query in queries]`.
    """

    def __init__(self, high: np.ndarray, low: np.ndarray, inc_high: np.ndarray, inc_low: np.ndarray) -> None:
        self._high, self._low, self._inc_high, self._inc_low = high, low, inc_high, inc_low
        # PCG64 gives 64 bits a step; a draw of 32 takes the low half and leaves the high half for the next one.
        self._kept = np.zeros(len(high), dtype=np.uint64)
        self._has = np.zeros(len(high), dtype=bool)

    def __len__(self) -> int:
        return len(self._high)

    @classmethod
    def of(cls, seed: int, *purpose: str | int, keys: np.ndarray) -> Streams:
        """The generators for one purpose and many keys."""
        words = _seed_words(seeds_for(seed, *purpose, keys=keys))
        start_high, start_low, seq_high, seq_low = words
        inc_high = (seq_high << np.uint64(1)) | (seq_low >> np.uint64(63))
        inc_low = (seq_low << np.uint64(1)) | np.uint64(1)
        # From state 0 a step leaves the increment; then the seed is added, and one more step is taken.
        high, low = _add(inc_high, inc_low, start_high, start_low)
        made = cls(high, low, inc_high, inc_low)
        made._step()
        return made

    def some(self, rows: np.ndarray) -> Streams:
        """Those of some rows (places or a mask), as they stand now; the others are not moved by them."""
        made = Streams(self._high[rows], self._low[rows], self._inc_high[rows], self._inc_low[rows])
        made._kept, made._has = self._kept[rows], self._has[rows]
        return made

    def random(self) -> np.ndarray:
        """`rng.random()` of each: (n,) f64 in [0, 1)."""
        return (self._next64() >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def integers(self, high: int) -> np.ndarray:
        """`rng.integers(high)` of each: (n,) i64 in [0, high), for high below 2^32.

        As often as `rng.integers(high, size=m)` would give m of them.
        """
        if not 0 < high < 1 << 32:
            raise ValueError(f"high is {high}; from 1 to 2^32 - 1")
        if high == 1:
            return np.zeros(len(self), dtype=np.int64)  # numpy draws nothing where there is nothing to choose
        bound = np.uint64(high)
        wide = self._next32() * bound
        floor = np.uint64((1 << 32) % high)
        for row in np.flatnonzero((wide & LOW32) < floor).tolist():
            one = np.array([row])
            while (wide[row] & LOW32) < floor:
                wide[row] = self._next32_of(one)[0] * bound
        return (wide >> np.uint64(32)).astype(np.int64)

    def permutation(self, n: int) -> np.ndarray:
        """`rng.permutation(n)` of each: (rows, n) i64."""
        dealt = np.tile(np.arange(n), (len(self), 1))
        rows = np.arange(len(self))
        for last in range(n - 1, 0, -1):
            other = self._interval(last)
            held = dealt[:, last].copy()
            dealt[:, last] = dealt[rows, other]
            dealt[rows, other] = held
        return dealt

    def _interval(self, most: int) -> np.ndarray:
        """An integer from 0 to `most`, both included, as numpy's shuffle draws it: masked, and again if too large."""
        mask = np.uint64((1 << most.bit_length()) - 1)
        value = self._next32() & mask
        while len(over := np.flatnonzero(value > np.uint64(most))):
            value[over] = self._next32_of(over) & mask
        return value.astype(np.int64)

    def _next64(self) -> np.ndarray:
        self._step()
        return _output(self._high, self._low)

    def _next32(self) -> np.ndarray:
        if self._has.all():
            self._has[:] = False
            return self._kept
        if self._has.any():
            return self._next32_of(np.arange(len(self)))
        whole = self._next64()
        self._kept = whole >> np.uint64(32)
        self._has[:] = True
        return whole & LOW32

    def _next32_of(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._kept[rows]
        dry = ~self._has[rows]
        self._has[rows] = dry
        again = rows[dry]
        if len(again):
            moved = self.some(again)
            whole = moved._next64()
            self._high[again], self._low[again] = moved._high, moved._low
            found[dry] = whole & LOW32
            self._kept = self._kept.copy()  # an earlier draw may have been handed out as it stands
            self._kept[again] = whole >> np.uint64(32)
        return found

    def _step(self) -> None:
        high, low = _times(self._high, self._low)
        self._high, self._low = _add(high, low, self._inc_high, self._inc_low)


def _times(high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The low 128 bits of state times multiplier, each in two halves of 64."""
    by_high, by_low = MULTIPLIER
    a, b = low >> np.uint64(32), low & LOW32
    c, d = by_low >> np.uint64(32), by_low & LOW32
    bd, ad, bc = b * d, a * d, b * c
    middle = (bd >> np.uint64(32)) + (ad & LOW32) + bc
    carried = a * c + (ad >> np.uint64(32)) + (middle >> np.uint64(32))
    return carried + high * by_low + low * by_high, low * by_low


def _add(
    high: np.ndarray, low: np.ndarray, more_high: np.ndarray, more_low: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    total = low + more_low
    return high + more_high + (total < low), total


def _output(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """XSL-RR: the halves folded into one, turned by the top six bits."""
    turn, folded = high >> np.uint64(58), high ^ low
    out: np.ndarray = (folded >> turn) | (folded << ((np.uint64(64) - turn) & np.uint64(63)))
    return out


def _seed_words(seeds: np.ndarray) -> tuple[np.ndarray, ...]:
    """`SeedSequence(seed).generate_state(4, uint64)`: four arrays."""
    const = 0x43B0D7E5

    def hashed(value: Words) -> Words:
        nonlocal const
        value = value ^ np.uint32(const)
        const = const * 0x931E8875 & 0xFFFFFFFF
        value = value * np.uint32(const)
        return value ^ (value >> np.uint32(16))

    nothing = np.zeros(len(seeds), dtype=np.uint32)
    words: list[Words] = [
        (seeds & LOW32).astype(np.uint32),
        (seeds >> np.uint64(32)).astype(np.uint32),
        nothing,
        nothing,
    ]
    pool = [hashed(word) for word in words]
    for source in range(POOL):
        for place in range(POOL):
            if source != place:
                mixed = pool[place] * np.uint32(0xCA01F9DD) - hashed(pool[source]) * np.uint32(0x4973F715)
                pool[place] = mixed ^ (mixed >> np.uint32(16))
    const, state = 0x8B51F9DD, []
    for place in range(2 * POOL):
        value = pool[place % POOL] ^ np.uint32(const)
        const = const * 0x58F38DED & 0xFFFFFFFF
        value = value * np.uint32(const)
        state.append((value ^ (value >> np.uint32(16))).astype(np.uint64))
    return tuple(state[2 * n] | (state[2 * n + 1] << np.uint64(32)) for n in range(POOL))
