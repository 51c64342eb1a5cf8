"""Two houses below a transformer, read every quarter of an hour for days: what changes of knowledge are tried on."""

from __future__ import annotations

from support.chronicle import Chronicle
from support.field import DAY, HOUR, QUARTER, T0


class Village:
    """An area meter (x 40, 11 Wh a quarter) and two houses (200 and 230 Wh a quarter) over days, read every quarter."""

    def __init__(self, chronicle: Chronicle, days: int = 2) -> None:
        self.field = chronicle
        self.area = chronicle.area()
        self.top, _ = chronicle.metered(self.area, "top", "area", serial="sum", phases=3, multiplier="40")
        houses = [chronicle.metered(self.area, code) for code in ("one", "two")]
        self.points, self.meters = [point for point, _ in houses], [meter for _, meter in houses]
        for day in range(days):
            self.read(day)
        chronicle.now = T0 + days * DAY + HOUR
        chronicle.settle()

    def read(self, day: int, **wh: int) -> None:
        """A day's upload, an hour after its end."""
        self.field.now = T0 + (day + 1) * DAY + HOUR
        each = {"sum": 11, "one": 200, "two": 230} | wh
        self.field.receive(
            (serial, T0 + day * DAY + k * QUARTER, wh * (96 * day + k))
            for serial, wh in each.items()
            for k in range(97)
        )
