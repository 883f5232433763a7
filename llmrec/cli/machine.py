"""What a process has to settle before torch loads."""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's mallopt, malloc.h
KEPT = 128 << 20  # bytes of the largest block that is kept


def settle() -> None:
    """Lets waiting threads sleep and keeps freed memory; a setting that the user made stands.

    OpenMP's threads spin while they wait, and on a machine that others use too an epoch takes ten times as long. glibc
    gives every large tensor back to the system when it is freed, and the next step pays for its pages anew
    (docs/log.md has the numbers of both). The largest do go back: kept, blocks of ever other sizes, as logits over a
    large vocabulary are, lie in each other's way, and a process grows without end.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:  # musl and macOS have none
        mallopt(MMAP_THRESHOLD, KEPT)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
