"""Two houses below a transformer, read every quarter of an hour for days: what changes of knowledge are tried on."""

from __future__ import annotations

from datetime import timedelta

from support.chronicle import QUARTER, Chronicle
from support.field import T0

DAY = timedelta(days=1)


class Village:
    """An area meter (x 40, 11 Wh a quarter) and two houses (200 and 230 Wh a quarter) over days, read every quarter."""

    def __init__(self, chronicle: Chronicle, days: int = 2) -> None:
        self.field = chronicle
        self.area = chronicle.area()
        self.total = chronicle.meter("sum", phases=3)
        self.top = chronicle.point(self.area, "top", "area", rated=None)
        chronicle.install(self.top, self.total, multiplier="40", start=0)
        self.points, self.meters = [], []
        for serial in ("one", "two"):
            self.points.append(chronicle.point(self.area, serial))
            self.meters.append(chronicle.meter(serial))
            chronicle.install(self.points[-1], self.meters[-1], start=0)
        for day in range(days):
            self.read(day)
        chronicle.now = T0 + days * DAY + timedelta(hours=1)
        chronicle.settle()

    def read(self, day: int, **wh: int) -> None:
        """A day's upload, an hour after its end."""
        self.field.now = T0 + (day + 1) * DAY + timedelta(hours=1)
        each = {"sum": 11, "one": 200, "two": 230} | wh
        self.field.receive(
            (serial, T0 + day * DAY + k * QUARTER, wh * (96 * day + k))
            for serial, wh in each.items()
            for k in range(97)
        )
