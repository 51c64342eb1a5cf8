"""Keeps what meters' clocks said: the reading, the event when one has drifted, and the command that the policy wants.

The rule it keeps: one transaction for all of it, and for the mark of the day on which it is seen; an episode of drift
is told once, however often it is read.

What is read live is stamped by our own clock: no live reading is suspect because of the meter's. A stored profile is
stamped by the meter; whoever reads one back asks `headend.store.clocks` how far its clock was off.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from drivers.events import EventKind, code_of
from headend.domain.calendar import US_PER_S
from headend.domain.commands import MOST_TTL_S, NOW, CommandKind, Order
from headend.domain.topology import PollTarget
from headend.ingest.clock_offset import ClockOffset
from headend.ingest.clock_policy import ClockRules, Decision, decide, has_drifted
from headend.log import get_logger
from headend.metrics import CLOCK_OFFSET_SECONDS
from headend.settings import Settings
from headend.store import clocks, commands, events
from headend.store.clocks import ClockReading
from headend.store.events import StoredEvent
from headend.store.pool import Connection

POLICY: Final = "clock policy"
"""Who asks for a setting that no person asked for."""
_log = get_logger(__name__)


class ClockBook:
    """Puts clock readings into the store; the caller owns the transaction."""

    def __init__(self, settings: Settings) -> None:
        self._rules = ClockRules.of(settings)
        self.zone = ZoneInfo(settings.settlement.zone)
        """Of clocks that show local time."""

    def read(
        self, connection: Connection, target: PollTarget, offset: ClockOffset, *, model_sets: bool, now: datetime
    ) -> Decision:
        """Keep what was read for its own sake, and do what the policy says to it."""
        reading = self.put(connection, target, offset, now=now)
        decision = decide(
            self._rules,
            reading,
            model_sets=model_sets,
            set_last=clocks.set_last(connection, target.meter_id),
            under_way=commands.under_way(connection, target.meter_id, CommandKind.CLOCK),
        )
        if decision.set:
            order = Order(
                command_id=uuid4(),
                kind=CommandKind.CLOCK,
                wanted=NOW,
                requested_by=POLICY,
                reason=decision.why,
                ttl_s=MOST_TTL_S,
                automatic=True,
            )
            commands.add(connection, target.meter_id, order, now=now)
            _log.info("meter clock will be set", meter=_named(target), command=str(order.command_id), why=decision.why)
        return decision

    def put(
        self,
        connection: Connection,
        target: PollTarget,
        offset: ClockOffset,
        *,
        now: datetime,
        command_id: UUID | None = None,
    ) -> ClockReading:
        """Keep a reading, and tell a drift that began; `command_id`: the command that set the clock just before."""
        previous = clocks.latest(connection, target.meter_id, now=now)
        drifting = previous is not None and previous.drifted and command_id is None
        reading = ClockReading(
            at=offset.at,
            offset_ms=offset.offset_ms,
            uncertainty_ms=offset.uncertainty_ms,
            drifted=has_drifted(offset.offset_ms, offset.uncertainty_ms, self._rules.threshold_s, before=drifting),
            command_id=command_id,
        )
        clocks.add(connection, target.meter_id, reading)
        if clocks.is_off(reading) or clocks.is_off(previous):
            clocks.mark(connection, target.meter_id, at=reading.at, zone=self.zone.key, now=now)
        if offset.offset_us is not None:
            CLOCK_OFFSET_SECONDS.observe(abs(offset.offset_us) / US_PER_S)
        if reading.drifted and not drifting:
            events.add(connection, [_drifted(target.meter_id, offset, now)])
            _log.warning("meter clock drifted", meter=_named(target), offset=offset.told)
        return reading


def _named(target: PollTarget) -> str:
    return f"{target.manufacturer}/{target.serial}"


def _drifted(meter_id: int, offset: ClockOffset, now: datetime) -> StoredEvent:
    return StoredEvent(
        meter_id=meter_id,
        kind=EventKind.CLOCK_DRIFTED,
        code=code_of(EventKind.CLOCK_DRIFTED),
        occurred_at=offset.at,
        received_at=now,
        value=None if offset.offset_us is None else offset.offset_us / US_PER_S,
        detail=f"the clock {offset.told}" if offset.offset_us is None else f"the clock is off by {offset.told}",
        source="headend",
    )
