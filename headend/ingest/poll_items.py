"""From polling rounds to what the writer takes: one item a round, one for each meter that says it is another one.

The rule it keeps: whatever is in a round, the rounds behind it are written.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec

from drivers.base import MeterIdentity
from headend.domain.clock import Clock
from headend.ingest.item import Item, QuarantineEntry, Stranger, polled
from headend.ingest.poll_round import Mismatch, Rejected, RoundResult, peer_of
from headend.ingest.spool_record import Spoiled
from headend.ingest.write_through import write_through
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store.errors import StoreConflict
from headend.store.pool import Store

_OFTEN: Final = 10
"""Conflicts in a row, a few minutes of trying, after which they are taken for what they say."""


class RoundWriter:
    """Writes rounds, one transaction a call; safe to call while a call that nobody waits for any more still runs."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._writer = ReadingWriter(store, settings, clock)
        self._one_at_a_time = threading.Lock()
        self._conflicts = 0

    def write(self, rounds: Sequence[RoundResult | Spoiled]) -> None:
        """Commit the rounds. Raises StoreUnavailable, StoreConflict or SchemaError; writing again changes nothing."""
        items = [item for result in rounds for item in items_of(result)]
        with self._one_at_a_time:
            try:
                write_through(self._writer.write, items, often=self._conflicts >= _OFTEN)
            except StoreConflict:
                self._conflicts += 1
                raise
            self._conflicts = 0


def items_of(result: RoundResult | Spoiled) -> list[Item]:
    """The items of one round."""
    if isinstance(result, Spoiled):
        return [_spoiled(result)]
    items = [_mismatched(m, result.began_us) for m in result.mismatches]
    items += [_rejected(r, result.began_us) for r in result.rejected]
    if result.readings or result.status:
        whole = polled(result.readings, origin=result.bus, received_us=result.began_us)
        items.append(replace(whole, status=tuple(result.status)))
    return items


def _rejected(record: Rejected, received_us: int) -> Item:
    """For the quarantine: its raw registers, as the meter gave them."""
    meter = {"manufacturer": record.target.manufacturer, "serial": record.target.serial}
    return Item(
        channel="modbus",
        origin=peer_of(record.target),
        received_us=received_us,
        payload=msgspec.json.encode(meter | {"record": record.number, "words": record.words}),
        quarantine=(QuarantineEntry(record.reason, record.detail),),
    )


def _spoiled(record: Spoiled) -> Item:
    """For the quarantine: the record whole, as it lay on the disk."""
    return Item(
        channel="modbus",
        origin=record.bus,
        received_us=record.began_us,
        payload=record.packed,
        quarantine=(QuarantineEntry("spool_record", record.reason),),
    )


def _mismatched(mismatch: Mismatch, received_us: int) -> Item:
    """For the quarantine alone; kept under the serial that the meter gave: a replay never stores it as another's."""
    told = MeterIdentity(mismatch.target.manufacturer, mismatch.reading.serial or "")
    whole = polled([(told, mismatch.reading)], origin=peer_of(mismatch.target), received_us=received_us)
    return replace(
        whole,
        batch=None,
        quarantine=(QuarantineEntry("serial_mismatch", mismatch.detail),),
        strangers=(Stranger(told, mismatch.target.model),),
    )
