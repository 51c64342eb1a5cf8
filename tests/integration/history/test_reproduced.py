"""The proof: whatever was settled at any moment of a long and untidy history is reproduced by asking for that moment.

Readings come in time, late, out of order, twice and incomplete; meters are swapped, points moved, multipliers, signs,
registers and devices noted wrongly and corrected. After each step what is marked is settled, and what the store says is
written down. At the end every such moment is asked for again: energies, qualities, flags and balances are the same.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from headend.settlement.grid import DayRange
from support.chronicle import Chronicle, vectors_of
from support.field import DAY0, QUARTER, T0

DAYS = 5
SEEDS = [int(seed) for seed in os.environ.get("HEADEND_HISTORY_SEEDS", "1 2 3").split()]
_LATE = timedelta(minutes=15)


class _Story:
    """One random history."""

    def __init__(self, field: Chronicle, seed: int) -> None:
        self.field, self.rng = field, random.Random(seed)
        self.areas = [field.area("A1"), field.area("A2")]
        self.points: list[int] = []
        self.serials: list[str] = []
        for area in self.areas:
            kinds = ("area", "shared", "customer", "customer")
            for k, kind in enumerate(kinds):
                code = f"{area}-{k}"
                self.points.append(field.point(area, code, kind, rated=None if kind == "area" else 60))
                self.serials.append(code)
                meter = field.meter(code, phases=3 if kind == "area" else 1)
                field.install(self.points[-1], meter, multiplier="40" if kind == "area" else "1", start=0)
        self.rates = {serial: self.rng.randrange(5, 400) for serial in self.serials}
        self.unsent = [
            (serial, T0 + k * QUARTER, rate * k) for serial, rate in self.rates.items() for k in range(96 * DAYS + 1)
        ]
        self.spare = 0
        self.moments: list[tuple[datetime, datetime, Any, Any]] = []

    def run(self) -> None:
        rng, field = self.rng, self.field
        steps: list[Callable[[], None]] = [
            *(self.upload, self.upload, self.upload, self.again, self.swap, self.correct_swap, self.multiplier),
            *(self.move, self.behind, self.device, self.registers, self.rated, self.category, self.power_failure),
            *(self.set_aside, self.edit, self.undo, self.lamps, self.limits),
        ]
        field.now = T0 + timedelta(hours=rng.randrange(6, 20))
        for _ in range(14):
            field.now += timedelta(minutes=rng.randrange(60, 900), seconds=rng.randrange(60))
            for _ in range(rng.randrange(1, 3)):
                rng.choice(steps)()
            field.settle()
            settled_at = field.now
            # A reading that came within a quarter of an hour counts as known from its stamp: ask when that is over.
            field.now += _LATE
            self.moments.append((settled_at, field.now, field.settled(), field.balanced()))

    def upload(self) -> None:
        """Some meters' readings, in pieces, with holes that come later or never."""
        rng, now = self.rng, self.field.now
        sent = [r for r in self.unsent if r[1] <= now and rng.random() < 0.97]
        chosen = set(rng.sample(self.serials, rng.randrange(1, len(self.serials) + 1)))
        low = T0 + rng.randrange(DAYS * 24) * timedelta(hours=1)
        batch = [r for r in sent if r[0] in chosen and (rng.random() < 0.9 or r[1] >= low)]
        rng.shuffle(batch)
        for start in range(0, len(batch), 150):
            piece = batch[start : start + 150]
            self.field.receive([(s, at, None if rng.random() < 0.01 else wh) for s, at, wh in piece])
        gone = set(batch)
        # One in fifty is sent once more later, with its value if it had none.
        self.unsent = [r for r in self.unsent if r not in gone or rng.random() < 0.02]

    def again(self) -> None:
        """The same readings once more, one of them with another value."""
        at = T0 + self.rng.randrange(96) * QUARTER
        serial = self.rng.choice(self.serials)
        k = (at - T0) // QUARTER
        self.field.receive(
            [(serial, at, self.rates[serial] * k + self.rng.choice((0, 7)))] if at <= self.field.now else []
        )

    def _past(self) -> datetime:
        """A quarter-hour of the past, or an instant between two."""
        minutes = self.rng.randrange(30, max(31, int((self.field.now - T0).total_seconds() // 60)))
        return T0 + timedelta(minutes=minutes - minutes % 15 if self.rng.random() < 0.6 else minutes)

    def _open(self) -> dict[str, Any]:
        return self.rng.choice(self.field.rows("select * from installation where valid_to is null order by 1"))

    def swap(self) -> None:
        old, at = self._open(), self._past()
        if at <= old["valid_from"]:
            return
        self.spare += 1
        serial = f"spare{self.spare}"
        new = self.field.meter(serial)
        k = (at - T0) / QUARTER
        self.rates[serial] = self.rng.randrange(5, 400)
        self.serials.append(serial)
        self.unsent += [
            (serial, T0 + n * QUARTER, int(self.rates[serial] * (n - k))) for n in range(96 * DAYS + 1) if n > k
        ]
        end = None if self.rng.random() < 0.5 else 10_000_000
        self.field.change(
            (
                "update installation set valid_to = %s, end_import_wh = %s where installation_id = %s",
                [at, end, old["installation_id"]],
            ),
            (
                "insert into installation (usage_point_id, meter_id, valid_from, multiplier, start_import_wh) "
                "values (%s, %s, %s, %s, 0)",
                [old["usage_point_id"], new, at, old["multiplier"]],
            ),
        )

    def correct_swap(self) -> None:
        found = self.field.rows(
            "select a.installation_id as a, b.installation_id as b, a.valid_from as low, b.valid_to as high "
            "from installation a join installation b "
            "on b.usage_point_id = a.usage_point_id and b.valid_from = a.valid_to"
        )
        if not found:
            return
        pair, at = self.rng.choice(found), self._past()
        if not pair["low"] < at < (pair["high"] or datetime.max.replace(tzinfo=at.tzinfo)):
            return
        first, then = (
            ("update installation set valid_to = %s where installation_id = %s", [at, pair["a"]]),
            ("update installation set valid_from = %s where installation_id = %s", [at, pair["b"]]),
        )
        earlier = self.field.one("select valid_to > %s from installation where installation_id = %s", [at, pair["a"]])
        self.field.change(*((first, then) if earlier else (then, first)))

    def multiplier(self) -> None:
        one = self._open()
        if self.rng.random() < 0.5:
            values = [self.rng.choice((1, 20, 30, 40)), self.rng.choice((1, -1)), one["installation_id"]]
            self.field.change(("update installation set multiplier = %s, sign = %s where installation_id = %s", values))
        elif (at := self._past()) > one["valid_from"]:
            self.field.change(
                ("update installation set valid_to = %s where installation_id = %s", [at, one["installation_id"]]),
                (
                    "insert into installation (usage_point_id, meter_id, valid_from, multiplier) "
                    "values (%s, %s, %s, %s)",
                    [one["usage_point_id"], one["meter_id"], at, self.rng.choice((1, 20, 50))],
                ),
            )

    def move(self) -> None:
        at, area = self._past(), self.rng.choice(self.areas)
        one = self.rng.choice(self.field.rows("select * from area_membership where valid_to is null order by 1"))
        if at <= one["valid_from"]:
            return
        self.field.change(
            ("update area_membership set valid_to = %s where membership_id = %s", [at, one["membership_id"]]),
            (
                "insert into area_membership (usage_point_id, area_id, valid_from) values (%s, %s, %s)",
                [one["usage_point_id"], area, at],
            ),
        )

    def behind(self) -> None:
        shared = self.rng.choice((None, self.points[1], self.points[5]))
        point = self.rng.choice([p for k, p in enumerate(self.points) if k % 4 >= 2])
        self.field.change(
            ("update area_membership set behind_usage_point_id = %s where usage_point_id = %s", [shared, point])
        )

    def device(self) -> None:
        values = [self.rng.choice((6, 8)), self.rng.choice((1, 10)), self.rng.choice(self.serials)]
        self.field.change(("update meter set digits = %s, resolution_wh = %s where serial = %s", values))

    def registers(self) -> None:
        self.field.change(
            (
                "update installation set start_import_wh = %s where installation_id = %s",
                [self.rng.choice((None, 0, 3)), self._open()["installation_id"]],
            )
        )

    def rated(self) -> None:
        self.field.change(
            (
                "update usage_point set rated_current_a = %s where usage_point_id = %s",
                [self.rng.choice((None, 5, 60)), self.rng.choice(self.points)],
            )
        )

    def category(self) -> None:
        values = [self.rng.choice(("residential", "production", "commercial")), self.rng.choice(self.points)]
        self.field.change(("update usage_point_category set category = %s where usage_point_id = %s", values))

    def power_failure(self) -> None:
        """Told now, of some time ago."""
        failed = self._past()
        restored = failed + self.rng.randrange(1, 300) * timedelta(minutes=1)
        serial = self.rng.choice(self.serials)
        self.field.change(
            *(
                (
                    "insert into device_event (meter_id, kind, occurred_at, received_at, source) "
                    "select meter_id, %s, %s, %s, 'mqtt' from meter where serial = %s on conflict do nothing",
                    [kind, at, self.field.now, serial],
                )
                for kind, at in (("power_failed", failed), ("power_restored", restored))
            )
        )

    def set_aside(self) -> None:
        """A reading, or those of an hour, is not believed."""
        at, one = self._past(), self._open()
        self._edit(one["usage_point_id"], "readings", at, at + self.rng.choice((0, 4)) * QUARTER, meter=one["meter_id"])

    def edit(self) -> None:
        """Values are set; whether they can hold is for settlement to say."""
        start = T0 + self.rng.randrange(max(1, int((self.field.now - T0) / QUARTER))) * QUARTER
        count = self.rng.randrange(1, 30)
        values = [self.rng.randrange(0, 300) for _ in range(count)]
        self._edit(self._open()["usage_point_id"], "values", start, start + count * QUARTER, values=values)

    def _edit(
        self,
        point: int,
        kind: str,
        low: datetime,
        high: datetime,
        *,
        meter: int | None = None,
        values: list[int] | None = None,
    ) -> None:
        count = len(values or ())
        self.field.change(
            (
                "insert into edit (edit_id, kind, usage_point_id, meter_id, direction, from_ts, to_ts, interval_s, "
                "values_wh, before_wh, before_quality, first_day, last_day, made_at, made_by, reason) "
                "values (gen_random_uuid(), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 'Wang', 'test')",
                [
                    *(kind, point, meter, None if values is None else "import", low, high),
                    *(None if values is None else 900, values, [0] * count or None, [1] * count or None),
                    *(DAY0, DAY0 + timedelta(days=DAYS), self.field.now),
                ],
            )
        )

    def undo(self) -> None:
        found = self.field.rows("select edit_id from edit where undone_at is null order by made_at, number")
        if found:
            self.field.change(
                (
                    "update edit set undone_at = %s, undone_by = 'Li', undo_reason = 'test' where edit_id = %s",
                    [self.field.now, self.rng.choice(found)["edit_id"]],
                )
            )

    def lamps(self) -> None:
        """A load without a meter is entered, or found to take something else."""
        area, power_w = self.rng.choice(self.areas), self.rng.choice((200, 1500))
        if self.field.rows("select from unmetered_load where area_id = %s", [area]):
            self.field.change(("update unmetered_load set power_w = %s where area_id = %s", [power_w, area]))
        else:
            self.field.change(
                (
                    "insert into unmetered_load (code, area_id, kind, power_w, schedule, valid_from, noted_by) "
                    "values (%s, %s, 'street_light', %s, '24/7', %s, 'Wang')",
                    [f"lamps-{area}", area, power_w, T0],
                )
            )

    def limits(self) -> None:
        values = [self.rng.choice((None, 0.02, 0.5)), self.rng.choice(self.areas)]
        self.field.change(("update area set high_loss_rate = %s where area_id = %s", values))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_moment_is_reproduced(chronicle: Chronicle, seed: int) -> None:
    print(f"HEADEND_HISTORY_SEEDS={seed}")
    story = _Story(chronicle, seed)
    story.run()
    differing = 0
    for settled_at, moment, settled, balanced in story.moments:
        last = chronicle.rules.calendar.day_of(settled_at)
        days = DayRange(chronicle.rules.calendar, DAY0, last)
        recalled: Any = {}
        for area in story.areas:
            side = chronicle.recalled(area, moment, last, settled_at=settled_at)
            for key, row in vectors_of(side, days).items():
                assert recalled.setdefault(key, row) == row, "a point is the same whichever area asks"
            for row in side.computed.balances:
                key = area, row["day"]
                if key in balanced:
                    assert {name: row[name] for name in balanced[key]} == balanced[key], (seed, moment, key)
        for key, row in settled.items():
            assert recalled.get(key) == row, (seed, moment, key, _differing(row, recalled.get(key, {})))
        differing += settled != story.moments[-1][2]
    assert differing >= len(story.moments) // 2, "the moments have to differ, or nothing is shown"


def _differing(one: dict[str, list[int]], other: dict[str, list[int]]) -> str:
    found = []
    for name, values in one.items():
        places = [i for i, (a, b) in enumerate(zip(values, other[name], strict=True)) if a != b]
        if places:
            found.append(f"{name}: {[(i, values[i], other[name][i]) for i in places[:4]]} of {len(places)}")
    return "; ".join(found)
