"""How each edit stands now, as the audit, the API and the page tell it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from headend.domain.edits import Direction
from headend.web.app import create_app
from support.editor import Editor
from support.field import QUARTER, T0


@pytest.fixture
def client(editor: Editor) -> TestClient:
    """A household read until 10:00 of its first day, and no further."""
    editor.household(days=1, without=range(41, 97))
    return TestClient(create_app(editor.field.store, editor.field.settings, lambda: editor.now))


def _states(client: TestClient) -> list[str]:
    """Oldest first."""
    told = [e["state"] for e in client.get("/api/v1/edits").json()["items"]]
    assert told == [e["state"] for e in client.get("/api/v1/usage-points/H/edits").json()["items"]]
    return told[::-1]


def _set(editor: Editor, first: int, values: list[int]) -> None:
    editor.now += timedelta(seconds=1)
    editor.set("H", T0 + first * QUARTER, values)


def test_it_waits_then_holds_until_a_register_contradicts_it_then_is_undone(client: TestClient, editor: Editor) -> None:
    _set(editor, 44, [500, 600])
    assert _states(client) == ["waiting"]
    editor.settle()
    assert _states(client) == ["holds"]
    day = client.get("/api/v1/usage-points/H/intervals", params={"day": "2026-03-02"}).json()["days"][0]["intervals"]
    assert (day[44]["before_wh"], day[44]["before_quality"], day[44]["edit_direction"]) == (None, "absent", "import")

    meter = editor.field.one("select meter_id from meter")
    editor.field.store_readings([(meter, T0 + 48 * QUARTER, 4000 + 1000)])
    editor.field.mark(1, [T0.date() + timedelta(days=1)], editor.now + timedelta(minutes=1))
    assert _states(client) == ["holds"], "a reading that waits does not make an older answer unknown"
    editor.settle()
    assert _states(client) == ["does_not_hold"]
    day = client.get("/api/v1/usage-points/H/intervals", params={"day": "2026-03-02"}).json()["days"][0]["intervals"]
    assert "edit_refused" in day[44]["flags"]
    assert (day[44]["edit_id"] is not None, day[44]["before_quality"]) == (True, None)
    for path in ("/edits", "/usage-points/H?day=2026-03-02"):
        assert "does not hold" in client.get(path, headers={"accept": "text/html"}).text

    editor.undo("H", editor.field.one("select edit_id from edit"))
    assert _states(client) == ["undone"]


def test_newer_edits_overlay_older_ones_where_they_hold(client: TestClient, editor: Editor) -> None:
    _set(editor, 44, [10, 20])
    _set(editor, 43, [1, 2, 3])
    editor.settle()
    assert _states(client) == ["overlaid", "holds"]
    _set(editor, 45, [4])
    editor.settle()
    assert _states(client) == ["overlaid", "holds", "holds"], "43 and 44 are still the second one's"


def test_an_older_one_holds_under_a_newer_one_that_does_not(client: TestClient, editor: Editor) -> None:
    _set(editor, 44, [10, 20])
    _set(editor, 44, [500, 600])
    meter = editor.field.one("select meter_id from meter")
    editor.field.store_readings([(meter, T0 + 48 * QUARTER, 4000 + 1000)])
    editor.field.mark_reading(1, [T0 + 48 * QUARTER])
    editor.settle()
    assert editor.energies("H", first=44, count=2) == [10, 20]
    assert _states(client) == ["holds", "does_not_hold"]
    html = client.get("/usage-points/H?day=2026-03-02", headers={"accept": "text/html"}).text
    assert html.count(">holds</span>") == 1


def test_the_two_energies_are_told_apart(client: TestClient, editor: Editor) -> None:
    """What was fed in cannot be edited against its registers; the edit of what was taken stands."""
    meter = editor.field.one("select meter_id from meter")
    _set(editor, 44, [10, 20])
    editor.now += timedelta(seconds=1)
    editor.set("H", T0 + 44 * QUARTER, [5, 5], direction=Direction.EXPORT)
    editor.settle()
    assert _states(client) == ["holds", "holds"]
    editor.field.store_readings([(meter, T0 + 48 * QUARTER, 4000 + 1000)])  # fed in: still 0
    editor.field.mark_reading(1, [T0 + 48 * QUARTER])
    editor.settle()
    assert _states(client) == ["holds", "does_not_hold"]


def test_readings_set_aside(client: TestClient, editor: Editor) -> None:
    editor.set_aside("H", "h", T0 + 20 * QUARTER)
    assert _states(client) == ["waiting"]
    editor.settle()
    assert _states(client) == ["holds"]


def test_undoing_the_older_one_lets_the_newer_one_hold_on_another_day(client: TestClient, editor: Editor) -> None:
    """Both were made while nothing closed the gap; the register that came leaves room for one of them only."""
    _set(editor, 44, [250])
    _set(editor, 250, [100])
    meter = editor.field.one("select meter_id from meter")
    editor.field.store_readings([(meter, T0 + 270 * QUARTER, 4000 + 300)])
    editor.field.mark_reading(1, [T0 + 270 * QUARTER])
    editor.settle()
    assert _states(client) == ["holds", "does_not_hold"]
    assert editor.energies("H", 2, first=58, count=1) != [100]
    editor.undo("H", editor.field.one("select edit_id from edit where number = 1"))
    editor.settle()
    assert _states(client) == ["undone", "holds"]
    assert editor.energies("H", 2, first=58, count=1) == [100]
    energies = [wh for day in range(3) for wh in editor.energies("H", day)]
    assert sum(wh for wh in energies if wh is not None) == 4300


def test_an_edit_over_a_move_counts_on_either_area_as_far_as_the_point_hung_there(
    client: TestClient, editor: Editor
) -> None:
    field, moved = editor.field, T0 + 50 * QUARTER
    second = field.area("A2")
    field.run("update area_membership set valid_to = %s", [moved])
    field.run("insert into area_membership (usage_point_id, area_id, valid_from) values (1, %s, %s)", [second, moved])
    meter = field.one("select meter_id from meter")
    field.store_readings([(meter, T0 + 60 * QUARTER, 4000 + 2000)])
    field.mark(1, [T0.date() + timedelta(days=1)])
    field.mark(second, [T0.date() + timedelta(days=1)])
    editor.settle()
    _set(editor, 48, [1, 2, 3, 4])
    assert len(field.rows("select distinct area_id from dirty_day")) == 2
    editor.settle()
    assert editor.energies("H", first=48, count=4) == [1, 2, 3, 4]
    assert sum(wh or 0 for wh in editor.energies("H")) == 6000
    assert _states(client) == ["holds"]
    delivered = field.rows("select area_id, delivered_interval_wh[49:52] as wh from balance_day order by area_id")
    assert {r["area_id"] for r in delivered} == {1, second}
