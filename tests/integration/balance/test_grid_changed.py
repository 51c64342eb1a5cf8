"""Intervals of another length from some day on: old days stay as they are, sums run on over both."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from headend.web.app import create_app
from support.field import DAY, DAY0, QUARTER, T0, Field

NOW = T0 + timedelta(days=12)


def _energies(field: Field) -> dict[tuple[str, int], list[int]]:
    found = field.rows("select code, day, import_wh from interval_day join usage_point using (usage_point_id)")
    return {(r["code"], (r["day"] - DAY0).days): r["import_wh"] for r in found}


@pytest.mark.parametrize("interval_s", [300, 1800, 3600])
def test_another_grid_from_some_day_on(make_field: Callable[..., Field], interval_s: int) -> None:
    field = make_field()
    area = field.area()
    (_, home), (_, main) = field.metered(area, "H"), field.metered(area, "M", "area")
    # a household of 100 Wh a quarter of which nothing is read from 20:00 of the third day to 04:00 of the fourth
    stamps = [T0 + k * QUARTER for k in range(4 * 96 + 1)]
    field.store_readings([(home, t, 100 * k) for k, t in enumerate(stamps) if not 272 < k < 304])
    field.store_readings([(main, t, 104 * k) for k, t in enumerate(stamps)])
    field.mark(area, [DAY0 + n * DAY for n in range(4)])
    field.settle_all(NOW)
    before = _energies(field)

    other = make_field(interval_s=interval_s)
    other.mark(area, [DAY0 + 3 * DAY])
    other.settle_all(NOW)
    after = _energies(other)
    count = 86_400 // interval_s
    assert len(after["H", 3]) == len(after["M", 3]) == count
    for code, n in after:
        if n < 4:  # after that nothing was read
            assert sum(after[code, n]) == sum(before[code, n]), (code, n)
    assert [len(after["H", n]) for n in (0, 1)] == [96, 96], "nothing marked them"

    client = TestClient(create_app(other.store, other.settings, lambda: NOW))
    (month,) = client.get(
        "/api/v1/stations/S1/balances", params={"from": "2026-03-01", "to": "2026-03-05"}
    ).json()["items"]  # fmt: skip
    assert (month["supplied_wh"], month["area_days_computable"]) == (4 * 96 * 104, 4)
    assert month["loss_wh"] == 4 * 96 * 4
    told: list[dict[str, Any]] = client.get(
        "/api/v1/usage-points/H/intervals", params={"from": "2026-03-02", "to": "2026-03-05"}
    ).json()["days"]  # fmt: skip
    assert {len(d["intervals"]) for d in told} >= {96, count}
    for path in ("/usage-points/H?day=2026-03-02", "/usage-points/H?day=2026-03-05", "/areas/A1?day=2026-03-05"):
        assert client.get(path, headers={"accept": "text/html"}).status_code == 200
