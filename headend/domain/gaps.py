"""How far apart two readings may lie and still belong together; it bounds what a late reading touches."""

from __future__ import annotations

from typing import Final

GAP_DAYS: Final = 40
"""So far a reading reaches back over a gap: the days in it are settled again when it comes."""
EVENT_SKEW_S: Final = 10
"""An event and a reading of one meter may be stamped by clocks so far apart [s]: an event touches the gaps that it may
lie in (reconciliation.outages.SKEW_US is the same)."""
