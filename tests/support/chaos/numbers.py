"""What a numbered reading says: its instant and its register follow from meter and number, so a row speaks for itself.

Whatever is lost, stored twice, or given to another meter or instant is seen from the row alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

MAKER: Final = "Acme"
STEP_US: Final = 5_000_000
"""From one reading of a meter to its next one: the publishers live faster than their clocks."""
PLAIN_METERS: Final = range(1, 9)
"""Publish for themselves."""
KEEPING_METERS: Final = range(1, 5)
"""Of these, those that keep what they sent for a while and send it again after a broken line; the others forget."""
AREA_METERS: Final = range(1, 16)
"""Meters on area A; all others hang on area B."""
CONCENTRATORS: Final = {"C1": range(9, 16), "C2": range(16, 24)}
METERS: Final = range(1, 24)
PREFIX: Final = "headend/v1"

TOPOLOGY: Final = f"""
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) select c, 1, c from unnest(array['A', 'B']) c;
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh)
    select '{MAKER}', g::text, 'any', 1, 12, 1 from generate_series(1, {METERS.stop - 1}) g;
insert into usage_point (code, kind, category)
    select 'U' || g, 'customer', 'residential' from generate_series(1, {METERS.stop - 1}) g;
insert into installation (usage_point_id, meter_id, valid_from)
    select g, g, '2020-01-01T00:00Z' from generate_series(1, {METERS.stop - 1}) g;
insert into area_membership (usage_point_id, area_id, valid_from)
    select g, case when g < {AREA_METERS.stop} then 1 else 2 end, '2020-01-01T00:00Z'
    from generate_series(1, {METERS.stop - 1}) g;
insert into concentrator (code, area_id) values ('C1', 1), ('C2', 2);
"""
"""A meter's id is its serial."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The one rule by which publishers write and the audit reads."""

    base_us: int
    """Instant of every meter's reading 0 [UTC, µs since 1970]."""

    def ts_us(self, number: int) -> int:
        """When it was read."""
        return self.base_us + number * STEP_US

    def ts(self, number: int) -> str:
        """The same as RFC 3339."""
        return datetime.fromtimestamp(self.ts_us(number) // 1_000_000, UTC).isoformat()

    @staticmethod
    def import_wh(meter: int, number: int) -> int:
        """What the register shows: 7 Wh a step (5 kW), far from every other meter's register."""
        return meter * 1_000_000_000 + number * 7
