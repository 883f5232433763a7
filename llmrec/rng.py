"""Seeds that say what they are for."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_for(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, the same on every machine and Python version.

    >>> seed_for(7, "candidates", 12) == seed_for(7, "candidates", 12) != seed_for(7, "candidates", 13)
    True
    """
    words = "\x1f".join([str(int(seed)), *(f"{type(p).__name__}:{p}" for p in purpose)])
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little") >> 1


def rng_for(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator for one purpose: `rng_for(recipe.seed, "candidates", query)`.

    Draws for one user or query never depend on how many others were drawn before, nor on the answer: the purpose
    may name a query or a user, never a target (see LensKit's derivable seeds, and S-DPO's slot leak for why).
    """
    return np.random.default_rng(seed_for(seed, *purpose))
