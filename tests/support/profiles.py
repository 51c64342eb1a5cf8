"""A meter that stores a profile: freezes its registers, misses some while it has no power, and can be asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any, Literal
from zoneinfo import ZoneInfo

from drivers.base import Quantity
from drivers.modbus.feature_codec import encode_clock
from drivers.modbus.features import ClockField, ClockFormat, ProfileSpec, WriteTarget
from drivers.modbus.profile import Ask
from drivers.modbus.profile_records import EPOCH
from drivers.modbus.register_map import ByteOrder, RegisterSpec, RegisterType, Table, WordOrder

F = ClockField
UNIX = ClockFormat(encoding="unix", zone="utc")
LOCAL = ClockFormat(encoding="byte_fields", fields=(F.YEAR, F.MONTH, F.DAY, F.HOUR, F.MINUTE, F.SECOND), year_base=2000)
DATE = ClockFormat(encoding="byte_fields", fields=(F.YEAR, F.MONTH, F.DAY), year_base=2000)
SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
RESERVED = 0x5A5A
"""What stands between the stamp and the registers: nobody asked for it."""


def register(quantity: Quantity, offset: int) -> RegisterSpec:
    """An energy of a record: u32 in units of 10 Wh."""
    return RegisterSpec(
        quantity=quantity, table=Table.HOLDING, address=offset, type=RegisterType.U32, count=2,
        word_order=WordOrder.HIGH_FIRST, byte_order=ByteOrder.BIG, scale=Fraction(1, 100), unit="kWh",
        resolution=Fraction(10),
    )  # fmt: skip


def spec_of(
    *,
    records: int,
    period_s: int,
    order: Literal["newest_first", "ring"] = "newest_first",
    stamp: ClockFormat | None = LOCAL,
    selector: WriteTarget | None = None,
) -> ProfileSpec:
    """Stamp (if any), one reserved register, import, export."""
    begin = (stamp.count if stamp is not None else 0) + 1
    return ProfileSpec(
        table=Table.HOLDING, address=0x2000, stride=begin + 4, records=records, period_s=period_s, order=order,
        selector=selector, selector_base=1, stamp=stamp,
        registers=(register(Quantity.IMPORT_WH, begin), register(Quantity.EXPORT_WH, begin + 2)),
    )  # fmt: skip


@dataclass
class StoringMeter:
    """Counts so many watts since 1970 and freezes that each period of local or UTC time."""

    spec: ProfileSpec
    zone: tzinfo
    power_w: int = 700
    frozen: list[datetime] = field(default_factory=list)
    """Instants of the records, oldest first, whether they are kept still or not."""

    def run(self, begin: datetime, end: datetime, dark: Iterable[tuple[datetime, datetime]] = ()) -> None:
        """Let time pass: it freezes at every instant of its grid, but not while it has no power."""
        dark = list(dark)
        self.frozen += [at for at in self.grid(begin, end) if not any(since <= at < until for since, until in dark)]

    def grid(self, begin: datetime, end: datetime) -> list[datetime]:
        """Its instants within begin < at <= end."""
        if self.spec.period_s == 86_400:
            days = range((end - begin).days + 3)
            first = begin.astimezone(self.zone)
            midnights = (
                datetime(first.year, first.month, first.day, tzinfo=self.zone) + timedelta(days=d) for d in days
            )
            return [at for m in midnights if begin < (at := m.astimezone(UTC)) <= end]
        step = timedelta(seconds=self.spec.period_s)
        number = (begin - EPOCH) // step + 1
        count = max(0, (end - EPOCH) // step - number + 1)
        return [EPOCH + step * (number + i) for i in range(count)]

    def register_wh(self, at: datetime) -> int:
        """What its import register shows, to the 10 Wh."""
        return int((at - EPOCH).total_seconds() * self.power_w / 3600) // 10 * 10 % 10**10

    def words(self, number: int) -> tuple[int, ...]:
        """The registers of one record, as they stand now."""
        spec = self.spec
        kept = self.frozen[-spec.records :]
        if spec.order == "newest_first":
            at = kept[-1 - number] if number < len(kept) else None
        else:
            at = next((a for i, a in reversed(list(enumerate(self.frozen))) if i % spec.records == number), None)
        if at is None:
            return (spec.empty,) * spec.stride
        stamp = () if spec.stamp is None else encode_clock(spec.stamp, at, self.zone)
        tens = self.register_wh(at) // 10
        return (*stamp, RESERVED, tens >> 16, tens & 0xFFFF, 0, 0)

    def answer(self, ask: Ask) -> tuple[int, ...]:
        """The registers that an `Ask` wants."""
        assert ask.first >= 0
        assert ask.count >= 1
        assert ask.first + ask.count <= self.spec.records
        return tuple(word for i in range(ask.count) for word in self.words(ask.first + i))


def us(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


def utc(*fields: int) -> datetime:
    """An instant."""
    values: Any = fields
    return datetime(*values, tzinfo=UTC)
