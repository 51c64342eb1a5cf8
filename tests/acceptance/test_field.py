"""What the demo shows of the field: transports, who is silent, what devices told, strangers, a confirmed command.

All of it through the API of the running demo, as somebody else's program would look.
"""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from support.demo import Running, until

pytestmark = pytest.mark.acceptance


def _planted(demo: Running) -> dict[str, dict[str, Any]]:
    """What was planted, by kind of fault."""
    truth = json.loads((demo.data_dir / "topology" / "truth.json").read_text())
    return {fault["fault"]: fault for fault in truth["planted"]}


def _meters(demo: Running) -> list[dict[str, str]]:
    with (demo.data_dir / "topology" / "meters.csv").open() as file:
        return list(csv.DictReader(file))


def _buses(demo: Running) -> dict[str, dict[str, Any]]:
    """By scheme."""
    found = demo.get("/api/v1/buses") or {"items": []}
    return {bus["bus"].partition("://")[0]: bus for bus in found["items"]}


def _events(demo: Running, **where: str) -> list[dict[str, Any]]:
    found = demo.get("/api/v1/events?" + str(httpx.QueryParams(where)))
    assert found is not None
    items: list[dict[str, Any]] = found["items"]
    return items


def test_meters_are_read_over_every_transport(demo: Running) -> None:
    def all_there() -> dict[str, dict[str, Any]] | None:
        buses = _buses(demo)
        return buses if len(buses) == 3 and all(bus["connected"] for bus in buses.values()) else None

    buses = until(all_there, "all buses connected")
    assert set(buses) == {"modbus+dialin", "modbus+rtu+tcp", "modbus+tcp"}
    assert sorted(area for bus in buses.values() for area in bus["areas"]) == ["TA-01", "TA-02", "TA-03"]
    assert all(bus["meters"] >= 19 for bus in buses.values())
    assert all(0 < bus["response_ms"] < 1000 for bus in buses.values())
    (modem,) = demo.get("/api/v1/buses/modems")
    assert (modem["connected"], modem["in_use"], modem["bus"]) == (True, True, buses["modbus+dialin"]["bus"])


def test_the_silent_meter_rests_and_delays_nobody(demo: Running) -> None:
    silent = _planted(demo)["silent_meter"]["meter"]

    def rests() -> dict[str, Any] | None:
        bus = _buses(demo).get("modbus+dialin")
        there = bus is not None and any(m["outcome"] == "resting" for m in bus["not_read"])
        return bus if there else None

    bus = until(rests, "the silent meter rests", 90)
    (resting,) = bus["not_read"]
    assert resting["meter"] == silent
    assert resting["next_probe_at"] is not None
    last = bus["last_round"]
    assert (last["read"], last["resting"], last["failed"]) == (last["asked"] - 1, 1, 0)
    assert last["took_s"] < 15, "a round is over before the next is due"
    assert [b["not_read"] for b in _buses(demo).values() if b["bus"] != bus["bus"]] == [[], []]


@pytest.mark.parametrize(
    ("fault", "source", "code"),
    [
        ("cover_opened", "mqtt", "3.12.0.257"),
        ("power_failure", "mqtt", "3.26.0.47"),
        ("meter_clock", "headend", "3.36.0.79"),
        ("over_voltage", "headend", "3.26.38.93"),
    ],
)
def test_what_was_planted_is_an_event(demo: Running, fault: str, source: str, code: str) -> None:
    planted = _planted(demo)[fault]
    first, *_ = planted["events"]
    (event,) = [e for e in _events(demo, kind=first) if e["meter"] == planted["meter"]]
    assert (event["source"], event["code"], event["area"]) == (source, code, planted["area"])
    if planted["begins"] and source == "mqtt":
        told, happened = (datetime.fromisoformat(t) for t in (event["occurred_at"], planted["begins"]))
        assert abs((told - happened).total_seconds()) <= 61, "by the meter's own clock"
    if fault == "over_voltage":
        assert event["phase"] == 2
        assert event["value"] > 253
    if fault == "meter_clock":
        assert 100 < event["value"] < 200


def test_power_came_back(demo: Running) -> None:
    planted = _planted(demo)["power_failure"]
    found = _events(demo, serial=planted["meter"].partition("/")[2])
    assert {e["kind"] for e in found} >= {"power_failed", "power_restored"}


def test_an_event_told_several_times_is_one(demo: Running) -> None:
    assert len(_events(demo, kind="cover_opened")) == len(_events(demo, kind="power_failed")) == 1


def test_nothing_else_is_said_of_honest_meters(demo: Running) -> None:
    planted = {fault["meter"] for fault in _planted(demo).values()}
    told = ("cover_opened", "power_failed", "power_restored", "clock_drifted", "over_voltage", "over_voltage_ended")
    assert {e["meter"] for kind in told for e in _events(demo, kind=kind)} <= planted


def test_the_stranger_is_discovered_and_not_billed(demo: Running) -> None:
    stranger = _planted(demo)["stranger"]["meter"]
    (found,) = demo.get("/api/v1/discovered")["items"]
    assert f"{found['manufacturer']}/{found['serial']}" == stranger
    assert (found["kind"], found["protocol"], found["adopted_at"]) == ("meter", "mqtt", None)
    assert found["origin"].startswith(found["serial"])
    messages = demo.get(f"/api/v1/discovered/{found['id']}")["first_messages"]
    assert messages
    assert demo.get(f"/api/v1/meters/{found['serial']}") is None


def test_a_tariff_is_switched_and_read_back(demo: Running) -> None:
    (meter,) = [m for m in _meters(demo) if m["model"] == "inepro-pro380"]
    path = f"/api/v1/meters/{meter['manufacturer']}/{meter['serial']}/commands"
    body = {
        "command_id": str(uuid4()), "kind": "tariff", "wanted": "2", "requested_by": "Wang Fang", "reason": "contract",
    }  # fmt: skip
    sent = httpx.post(demo.url() + path, json=body, timeout=30, trust_env=False)
    assert sent.status_code == 202, sent.text

    def concluded() -> dict[str, Any] | None:
        command: dict[str, Any] | None = demo.get(f"{path}/{body['command_id']}")
        return command if command is not None and command["done_at"] else None

    command = until(concluded, "the command's end", 60)
    assert command["state"] == "confirmed", command
    assert (command["before_state"], command["after_state"]) == ("1", "2")


def test_the_drifting_clock_is_known(demo: Running) -> None:
    manufacturer, serial = _planted(demo)["meter_clock"]["meter"].split("/")
    clock = demo.get(str(httpx.URL(f"/api/v1/meters/{manufacturer}/{serial}/clock")))
    assert clock["latest"]["drifted"]
    assert 100_000 < clock["latest"]["offset_ms"] < 200_000
    assert datetime.fromisoformat(clock["latest"]["at"]) <= datetime.now(UTC)


@pytest.mark.parametrize("path", ["/field", "/events", "/discovered"])
def test_the_pages_say_the_same(demo: Running, path: str) -> None:
    planted = _planted(demo)
    words = {
        "/field": [planted["silent_meter"]["meter"].partition("/")[2], "861234050012348"],
        "/events": [planted[f]["meter"].partition("/")[2] for f in ("cover_opened", "over_voltage", "meter_clock")],
        "/discovered": [planted["stranger"]["meter"].partition("/")[2]],
    }[path]
    page = httpx.get(demo.url() + path, timeout=30, trust_env=False, headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert [word for word in words if word not in page.text] == []
