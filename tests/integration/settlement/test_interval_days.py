"""Rows of interval_day: short vectors, digests, rows that others put there meanwhile; and the view for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import pytest

from headend.domain.calendar import LocalCalendar, to_us
from headend.domain.quality import Quality, ValidationFlag
from headend.store import interval_days, intervals
from headend.store.interval_days import IntervalDays
from headend.store.migrate import migrate
from headend.store.pool import Store
from headend.store.vectors import ABSENT

BERLIN = LocalCalendar(ZoneInfo("Europe/Berlin"))
SHORT, PLAIN, LONG = date(2026, 3, 29), date(2026, 6, 1), date(2026, 10, 25)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PLACES = """
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh)
    select 'Acme', g::text, 'any', 1, 8, 1 from generate_series(1, 4) g;
insert into usage_point (code, kind, category) select 'U' || g, 'customer', 'residential' from generate_series(1, 3) g;
"""

EARLIER = """
insert into interval_day (usage_point_id, day, starts_at, interval_s, import_wh, export_wh, voltage_dv, quality, flags,
                          meters, multiplier, measured, estimated, rules, start_mark, end_mark, settled_at)
select u, '2026-06-01', '2026-05-31T22:00Z', 900,
       array(select case when n = 5 and u = 1 then null when n = 6 and u = 2 then 3000000000 else n end
             from generate_series(1, 96) n),
       array_fill(0::bigint, array[96]), array_fill(2300::smallint, array[96]), array_fill(1::smallint, array[96]),
       array_fill(0, array[96]), '{1}', 1, 96, 0, 1, 3, 4, now()
