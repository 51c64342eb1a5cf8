"""How buses and meters are doing after a round: what changed since when, and what is not worth a write."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from drivers.modbus.health import BreakerState, MeterHealth
from headend.domain.calendar import to_us
from headend.ingest.poll_round import CONNECTION, OK, RESTING, Outcome, RoundReport
from headend.ingest.poll_state import bus_state, meter_state

BUS, PEER = "modbus+tcp://10.0.0.1:502", "10.0.0.1:502"
AT = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
LATER = AT + timedelta(minutes=15)
SILENT = Outcome("timeout", "no answer within 1 s")


def _report(at: datetime, *outcomes: Outcome) -> RoundReport:
    return RoundReport(BUS, to_us(at), to_us(at) + 2_500_000, dict(enumerate(outcomes)))


def _bus(before: Any, report: RoundReport | None) -> Any:
    return bus_state(before, BUS, PEER, meters=4, report=report)


def _health(**given: Any) -> MeterHealth:
    values: dict[str, Any] = {
        "unit": 1, "state": BreakerState.CLOSED, "failures": 0, "since_us": None, "next_probe_us": None,
        "last_answer_us": None, "response_ms": 41.26, "timeout_ms": 200.0, "retries": 1, "successes": 9, "timeouts": 0,
        "firmware": "1.7",
    }  # fmt: skip
    return MeterHealth(**values | given)


def test_a_bus_before_its_first_round() -> None:
    state = _bus(None, None)
    assert (state.connected, state.since_at, state.began_at, state.meters) == (None, None, None, 4)


def test_a_round_says_how_many_were_read() -> None:
    state = _bus(None, _report(AT, Outcome(OK), SILENT, Outcome(RESTING, "until 5"), Outcome(OK)))
    assert (state.connected, state.reason, state.since_at) == (True, None, AT + timedelta(seconds=2.5))
    assert (state.asked, state.read, state.failed, state.resting) == (4, 2, 1, 1)
    assert (state.began_at, state.took_s) == (AT, 2.5)


def test_since_when_a_bus_is_away_outlives_rounds_and_reloads() -> None:
    away = _report(AT, Outcome(OK), Outcome(CONNECTION, "refused"))
    first = _bus(_bus(None, _report(AT - timedelta(hours=1), Outcome(OK))), away)
    assert (first.connected, first.reason, first.since_at) == (False, "refused", AT + timedelta(seconds=2.5))
    again = _bus(_bus(first, None), _report(LATER, Outcome(CONNECTION, "no route")))
    assert (again.connected, again.reason, again.since_at) == (False, "no route", first.since_at)
    back = _bus(again, _report(LATER, Outcome(OK)))
    assert (back.connected, back.reason, back.since_at) == (True, None, LATER + timedelta(seconds=2.5))


def test_since_when_a_meter_is_not_read() -> None:
    read = meter_state(None, 7, BUS, Outcome(OK), health=_health(), at=AT)
    assert (read.outcome, read.failures, read.since_at, read.response_ms, read.firmware) == ("ok", 0, AT, 41.0, "1.7")
    silent = meter_state(read, 7, BUS, SILENT, health=_health(), at=LATER)
    assert (silent.outcome, silent.failures, silent.since_at) == ("timeout", 1, LATER)
    probe = LATER + timedelta(minutes=5)
    health = _health(state=BreakerState.OPEN, next_probe_us=to_us(probe))
    rests = meter_state(silent, 7, BUS, Outcome(RESTING, "until"), health=health, at=LATER + timedelta(minutes=15))
    assert (rests.outcome, rests.failures, rests.since_at) == ("resting", 2, LATER)
    assert rests.next_probe_at == probe
    back = meter_state(rests, 7, BUS, Outcome(OK), health=_health(), at=LATER + timedelta(minutes=30))
    assert (back.failures, back.since_at, back.next_probe_at) == (0, LATER + timedelta(minutes=30), None)


def test_a_round_like_the_one_before_is_no_news() -> None:
    read = meter_state(None, 7, BUS, Outcome(OK), health=_health(), at=AT)
    assert meter_state(read, 7, BUS, Outcome(OK), health=_health(response_ms=41.4), at=LATER) == read
    assert meter_state(read, 7, BUS, Outcome(OK), health=_health(response_ms=48.0), at=LATER) != read
    never = meter_state(None, 8, BUS, SILENT, health=None, at=AT)
    assert (never.response_ms, never.timeout_ms, never.firmware) == (None, None, None)
    assert replace(never, failures=2) == meter_state(never, 8, BUS, SILENT, health=None, at=LATER)
