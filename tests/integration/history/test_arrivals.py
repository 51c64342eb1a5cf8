"""When readings came: noted by the writer in the same transaction, in few rows, and dropped with the readings."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from headend.store import history
from headend.store.errors import StoreError
from headend.upkeep.storage import StorageChores
from support.chronicle import Chronicle
from support.field import HOUR, QUARTER, T0


@pytest.fixture
def field(chronicle: Chronicle) -> Chronicle:
    for serial in ("one", "two"):
        chronicle.meter(serial)
    return chronicle


def _known(field: Chronicle, at: datetime) -> list[tuple[Any, ...]]:
    with field.store.transaction() as c, history.as_known(c, at):
        return c.execute(
            b"select serial, ts, import_wh from register_reading join meter using (meter_id) order by 1, 2"
        ).fetchall()


def _spans(field: Chronicle) -> list[tuple[Any, ...]]:
    found = field.rows("select received_at, first_ts, last_ts from reading_arrival order by 1, 2")
    return [(r["received_at"], r["first_ts"], r["last_ts"]) for r in found]


def test_in_time_is_known_when_it_was_stamped(field: Chronicle) -> None:
    field.now = T0 + timedelta(minutes=14)
    field.receive([("one", T0, 100)])
    assert _spans(field) == []
    assert _known(field, T0 - timedelta(seconds=1)) == []
    assert _known(field, T0) == [("one", T0, 100)]


def test_late_is_known_when_it_came(field: Chronicle) -> None:
    field.now = T0 + 26 * HOUR
    field.receive((serial, T0 + k * QUARTER, k) for serial in ("one", "two") for k in range(96))
    ((received_at, first, last),) = _spans(field)
    assert received_at == field.now
    assert first == T0
    assert last >= T0 + 95 * QUARTER
    assert _known(field, field.now - timedelta(seconds=1)) == []
    assert len(_known(field, field.now)) == 192


def test_holes_that_are_filled_and_what_was_there(field: Chronicle) -> None:
    field.now = T0
    for k in (0, 1, 2, 6, 7):
        field.now = T0 + k * QUARTER
        field.receive([("one", field.now, k)])
    field.now = T0 + 9 * HOUR
    field.receive([("one", T0 + k * QUARTER, k) for k in range(8)])
    assert [n for _, _, n in _known(field, field.now - HOUR)] == [0, 1, 2, 6, 7]
    assert [n for _, _, n in _known(field, field.now)] == list(range(8))
    assert len(_spans(field)) == 1


def test_the_same_again_keeps_its_first_arrival(field: Chronicle) -> None:
    field.now = T0 + 5 * HOUR
    field.receive([("one", T0, 1)])
    field.now = T0 + 9 * HOUR
    field.receive([("one", T0, 1)])
    field.receive([("one", T0, 2)])
    assert _known(field, T0 + 5 * HOUR) == [("one", T0, 1)]


def test_a_register_added_later(field: Chronicle) -> None:
    field.now = T0
    field.receive([("one", T0, None)])
    field.now = T0 + HOUR
    field.receive([("one", T0, 7)])
    assert _known(field, T0 + HOUR - timedelta(seconds=1)) == [("one", T0, None)]
    assert _known(field, T0 + HOUR) == [("one", T0, 7)]


def test_what_is_not_committed_is_not_noted(field: Chronicle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise StoreError("broken")

    monkeypatch.setattr("headend.ingest.writer.events.add_new", fail)
    field.now = T0 + 5 * HOUR
    with pytest.raises(StoreError):
        field.receive([("one", T0, 1)])
    assert _spans(field) == []
    assert _known(field, field.now) == []


def test_what_is_noted_goes_with_the_readings(field: Chronicle) -> None:
    field.run("drop table if exists register_reading_rest, phase_reading_rest")  # these would hold up a drop
    for day in (0, 20):
        field.now = T0 + timedelta(days=day) + 26 * HOUR
        field.receive([("one", T0 + timedelta(days=day) + k * QUARTER, k) for k in range(4)])
        field.receive([("two", T0 + timedelta(days=day), None)])
        field.receive([("two", T0 + timedelta(days=day), 5)])
    assert field.one("select count(*) from reading_completion") == 2
    settings = field.settings.model_copy(
        update={"storage": field.settings.storage.model_copy(update={"keep_readings_days": 10})}
    )
    StorageChores(field.store, settings, lambda: field.now).drop()
    assert {first for _, first, _ in _spans(field)} == {T0 + timedelta(days=20)}
    assert field.one("select count(*) from reading_completion") == 1