from generate_series(1, 2) u;
"""


def _days(points: list[int], days: list[date], **changed: Any) -> IntervalDays:
    """A row for each point and day, side by side: energies rise along the day, all else is the same all day."""
    n = len(points)
    sizes = np.array([BERLIN.intervals(day) for day in days])
    along = np.arange(int(sizes.max()))
    same = np.ones((n, along.size), dtype=np.int64)
    one = np.ones(n, dtype=np.int64)
    values: dict[str, Any] = {
        "usage_point_id": np.array(points), "day": np.array([(day - date(1970, 1, 1)).days for day in days]),
        "starts_us": np.array([to_us(BERLIN.bounds(day)[0]) for day in days]), "interval_s": 900, "intervals": sizes,
        "import_wh": 100 * one[:, None] + along, "export_wh": 0 * same, "voltage_dv": 2305 * same, "quality": same,
        "flags": 0 * same, "start_import_wh": 5 * one, "end_import_wh": 7 * one, "start_export_wh": ABSENT * one,
        "end_export_wh": ABSENT * one, "meters": np.array(points)[:, None], "meter_counts": one,
        "multiplier_e4": 400_000 * one, "measured": sizes, "estimated": 0 * one, "rules": 1, "start_mark": 3 * one,
        "end_mark": 4 * one,
    }  # fmt: skip
    return IntervalDays(**(values | changed))


def _put(store: Store, days: IntervalDays, now: datetime = NOW) -> list[tuple[int, date]]:
    with store.transaction() as connection:
        return interval_days.put(connection, days, now)


def _rows(store: Store) -> list[dict[str, Any]]:
    return store.rows(b"select * from interval_day order by usage_point_id, day")


@pytest.fixture
def places(store: Store) -> Store:
    with store.transaction() as connection:
        connection.execute(PLACES.encode())
    return store


def test_a_vector_that_is_the_same_all_day_is_one_element(places: Store) -> None:
    days = _days([1, 1, 1, 2], [SHORT, PLAIN, LONG, PLAIN])
    days.quality[3, 95], days.voltage_dv[3, :], days.export_wh[1, 7] = 2, ABSENT, ABSENT
    days.flags[0, 92:] = 9  # beyond a day of 23 hours: not its own
    assert len(_put(places, days)) == 4
    short, plain, long, other = _rows(places)
    assert [len(row["import_wh"]) for row in (short, plain, long, other)] == [92, 96, 100, 96]
    assert (short["export_wh"], short["voltage_dv"], short["quality"], short["flags"]) == ([0], [2305], [1], [0])
    assert (plain["export_wh"][6:9], len(plain["export_wh"])) == ([0, None, 0], 96)
    assert (other["quality"], other["voltage_dv"]) == ([1] * 95 + [2], [None])
    assert (plain["multiplier"], plain["start_export_wh"], plain["meters"]) == (40, None, [1])
    assert str(plain["multiplier"]) == "40.0000"
    with places.transaction() as connection:
        found = intervals.days_of_points(connection, [1, 2], SHORT, LONG)
    assert [row["quality"].size for row in found] == [92, 96, 100, 96]
    assert found[1]["export_wh"].tolist() == days.export_wh[1, :96].tolist()
    assert found[3]["voltage_dv"].tolist() == [ABSENT] * 96


def test_a_row_that_says_the_same_is_not_written(places: Store) -> None:
    days = _days([1, 2], [PLAIN, PLAIN])
    assert _put(places, days) == [(1, PLAIN), (2, PLAIN)]
    before = places.rows(b"select xmin::text, * from interval_day order by 2, 3")
    assert _put(places, days, LATER) == []
    assert places.rows(b"select xmin::text, * from interval_day order by 2, 3") == before


def test_a_row_is_the_same_whatever_is_written_with_it(places: Store) -> None:
    _put(places, _days([1], [SHORT]))
    wider = _days([1, 2, 3], [SHORT, LONG, PLAIN], meters=np.array([[1, 0], [2, 4], [3, 0]]))
    wider = replace(wider, meter_counts=np.array([1, 2, 1]))
    wider.quality[1, 5], wider.flags[2, 7], wider.export_wh[1, 3] = 3, 16, 8
    assert {point for point, _ in _put(places, wider, LATER)} == {2, 3}


@pytest.mark.parametrize(
    "name",
    [
        "starts_us", "import_wh", "export_wh", "voltage_dv", "quality", "flags", "start_import_wh", "end_import_wh",
        "start_export_wh", "end_export_wh", "meters", "multiplier_e4", "start_mark", "end_mark",
    ],
)  # fmt: skip
def test_a_change_of_anything_is_written(places: Store, name: str) -> None:
    days = _days([1, 2], [PLAIN, PLAIN])
    _put(places, days)
    other = getattr(days, name).copy()
    other[1] = np.where(other[1] == ABSENT, 0, other[1] + 1)
    changed = replace(days, **{name: other})
    assert _put(places, changed, LATER) == [(2, PLAIN)]
    assert [row["settled_at"] for row in _rows(places)] == [NOW, LATER]
    assert _put(places, days, LATER) == [(2, PLAIN)], "and back"


def test_two_elements_that_change_places_are_a_change(places: Store) -> None:
    days = _days([1], [PLAIN])
    _put(places, days)
    swapped = days.import_wh.copy()
    swapped[0, [3, 4]] = swapped[0, [4, 3]]
    assert _put(places, replace(days, import_wh=swapped)) == [(1, PLAIN)]


def test_a_row_put_there_meanwhile_is_written_over(places: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = _days([1], [PLAIN]), _days([1, 2], [PLAIN, PLAIN], end_mark=np.array([8, 9]))
    _put(places, old)
    with monkeypatch.context() as blind:
        blind.setattr(
            interval_days, "_known", lambda _c, days, _d: np.full(days.day.size, 2)
        )  # as though none were there
        assert set(_put(places, new, LATER)) == {(1, PLAIN), (2, PLAIN)}
    assert [row["end_mark"] for row in _rows(places)] == [8, 9]
    assert _put(places, new) == []


def test_the_view_says_every_interval_in_words(places: Store) -> None:
    days = _days([1], [LONG], meters=np.array([[1, 4]]), meter_counts=np.array([2]))
    days.import_wh[0, 3], days.quality[0, 3], days.flags[0, 3] = ABSENT, 0, 16 | 512
    days.export_wh[0, :50] = 7
    _put(places, days)
    found = places.rows(
        b"select * from interval_energy where usage_point = 'U1' and day = '2026-10-25' order by starts_at"
    )
    assert len(found) == 100
    start, end = BERLIN.bounds(LONG)
    assert (found[0]["starts_at"], found[-1]["ends_at"]) == (start, end)
    assert all(a["ends_at"] == b["starts_at"] for a, b in pairwise(found))
    assert (found[3]["import_wh"], found[3]["quality"], found[3]["flags"]) == (
        None,
        "absent",
        ["missing", "meter_swap"],
    )
    assert (found[4]["import_wh"], found[4]["quality"], found[4]["flags"]) == (104, "measured", [])
    assert [found[n]["export_wh"] for n in (49, 50)] == [7, 0]
    assert (found[4]["voltage_v"], found[4]["meters"]) == (pytest.approx(230.5), ["Acme/1", "Acme/4"])
    part = places.rows(b"select * from interval_energy_of('U1', '2026-10-25T01:00Z', '2026-10-25T02:00Z')")
    assert [row["import_wh"] for row in part] == [112, 113, 114, 115]


def test_the_view_reads_the_days_that_are_named(places: Store) -> None:
    _put(places, _days([1] * 60, [date(2026, 5, 1) + timedelta(days=n) for n in range(60)]))
    with places.transaction() as connection:
        connection.execute("set local enable_seqscan = off")  # so small a table is read whole otherwise
        for asked in (
            "select * from interval_energy where usage_point = 'U1' and day between '2026-06-01' and '2026-06-03'",
            "select * from interval_energy_of('U1', '2026-06-02T00:00Z', '2026-06-02T06:00Z')",
        ):
            plan = connection.execute(f"explain (analyze, costs off, timing off) {asked}".encode()).fetchall()
            lines = [line for (line,) in plan]
            (scan,) = [n for n, line in enumerate(lines) if "using interval_day_pkey" in line]
            assert float(lines[scan].partition("rows=")[2].split()[0]) <= 4, "\n".join(lines)
            assert "day >= " in lines[scan + 1]


def test_words_of_the_view_are_those_of_the_code(store: Store) -> None:
    for flag in ValidationFlag:
        wanted = [] if flag is ValidationFlag.NONE else [str(flag.name).lower()]
        assert store.rows(b"select validation_flag_words(%s) as words", [int(flag)]) == [{"words": wanted}]
    (view,) = store.rows(b"select pg_get_viewdef('interval_energy'::regclass) as text")
    for quality in Quality:
        assert f"WHEN {int(quality)} THEN '{quality.name.lower()}'" in view["text"]


def test_rows_of_earlier_releases_are_carried_over(migrate_before: Callable[[str], str]) -> None:
    dsn = migrate_before("014")
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(PLACES.encode())
        connection.execute(EARLIER.encode())
    assert "020_intervals" in migrate(dsn)
    with Store(dsn) as store:
        one, two = _rows(store)
        assert one["import_wh"] == [None if n == 5 else n for n in range(1, 97)]
        assert (one["export_wh"], one["voltage_dv"], one["quality"], one["flags"]) == ([0], [2300], [1], [0])
        assert two["import_wh"][4:7] == [5, None, 7], "3 GWh in a quarter of an hour is no number"
        assert (two["quality"][4:7], two["flags"][4:7]) == ([1, 0, 1], [0, 8, 0])
        assert len(store.rows(b"select * from interval_energy")) == 192
        changed = _put(store, _days([1], [PLAIN]))
        assert changed == [(1, PLAIN)], "a row without a digest is written anew"
