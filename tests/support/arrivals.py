"""A small world whose readings and changes of topology can come in any order: what is settled in the end is compared.

Everything goes the way it goes in service: readings through the ingest's writer, changes through the store's topology,
days through the role settle. Nothing marks a day by hand.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from drivers.base import MeterIdentity, RegisterReading, Source, batch_of
from headend.domain.calendar import LocalCalendar, to_us
from headend.domain.edits import EditKind, EditOrder
from headend.ingest.item import Item
from headend.ingest.writer import ReadingWriter
from headend.settlement import edit_desk
from headend.settlement.edit_refusal import EditRefused
from headend.settlement.rules import Rules
from headend.settlement.service import SettlementService
from headend.store import topology
from headend.store.pool import Connection
from support.field import HOUR, T0, Field

DAYS = 54
"""From the first reading to the last: longer than what a late reading reaches over (40 days)."""
NOW = T0 + timedelta(days=DAYS + 2)
_BUSY = (*range(6), *range(44, DAYS))
"""Days on which most meters are read; between them lies a gap of 38 days, and longer ones."""


@dataclass(frozen=True)
class Sample:
    """One register reading of a meter (serial)."""

    meter: str
    at: datetime
    import_wh: int | None
    export_wh: int | None


@dataclass(frozen=True)
class Change:
    """Something that was done at a usage point, as the store is told of it."""

    what: str
    apply: Callable[[Connection, World], None]


@dataclass
class World:
    """Areas A and B; `samples` in order of time, `changes` in the order in which they must come."""

    field: Field
    seed: int
    wild: bool
    """Readings that cannot be, resets and rollovers among them."""
    samples: list[Sample] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    edits: list[tuple[str, EditOrder]] = field(default_factory=list)
    """By the usage point's code; those that can hold once everything is there."""
    areas: dict[str, int] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    meters: dict[str, int] = field(default_factory=dict)
    initial: list[tuple[str, str, str, str]] = field(default_factory=list)
    """(point, area, meter, multiplier) from T0 on."""

    def __post_init__(self) -> None:
        self.choose = random.Random(self.seed)
        self.calendar = LocalCalendar(self.field.zone, self.field.settings.settlement.interval_s)
        self.writer = ReadingWriter(self.field.store, self.field.settings, lambda: NOW)
        self.service = SettlementService(self.field.store, self.field.settings, lambda: NOW + HOUR)
        self._build()

    def _build(self) -> None:
        choose = self.choose
        self.areas = {code: self.field.area(code) for code in ("A", "B")}
        names = [("A-sum", "A", "area"), ("B-sum", "B", "area")]
        names += [(name, choose.choice("AB"), "customer") for name in ("swap", "move", "daily", "pv", "far", "plain")]
        for name, area, kind in names:
            self.points[name] = int(
                self.field.one(
                    "insert into usage_point (code, kind, category, rated_current_a) values (%s, %s, %s, %s) "
                    "returning usage_point_id",
                    [name, kind, "none" if kind == "area" else "residential", None if kind == "area" else 60],
                )
            )
            digits = 4 if self.wild and name == "plain" else 8
            self.meters[name] = self.field.meter(name, phases=3 if kind == "area" else 1, digits=digits)
            self.initial.append((name, area, name, "40" if kind == "area" else "1"))
        self.meters["swap-new"] = self.field.meter("swap-new")
        swap_at, move_at, ratio_at = (self._instant() for _ in range(3))
        for name in (*self.points, "swap-new"):
            self._read(name, since=swap_at if name == "swap-new" else T0)
        home = next(area for point, area, _, _ in self.initial if point == "move")
        noted = choose.random() < 0.7
        end = next((s.import_wh for s in reversed(self.samples) if s.meter == "swap" and s.at <= swap_at), 0)
        self.changes = [
            Change(f"swap at {swap_at}", lambda c, w: w.swap(c, swap_at, end if noted else None)),
            Change(f"move at {move_at}", lambda c, w: w.move(c, move_at, "B" if home == "A" else "A")),
            Change(f"other ratio at {ratio_at}", lambda c, w: w.ratio(c, ratio_at)),
        ]
        choose.shuffle(self.changes)
        in_gap = T0 + timedelta(days=20)
        noon = T0 + timedelta(days=choose.choice((2, 3, 46, 48)), hours=12)
        self.edits = [
            ("pv", _order(EditKind.READINGS, noon, noon + 9 * HOUR, meter=("Acme", "pv"))),
            ("daily", _order(EditKind.VALUES, noon, noon + 4 * HOUR, energies_wh=(7, 0, 40, 11))),
            ("move", _order(EditKind.VALUES, in_gap, in_gap + 2 * HOUR, energies_wh=(3, 9))),
        ]
        self.samples.sort(key=lambda s: (s.at, s.meter))

    def _instant(self) -> datetime:
        """On a busy day or in the long gap; on the grid, at midnight, or in the middle of an interval."""
        day = self.choose.choice([*_BUSY[1:-1], 12, 30])
        second = self.choose.choice([0, 0, 6 * 3600, 41_400, 43_217, 86_399])
        return T0 + timedelta(days=day, seconds=second)

    def _read(self, name: str, since: datetime) -> None:
        """Hourly registers with gaps of every length."""
        choose = self.choose
        register, export = 0, 0
        silent_until, whole = -1, True  # a day without a gap may be a reference day
        for k in range(DAYS * 24 + 1):
            at = T0 + k * HOUR + timedelta(seconds=choose.choice([0, 0, 0, 2, 4, 7, 400]))
            register += (
                choose.randint(0, 900) * (30 if name.endswith("sum") and k else 1) // (40 if "sum" in name else 1)
            )
            export += choose.randint(0, 200) if name == "pv" and 8 <= k % 24 <= 16 else 0
            if self.wild and name in {"plain", "far"}:
                register = 0 if choose.random() < 0.004 else register % 10_000 if name == "plain" else register
            day = k // 24
            if day not in _BUSY or (name == "far" and not 2 < day < 52 and choose.random() < 0.9):
                continue
            if name == "far" and 2 < day < 46:
                continue  # 43 days: more than what a late reading reaches over
            if name == "daily" and k % 24 != 10:
                continue
            if k % 24 == 0:
                whole = choose.random() < 0.6
            if k <= silent_until or (not whole and choose.random() < 0.1):
                continue
            if not whole and choose.random() < 0.05:
                silent_until = k + choose.choice([1, 3, 8, 30, 60])
                continue
            if at < since:
                continue
            told = register
            if self.wild and choose.random() < 0.02:
                told = choose.choice([0, register + 5_000_000, max(register - 40_000, 0)]) % 10_000
            if name == "pv" and choose.random() < 0.2:
                # Told in two halves: the export register comes by itself.
                self.samples.append(Sample(name, at, told, None))
                self.samples.append(Sample(name, at, told, export))
            else:
                self.samples.append(Sample(name, at, told, export if name == "pv" else 0))

    def begin(self) -> None:
        """Nothing is stored but what hung where at T0."""
        tables = self.field.rows(
            "select string_agg(format('%%I.%%I', n.nspname, c.relname), ', ') as t from pg_class c "
            "join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'public' and c.relkind in ('r', 'p') and "
            "not c.relispartition and c.relname = any (%s)",
            [list(_FORGOTTEN)],
        )[0]["t"]
        self.field.run(f"truncate {tables} cascade")
        self.writer = ReadingWriter(self.field.store, self.field.settings, lambda: NOW)
        with self.field.store.transaction() as c:
            for point, area, meter, multiplier in self.initial:
                c.execute(
                    "insert into area_membership (usage_point_id, area_id, valid_from) values (%s, %s, %s)",
                    [self.points[point], self.areas[area], T0],
                )
                c.execute(
                    "insert into installation (usage_point_id, meter_id, valid_from, multiplier, start_import_wh) "
                    "values (%s, %s, %s, %s, 0)",
                    [self.points[point], self.meters[meter], T0, multiplier],
                )

    def swap(self, c: Connection, at: datetime, end: int | None) -> None:
        more = {"calendar": self.calendar, "now": NOW}
        topology.remove_meter(c, usage_point_id=self.points["swap"], at=at, end_import_wh=end, **more)  # type: ignore[arg-type]
        topology.install_meter(
            c, usage_point_id=self.points["swap"], meter_id=self.meters["swap-new"], at=at, start_import_wh=0, **more
        )  # type: ignore[arg-type]

    def move(self, c: Connection, at: datetime, area: str) -> None:
        point = self.points["move"]
        topology.move_supply(c, usage_point_id=point, at=at, area_id=self.areas[area], calendar=self.calendar, now=NOW)

    def ratio(self, c: Connection, at: datetime) -> None:
        more = {"usage_point_id": self.points["B-sum"], "at": at, "calendar": self.calendar, "now": NOW}
        topology.remove_meter(c, **more)  # type: ignore[arg-type]
        topology.install_meter(c, meter_id=self.meters["B-sum"], multiplier=Decimal(60), **more)  # type: ignore[arg-type]

    def edit(self, code: str, order: EditOrder) -> bool:
        """Whether it could be made; what is said of nothing is refused."""
        rules = Rules.of(self.field.settings.settlement, self.field.settings.validation)
        try:
            edit_desk.submit(self.field.store, rules, lambda: NOW, code, order)
        except EditRefused:
            return False
        return True

    def write(self, samples: Sequence[Sample]) -> None:
        """One message with all of them."""
        batch = batch_of(
            [
                (
                    MeterIdentity("Acme", s.meter),
                    RegisterReading(
                        instant_us=to_us(s.at), uncertainty_ms=500, import_wh=s.import_wh, export_wh=s.export_wh
                    ),
                )
                for s in samples
            ],
            Source.CONCENTRATOR,
        )
        self.writer.write([Item(channel="mqtt", batch=batch, origin="t", received_us=to_us(NOW), payload=b"p")])

    def change(self, change: Change) -> None:
        with self.field.store.transaction() as c:
            change.apply(c, self)

    def settle(self, most: int = 1000) -> int:
        """Passes of the role settle, until nothing waits or so many were made."""
        for done in range(most):
            if self.service.settle_next() is None:
                return done
        assert most < 1000, "settling does not come to an end"
        return most

    def settled(self) -> dict[str, list[dict[str, Any]]]:
        """Every column of what was settled, but for the instants of settling."""
        assert self.field.one("select count(*) from dirty_day") == 0
        return {
            "interval_day": self.field.intervals(),
            "balance_day": self.field.balances(),
            "shaped_day": self.field.rows("select * from shaped_day order by 1, 2"),
        }


def _order(kind: EditKind, start: datetime, end: datetime, **more: Any) -> EditOrder:
    number = uuid5(NAMESPACE_OID, f"{kind} {start}")
    return EditOrder(edit_id=number, kind=kind, start=start, end=end, by="Li", reason="looked at it", **more)


_FORGOTTEN = (
    "register_reading", "phase_reading", "latest_reading", "reading_revision", "reading_arrival", "area_membership",
    "installation", "interval_day", "balance_day", "shaped_day", "dirty_day", "device_event", "event_episode", "edit",
    "told_in_part",
)  # fmt: skip
