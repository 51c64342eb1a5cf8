"""Edits that nobody should be able to make, told apart from those that only look strange."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from headend.settlement import edit_desk
from headend.settlement.edit_refusal import EditRefused
from headend.store import edits
from headend.store.edits import EditIdTaken
from support.editor import Editor
from support.field import DAY, DAY0, QUARTER, T0
from support.waiting import until

PATH = "/api/v1/usage-points/H/edits"


def _body(**more: Any) -> dict[str, Any]:
    said = {
        "edit_id": str(uuid4()), "from": (T0 + 41 * QUARTER).isoformat(), "to": (T0 + 43 * QUARTER).isoformat(),
        "energies_wh": [10, 20], "by": "Li Wei", "reason": "pump was off",
    }  # fmt: skip
    return {k: v for k, v in (said | more).items() if v is not ...}


ASIDE = {"kind": "readings", "energies_wh": ..., "meter": {"manufacturer": "Acme", "serial": "h"}}


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"energies_wh": ["10", "20"]}, "#/energies_wh/0", "valid integer"),
        ({"energies_wh": [True, False]}, "#/energies_wh/0", "valid integer"),
        ({"energies_wh": [1.5, 2]}, "#/energies_wh/0", "valid integer"),
        ({"energies_wh": ..., "total_wh": True}, "#/total_wh", "valid integer"),
        ({"energies_wh": [2**63, 1]}, "#/energies_wh", "not within 0 to"),
        ({"energies_wh": ..., "total_wh": 10**30}, "#/total_wh", "not within 0 to"),
        ({"energies_wh": [1] * 1_000_000}, "#/energies_wh", "at most 9000 items"),
        ({"from": 1_772_416_800}, "#/from", "bare number"),
        ({"from": "0001-01-01T00:00:00+08:00"}, "#/from", "is not within 1970 to 3000"),
        ({"to": "9999-12-31T23:59:59.999999Z"}, "#/to", "is not within 1970 to 3000"),
        (ASIDE | {"from": "0001-01-01T00:00:00Z"}, "#/from", "is not within 1970 to 3000"),
        (ASIDE | {"to": "9999-12-31T23:59:59.999999Z"}, "#/to", "is not within 1970 to 3000"),
    ],
)
def test_a_wrong_value_names_its_field(client: TestClient, change: dict[str, Any], pointer: str, said: str) -> None:
    answer = client.post(PATH, json=_body(**change))
    assert answer.status_code == 422, answer.text
    fault = answer.json()["errors"][0]
    assert (fault["pointer"], said in fault["detail"]) == (pointer, True), fault


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "9" * 5000])
def test_what_is_no_number_is_refused(client: TestClient, number: str) -> None:
    raw = json.dumps(_body()).replace("[10, 20]", f"[{number}, 20]")
    answer = client.post(PATH, content=raw, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text


def test_readings_that_are_still_to_come_cannot_be_set_aside(client: TestClient, editor: Editor) -> None:
    to_come = {"from": (T0 + 11 * DAY).isoformat(), "to": "2126-01-01T00:00:00Z"}
    refused = client.post(PATH, json=_body(**ASIDE, **to_come))
    assert refused.json()["type"] == "urn:headend:problem:edit-not-over"
    assert editor.marked() == []


def test_another_offset_and_markup_are_no_fault(client: TestClient, editor: Editor) -> None:
    body = _body(
        **{"from": "2026-03-01T23:45:00-02:30", "to": "2026-03-02T00:15:00-02:30"}, reason="<script>alert(1)</script>"
    )
    assert client.post(PATH, json=body).status_code == 201
    editor.settle()
    assert editor.energies("H", first=41, count=2) == [10, 20]
    for path in ("/edits", "/usage-points/H?day=2026-03-02"):
        html = client.get(path, headers={"accept": "text/html"}).text
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)" in html


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_days_at_the_end_of_the_calendar_are_a_fault_of_the_request(client: TestClient, day: str) -> None:
    answer = client.get("/api/v1/usage-points/H/intervals", params={"day": day})
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, "day")


def test_an_energy_beyond_all_decimals_is_a_fault_of_the_form(client: TestClient) -> None:
    form = {
        "day": "2026-03-02", "edit_id": str(uuid4()), "by": "Li", "reason": "x", "from": "2026-03-02T10:15",
        "to": "2026-03-02T10:45", "total": "1e999999", "action": "preview",
    }  # fmt: skip
    answer = client.post("/usage-points/H/edits", data=form, headers={"accept": "text/html"})
    assert (answer.status_code, "is no " in answer.text) == (422, True)


def test_one_id_for_two_usage_points_at_once_is_one_edit(client: TestClient, editor: Editor) -> None:
    """Each holds the lock of its own usage point only: the second one finds the id taken when it writes."""
    field = editor.field
    field.metered(1, "G")
    field.store_readings([(2, T0 + k * QUARTER, 0) for k in (40, 51)])
    order = editor.order(T0 + 41 * QUARTER, [0, 0])
    taken: list[Exception] = []

    def send() -> None:
        try:
            edit_desk.submit(field.store, editor.rules, lambda: editor.now, "G", order)
        except EditIdTaken as error:
            taken.append(error)

    with field.store.transaction() as first:
        second = threading.Thread(target=send)
        edits.add(first, _as_row(order))
        second.start()
        until(field.waiting, "it waits for the row that is not committed yet")
    second.join(20)
    assert len(taken) == 1
    assert [r["code"] for r in field.rows("select code from edit join usage_point using (usage_point_id)")] == ["H"]


def _as_row(order: Any) -> dict[str, Any]:
    return {
        "edit_id": order.edit_id, "kind": "values", "usage_point_id": 1, "meter_id": None, "direction": "import",
        "from_ts": order.start, "to_ts": order.end, "interval_s": 900, "values_wh": [0, 0], "total_wh": None,
        "before_wh": [0, 0], "before_quality": [3, 3], "set_aside": None, "first_day": DAY0, "last_day": DAY0,
        "made_at": order.end, "made_by": order.by, "reason": order.reason,
    }  # fmt: skip


def test_two_edits_at_once_that_exclude_each_other_are_one_edit(client: TestClient, editor: Editor) -> None:
    """The registers leave 1100 Wh, and each wants 600 of them: whoever comes second is told so."""
    start, told = threading.Barrier(2), []

    def send(first: int) -> None:
        order = editor.order(T0 + first * QUARTER, [600])
        start.wait(10)
        try:
            edit_desk.submit(editor.field.store, editor.rules, lambda: editor.now, "H", order)
            told.append("made")
        except EditRefused as refused:
            told.append(refused.reason)

    both = [threading.Thread(target=send, args=(first,)) for first in (41, 45)]
    for one in both:
        one.start()
    for one in both:
        one.join(20)
    assert "made" in told
    assert any("1200 Wh: 100 Wh too much" in reason for reason in told), told


def test_settlement_takes_edits_in_the_order_in_which_they_were_told_to_hold(
    client: TestClient, editor: Editor
) -> None:
    """Whatever the clocks of two hosts say: the second one was tried out upon the first one."""
    instants = iter([editor.now + timedelta(seconds=5), editor.now])  # the second host's clock is behind

    def clock() -> datetime:
        return next(instants)

    for values in ([300, 0], [0, 300]):
        order = editor.order(T0 + 41 * QUARTER, values)
        edit_desk.submit(editor.field.store, editor.rules, clock, "H", order)
    editor.settle()
    assert editor.energies("H", first=41, count=2) == [0, 300]


@pytest.mark.parametrize(("zone", "interval_s"), [("Asia/Kolkata", 3600), ("Asia/Kathmandu", 1800)])
def test_hours_of_a_zone_that_is_half_an_hour_off(
    make_editor: Callable[..., Editor], zone: str, interval_s: int
) -> None:
    editor = make_editor(zone=zone, interval_s=interval_s)
    field, step = editor.field, timedelta(seconds=interval_s)
    since = datetime.combine(DAY0, time(), field.zone).astimezone(T0.tzinfo)
    area = field.area()
    _, meter = field.metered(area, "H", since=since)
    stamps = [since, since + 10 * step, since + 14 * step, since + 20 * step]
    field.store_readings([(meter, at, 100 * ((at - since) // step)) for at in stamps])
    field.mark_reading(area, stamps)
    editor.settle()
    editor.set("H", since + 11 * step, [10, 20])
    editor.settle()
    assert editor.energies("H", first=9, count=6) == [100, 185, 10, 20, 185, 100]
    with pytest.raises(ValueError, match="does not lie on the grid"):
        editor.set("H", since + 11 * step + timedelta(minutes=15), [10, 20])
