"""A day is settled the same whichever stretch it is settled in, from what the store gives around it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from headend.settlement.service import SettlementService
from support.field import DAY0, T0, Field


def test_rows_without_registers_hide_no_neighbour(make_field: Callable[..., Field]) -> None:
    """A device that tells its voltage every minute and its registers at 23:50 and 00:10: the line over midnight."""
    field = make_field()
    area = field.area()
    meter = field.meter("house")
    field.install(field.point(area, "house"), meter, start=0, since=T0 - timedelta(days=2))
    midnight = T0 + timedelta(days=1)
    registers = [(midnight + timedelta(minutes=m), 1_000 + 2 * m) for m in range(-130, 140, 20)]
    field.readings(meter, registers, export=0)
    field.readings(meter, [(midnight + timedelta(minutes=m), None) for m in range(-9, 10)], voltage_dv=2300)
    field.mark(area, [DAY0, DAY0 + timedelta(days=1)])
    now = T0 + timedelta(days=3)

    def settled() -> list[object]:
        SettlementService(field.store, field.settings, lambda: now).settle_next()
        rows = field.rows(
            "select day, import_wh, day_vector(quality, cardinality(import_wh)) q from interval_day order by day"
        )
        return [(row["day"], row["import_wh"], row["q"]) for row in rows]

    together = settled()
    assert together[0][1][-1] == together[1][1][0] == 30  # type: ignore[index]
    field.run("truncate interval_day, dirty_day")
    for day in (DAY0, DAY0 + timedelta(days=1)):
        field.mark(area, [day])
        alone = settled()
    assert alone == together


def test_days_on_which_a_point_hung_elsewhere_or_nowhere_are_not_settled_here(make_field: Callable[..., Field]) -> None:
    """It hung here for two days, its meter serves on, and nobody knows where: days alone and days together agree."""
    field = make_field()
    area = field.area()
    meter = field.meter("house")
    point = field.point(area, "house", until=T0 + timedelta(days=1, hours=4))
    field.install(point, meter, start=0)
    field.readings(meter, [(T0 + timedelta(minutes=15 * k), 25 * k) for k in range(4 * 96 + 1)], export=0)
    days = [DAY0 + timedelta(days=d) for d in range(4)]
    for stretches in ([days], [[day] for day in days]):
        field.run("truncate interval_day, dirty_day")
        for stretch in stretches:
            field.mark(area, stretch)
            field.settle_all(T0 + timedelta(days=9))
        assert [row["day"] for row in field.intervals()] == days[:2]
