"""How far apart two readings may lie and still belong together; it bounds what a late reading touches."""

from __future__ import annotations

from typing import Final

GAP_DAYS: Final = 40
"""So far a reading reaches back over a gap: the days in it are settled again when it comes."""
