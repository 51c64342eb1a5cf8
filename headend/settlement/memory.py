"""Freed memory stays with a process that settles: its arrays are of the same sizes in every pass.

By default the C library gives the top of the heap back after each pass and asks for it again, page by page: a sixth of
what numpy's work takes.
"""

from __future__ import annotations

import ctypes
from typing import Final

KEPT_BYTES: Final = 64 << 20
"""More than that is given back; arrays as large as that come from the kernel and return to it at once."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Parameters of mallopt(3) in glibc's malloc.h."""


def keep_freed() -> None:
    """From here on; does nothing where the C library has no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES // 2)
