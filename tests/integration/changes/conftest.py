"""A small settled and billed area to change things in, as a fixture."""

from __future__ import annotations

import pytest

from headend.settings import Settings
from headend.store.pool import Store
from support.field import DAY, DAY0
from support.yard import Yard


@pytest.fixture
def yard(store: Store, dsn: str) -> Yard:
    """Areas A1 and A2 with an area meter each; U1 and U2 on A1, U3 on A2; ten days of 24 kWh each, settled, billed."""
    settings = Settings.model_validate({"database": {"dsn": dsn}, "settlement": {"quiet_s": 0, "grace_days": 0}})
    made = Yard(store, settings)
    for area, points in (("A1", ("U1", "U2")), ("A2", ("U3",))):
        area_id = made.area(area)
        for code in (f"{area}-T", *points):
            whole = code.endswith("-T")
            _, meter = made.metered(area_id, code, "area" if whole else "customer", serial=f"M-{code}")
            made.readings(meter, made.hourly(0, 10, wh=3000 if whole else 1000), export=0)
        made.mark(area_id, [DAY0 + k * DAY for k in range(10)])
    made.settle()
    made.bill()
    return made
