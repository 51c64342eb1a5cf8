# ruff: noqa: E501 scenes read better on one line
"""Install, remove, move: spans that close and open, conflicts in words, dirty days, and any past instant asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from headend.domain.calendar import LocalCalendar
from headend.store import topology
from headend.store.dirty import mark_area
from headend.store.errors import StoreConflict
from headend.store.pool import Connection, Store

CALENDAR = LocalCalendar(ZoneInfo("Asia/Shanghai"))
AT = datetime(2026, 11, 18, 7, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def loaded(store: Store, directory: Path, run_import: Callable[..., Any]) -> Store:
    assert run_import(directory).applied
    return store


def _point(connection: Connection, code: str) -> int:
    found = topology.usage_point_id(connection, code)
    assert found is not None
    return found


def _meter(connection: Connection, serial: str) -> int:
    found = topology.find_meter(connection, "Eastron", serial)
    assert found is not None
    return found.meter_id


def _dirty(store: Store) -> list[tuple[str, date]]:
    found = store.rows(b"select a.code, d.day from dirty_day d join area a using (area_id) order by 1, 2")
    return [(row["code"], row["day"]) for row in found]


def test_identities_are_looked_up_at_once(loaded: Store) -> None:
    with loaded.transaction() as connection:
        found = topology.meter_ids(connection, [("Eastron", "630001"), ("Chint", "21060012"), ("Eastron", "21060012")])
        assert set(found) == {("Eastron", "630001"), ("Chint", "21060012")}
        assert topology.find_meter(connection, "Eastron", "21060012") is None
        assert topology.usage_point_id(connection, "nowhere") is None


def test_install_marks_the_days_and_is_found_at_any_instant(loaded: Store, now: datetime) -> None:
    with loaded.transaction() as connection:
        point, meter = _point(connection, "A02-001"), _meter(connection, "120002")
        topology.install_meter(
            connection, usage_point_id=point, meter_id=meter, at=AT, start_import_wh=70, seal="X1", calendar=CALENDAR, now=now
        )  # fmt: skip
    assert _dirty(loaded) == [("A02", date(2026, 11, day)) for day in (18, 19, 20)]
    with loaded.transaction() as connection:
        assert topology.installation_of_meter(connection, meter, AT - SECOND) is None
        installed = topology.installation_of_usage_point(connection, point, AT)
        assert installed is not None
        assert (installed.meter_id, installed.multiplier, installed.start_import_wh, installed.seal) == (
            meter,
            Decimal(1),
            70,
            "X1",
        )
        assert topology.installation_of_meter(connection, meter, now) == installed


def test_swap_keeps_both_registers(loaded: Store, now: datetime) -> None:
    with loaded.transaction() as connection:
        point, meter = _point(connection, "A01-001"), _meter(connection, "120002")
        was = topology.remove_meter(
            connection, usage_point_id=point, at=AT, end_import_wh=900, calendar=CALENDAR, now=now
        )
        topology.install_meter(
            connection, usage_point_id=point, meter_id=meter, at=AT, multiplier=Decimal("2.5"), sign=-1, calendar=CALENDAR, now=now
        )  # fmt: skip
    with loaded.transaction() as connection:
        before = topology.installation_of_usage_point(connection, point, AT - SECOND)
        after = topology.installation_of_usage_point(connection, point, AT)
    assert before is not None
    assert after is not None
    assert (before.installation_id, before.valid_to, before.end_import_wh, before.end_export_wh) == (
        was.installation_id,
        AT,
        900,
        None,
    )
    assert (after.meter_id, after.multiplier, after.sign) == (meter, Decimal("2.5"), -1)


def test_a_change_at_local_midnight_touches_the_day_that_it_ends(loaded: Store, now: datetime) -> None:
    midnight = datetime(2026, 11, 18, 16, tzinfo=UTC)  # 19 November in Shanghai
    with loaded.transaction() as connection:
        topology.remove_meter(
            connection, usage_point_id=_point(connection, "A01-001"), at=midnight, calendar=CALENDAR, now=now
        )
    assert _dirty(loaded) == [("A01", date(2026, 11, day)) for day in (18, 19, 20)]


def test_moves_are_effective_dated(loaded: Store, now: datetime) -> None:
    with loaded.transaction() as connection:
        point, shared = _point(connection, "A02-001"), _point(connection, "A02-S1")
        first = topology.move_supply(connection, usage_point_id=point, at=AT, calendar=CALENDAR, now=now)
        assert (
            topology.move_supply(connection, usage_point_id=point, at=AT + SECOND, calendar=CALENDAR, now=now) == first
        )
        before = topology.membership_at(connection, point, AT - SECOND)
        after = topology.membership_at(connection, point, AT)
    assert before is not None
    assert after is not None
    assert (before.area, before.behind_usage_point_id, before.valid_to) == ("A02", shared, AT)
    assert (after.area, after.behind_usage_point_id, after.valid_to) == ("A02", None, None)
    assert _dirty(loaded) == [("A02", date(2026, 11, day)) for day in (18, 19, 20)]


def test_a_move_to_another_area_touches_both(loaded: Store, now: datetime) -> None:
    with loaded.transaction() as connection:
        point = _point(connection, "A01-001")
        hangs = topology.membership_at(connection, _point(connection, "A02-T"), AT)
        assert hangs is not None
        later = now - timedelta(hours=1)
        topology.move_supply(
            connection, usage_point_id=point, at=later, area_id=hangs.area_id, calendar=CALENDAR, now=now
        )
    assert _dirty(loaded) == [("A01", date(2026, 11, 20)), ("A02", date(2026, 11, 20))]


def test_a_meter_touches_each_area_only_while_its_usage_point_hung_there(loaded: Store, now: datetime) -> None:
    with loaded.transaction() as connection:
        point = _point(connection, "A01-001")
        hangs = topology.membership_at(connection, _point(connection, "A02-T"), AT)
        assert hangs is not None
        moved = AT + timedelta(days=1)  # on the 19th
        topology.move_supply(
            connection, usage_point_id=point, at=moved, area_id=hangs.area_id, calendar=CALENDAR, now=now
        )
        connection.execute(b"delete from dirty_day")
        topology.remove_meter(connection, usage_point_id=point, at=AT, calendar=CALENDAR, now=now)
    assert _dirty(loaded) == [("A01", date(2026, 11, day)) for day in (18, 19)] + [
        ("A02", date(2026, 11, day)) for day in (19, 20)
    ]


def test_conflicts_say_what_is_in_the_way(loaded: Store, now: datetime) -> None:
    rest: dict[str, Any] = {"calendar": CALENDAR, "now": now}

    def refused(act: Callable[[Connection], object]) -> str:
        with pytest.raises(StoreConflict) as caught, loaded.transaction() as connection:
            act(connection)
        return str(caught.value)

    told = refused(
        lambda c: topology.install_meter(
            c, usage_point_id=_point(c, "A01-001"), meter_id=_meter(c, "120002"), at=AT, **rest
        )
    )
    assert told == (
        "cannot install Eastron/120002 at A01-001 from 2026-11-18T07:30:00+00:00: the usage point is taken by the "
        "installation of Eastron/120001 at A01-001 from 2025-12-31T16:00:00+00:00"
    )
    told = refused(
        lambda c: topology.install_meter(
            c, usage_point_id=_point(c, "A02-001"), meter_id=_meter(c, "120001"), at=AT, **rest
        )
    )
    assert "the meter is taken by the installation of Eastron/120001 at A01-001" in told
    # A meter that serves later is in the way too.
    earlier = datetime(2025, 1, 1, tzinfo=UTC)
    assert "is taken" in refused(
        lambda c: topology.install_meter(
            c, usage_point_id=_point(c, "A02-001"), meter_id=_meter(c, "120001"), at=earlier, **rest
        )
    )
    assert refused(lambda c: topology.remove_meter(c, usage_point_id=_point(c, "A02-001"), at=AT, **rest)).startswith(
        "no meter serves A02-001 before"
    )
    assert refused(
        lambda c: topology.move_supply(c, usage_point_id=_point(c, "A02-001"), at=earlier, **rest)
    ).startswith("A02-001 hangs on no area before")
    assert refused(lambda c: topology.remove_meter(c, usage_point_id=99, at=AT, **rest)) == (
        "there is no usage point number 99"
    )
    assert refused(
        lambda c: topology.install_meter(c, usage_point_id=_point(c, "A02-001"), meter_id=99, at=AT, **rest)
    ) == ("there is no meter number 99")
    assert _dirty(loaded) == []
    with loaded.transaction() as connection:
        topology.remove_meter(connection, usage_point_id=_point(connection, "A01-001"), at=AT, **rest)
    assert refused(lambda c: topology.remove_meter(c, usage_point_id=_point(c, "A01-001"), at=AT - SECOND, **rest)) == (
        "the meter of A01-001 was removed at 2026-11-18T07:30:00+00:00"
    )


def test_two_crews_at_one_usage_point_one_wins(loaded: Store, now: datetime) -> None:
    outcomes: list[str] = []
    ready = threading.Barrier(2)

    def install(serial: str) -> None:
        try:
            with loaded.transaction() as connection:
                point, meter = _point(connection, "A02-001"), _meter(connection, serial)
                ready.wait()
                topology.install_meter(
                    connection, usage_point_id=point, meter_id=meter, at=AT, calendar=CALENDAR, now=now
                )
            outcomes.append("installed")
        except StoreConflict as conflict:
            outcomes.append(str(conflict))

    with loaded.transaction() as connection:
        topology.remove_meter(
            connection, usage_point_id=_point(connection, "A01-001"), at=AT - SECOND, calendar=CALENDAR, now=now
        )
    crews = [threading.Thread(target=install, args=(serial,)) for serial in ("120001", "120002")]
    for crew in crews:
        crew.start()
    for crew in crews:
        crew.join()
    assert outcomes.count("installed") == 1
    assert sum("the usage point is taken by the installation of" in told for told in outcomes) == 1


def test_a_day_that_is_dirty_already_is_marked_later_never_earlier(loaded: Store, now: datetime) -> None:
    day = date(2026, 11, 18)
    with loaded.transaction() as connection:
        area = topology.membership_at(connection, _point(connection, "A01-T"), AT)
        assert area is not None
        for marked in (now, now + SECOND, now):
            mark_area(connection, area.area_id, day, day, marked)
        mark_area(connection, area.area_id, day, day - timedelta(days=1), now)
    assert loaded.rows(b"select day, marked_at from dirty_day") == [
        {"day": day, "marked_at": now + SECOND + timedelta(microseconds=1)}
    ]


def test_poll_targets_are_those_that_serve_now(loaded: Store, now: datetime) -> None:
    with loaded.transaction() as connection:
        targets = topology.poll_targets(connection, now)
        before = topology.poll_fingerprint(connection, now)
        assert [(t.serial, t.bus, t.unit, t.is_area_meter, t.area) for t in targets] == [
            ("630001", "modbus+tcp://10.20.0.11:502", 1, True, "A01"),
            ("630002", "modbus+tcp://10.20.0.12:502", 1, True, "A02"),
            ("630003", "modbus+tcp://10.20.0.12:502", 2, False, "A02"),
        ]
        stock = topology.poll_target_of(connection, _meter(connection, "120002"))
        assert stock is not None
        assert (stock.bus, stock.unit) == ("modbus+tcp://10.20.0.12:502", 3)
        assert topology.poll_target_of(connection, _meter(connection, "120001")) is None  # MQTT only
        topology.install_meter(
            connection, usage_point_id=_point(connection, "A02-001"), meter_id=_meter(connection, "120002"), at=AT, calendar=CALENDAR, now=now
        )  # fmt: skip
        assert topology.poll_fingerprint(connection, now) != before
        assert topology.poll_fingerprint(connection, AT - SECOND) == before
        assert [t.serial for t in topology.poll_targets(connection, now)][-1] == "120002"
        assert len(topology.poll_targets(connection, AT - SECOND)) == 3
