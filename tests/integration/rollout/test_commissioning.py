"""A meter is commissioned by the head-end's own read: over a real socket, by the poll role, and by nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from drivers.base import Quantity
from headend.domain.clock import system_clock
from headend.rollout.checklist import Refusal, Step, StepRefused
from headend.store import requests
from headend.store.pool import Store

NOTED = {"noted_import_wh": 1250}


def meter(**other: Any) -> dict[Quantity, Any]:
    values = {"serial": 210001, "import_wh": 1250, "voltage_l1_v": 231.0} | other
    return {Quantity(key): value for key, value in values.items()}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (meter(), None),
        (meter(serial=210002), "the meter says its serial is 210002, installed is Eastron/210001"),
        (meter(import_wh=12500), "the register reads 12500 Wh, the crew noted 1250 Wh"),
        (meter(import_wh=900), "the register reads 900 Wh, less than the start register 1200 Wh"),
        (meter(voltage_l1_v=3.0), "the voltage is 3.0 V"),
    ],
)
def test_the_poll_role_reads_the_meter_and_that_decides(
    scene: SimpleNamespace, store: Store, tmp_path: Path, values: dict[Quantity, Any], says: str | None
) -> None:
    with scene.modbus_server([scene.device(11, "eastron-sdm120", values)]) as port:
        yard = scene.make_yard(store, tmp_path, system_clock, modbus_port=port, wait_s=20.0, look_s=0.05)
        yard.install("P1")
        with scene.polling(store):
            if says is None:
                result = yard.close("P1", Step.COMMISSIONED, NOTED)
                assert (result.state, result.repeated) == ("closed", False)
                assert "serial 210001, 1250 Wh, 231.0 V" in result.detail
            else:
                with pytest.raises(StepRefused) as caught:
                    yard.close("P1", Step.COMMISSIONED, NOTED)
                assert caught.value.code is Refusal.COMMISSIONING
                assert len(caught.value.missing) == 1
                assert says in caught.value.missing[0]
    closed = yard.query("select evidence from rollout_step where step = 'commissioned'")
    assert len(closed) == (says is None)
    if closed:
        assert closed[0]["evidence"]["read"]["serial"] == "210001"
        assert closed[0]["evidence"]["noted_import_wh"] == 1250


def test_a_meter_that_does_not_answer_is_not_commissioned_and_can_be_tried_again(
    scene: SimpleNamespace, store: Store, tmp_path: Path
) -> None:
    with scene.modbus_server([scene.device(12, "eastron-sdm120", meter(serial=210002))]) as port:
        yard = scene.make_yard(store, tmp_path, system_clock, modbus_port=port, wait_s=20.0, look_s=0.05)
        yard.install("P1")
        yard.install("P2")
        with scene.polling(store):
            with pytest.raises(StepRefused) as caught:
                yard.close("P1", Step.COMMISSIONED, NOTED)  # nobody is unit 11 on this bus
            assert "the meter was not read: " in caught.value.missing[0]
            assert yard.close("P2", Step.COMMISSIONED, NOTED).state == "closed"


def test_a_meter_that_does_not_tell_its_serial_does_not_pass(
    scene: SimpleNamespace, store: Store, tmp_path: Path
) -> None:
    silent = {key: value for key, value in meter().items() if key is not Quantity.SERIAL}
    with scene.modbus_server([scene.device(15, "chint-ddsu666", silent)]) as port:
        yard = scene.make_yard(store, tmp_path, system_clock, modbus_port=port, wait_s=20.0, look_s=0.05)
        yard.install("P1", manufacturer="Chint", serial="210020")
        with scene.polling(store), pytest.raises(StepRefused) as caught:
            yard.close("P1", Step.COMMISSIONED, NOTED)
    assert "the meter does not say its serial" in caught.value.missing[0]


def test_without_an_answer_it_waits_and_tells_so_again(yard: Any) -> None:
    yard.install("P1")
    waiting = yard.close("P1", Step.COMMISSIONED, NOTED)
    assert (waiting.state, waiting.repeated) == ("waiting", False)
    assert yard.query("select step from rollout_step where step = 'commissioned'") == []
    before = yard.snapshot()
    again = yard.close("P1", Step.COMMISSIONED, NOTED, client_id=yard.sent[-1])
    assert (again.state, again.detail, again.repeated) == ("waiting", waiting.detail, True)
    assert yard.snapshot() == before
    (premises, *_) = yard.service.premises("A02")
    assert [state.condition for state in premises.steps if state.step is Step.COMMISSIONED] == ["waiting"]
    with pytest.raises(StepRefused) as other:
        yard.close("P1", Step.COMMISSIONED, NOTED, by="Wang Fang")
    assert (other.value.code, "is being commissioned by Li Wei since" in other.value.reason) == (Refusal.CONFLICT, True)


def test_whoever_looks_decides_an_answered_read(yard: Any) -> None:
    yard.install("P1")
    yard.close("P1", Step.COMMISSIONED, NOTED, by="Li Wei")
    assert yard.service.advance() == 0
    yard.answer("P1")
    assert yard.service.advance() == 1
    assert yard.service.advance() == 0
    (row,) = yard.query("select * from rollout_step where step = 'commissioned'")
    assert (row["client_id"], row["closed_by"]) == (yard.sent[-1], "Li Wei")
    again = yard.close("P1", Step.COMMISSIONED, NOTED, client_id=yard.sent[-1])
    assert (again.state, again.repeated) == ("closed", True)
    refusal = yard.refused("P1", Step.COMMISSIONED, NOTED, by="Wang Fang")
    assert "was closed by Li Wei" in refusal.reason


def test_a_failed_attempt_stays_failed_while_the_next_one_passes(yard: Any) -> None:
    yard.install("P1")
    yard.close("P1", Step.COMMISSIONED, NOTED)
    first = yard.sent[-1]
    yard.answer("P1", voltage_v=[0.4], serial="77")
    for _ in range(2):
        with pytest.raises(StepRefused) as failed:
            yard.close("P1", Step.COMMISSIONED, NOTED, client_id=first)
        assert len(failed.value.missing) == 2
    assert yard.commission("P1").state == "closed"
    before = yard.snapshot()
    with pytest.raises(StepRefused) as still:
        yard.close("P1", Step.COMMISSIONED, NOTED, client_id=first)
    assert still.value.missing == failed.value.missing
    assert yard.snapshot() == before


def test_nobody_reads_it_in_time(yard: Any, clock: Any) -> None:
    yard.install("P1")
    yard.close("P1", Step.COMMISSIONED, NOTED)
    clock.now += timedelta(seconds=59)
    assert yard.service.advance() == 0
    clock.now += timedelta(seconds=1)
    assert yard.service.advance() == 1
    (row,) = yard.query("select state, detail from commissioning")
    assert row == {"state": "failed", "detail": "the meter was not read: nobody could read the meter in time"}
    assert yard.commission("P1").state == "closed", "the crew tries again"


def test_a_read_under_way_is_waited_for_past_its_time(yard: Any, clock: Any) -> None:
    yard.install("P1")
    yard.close("P1", Step.COMMISSIONED, NOTED)
    clock.now += timedelta(seconds=50)
    with yard.store.transaction() as connection:
        (taken,) = requests.take(connection, now=clock(), lease_s=30, most=1)
    clock.now += timedelta(seconds=20)
    assert yard.service.advance() == 0
    with yard.store.transaction() as connection:
        requests.finish(connection, taken, error="no answer", now=clock())
    assert yard.service.advance() == 1


def test_the_tolerance_grows_from_when_the_crew_says_it_noted(yard: Any) -> None:
    yard.install("P1")
    two_hours_later = {"import_wh": 1250 + 27_000}  # 60 A x 230 V for nearly two hours
    yard.close("P1", Step.COMMISSIONED, NOTED | {"noted_at": yard.installed_at.isoformat()})
    yard.answer("P1", **two_hours_later)
    assert yard.service.advance() == 1
    assert yard.query("select state from commissioning") == [{"state": "passed"}]
    yard.install("P2")
    yard.close("P2", Step.COMMISSIONED, NOTED)
    yard.answer("P2", **two_hours_later)
    assert yard.service.advance() == 1
    assert yard.query("select state from commissioning where state <> 'passed'") == [{"state": "failed"}]


def test_a_meter_exchanged_meanwhile_does_not_pass_for_the_other(yard: Any) -> None:
    yard.install("P1")
    yard.close("P1", Step.COMMISSIONED, NOTED)
    yard.answer("P1")
    with yard.store.transaction() as connection:
        connection.execute(
            b"update installation set meter_id = (select meter_id from meter where serial = '210004') "
            b"where meter_id = (select meter_id from meter where (manufacturer, serial) = ('Eastron', '210001'))"
        )
    yard.service.advance()
    assert yard.query("select detail from commissioning") == [{"detail": "another meter serves there by now"}]


@pytest.mark.parametrize(
    ("evidence", "says"),
    [
        ({}, "noted_import_wh: is missing"),
        ({"noted_import_wh": 1199}, "noted_import_wh: 1199 Wh is less than the start register, 1200 Wh"),
        ({"noted_import_wh": 10**8}, "noted_import_wh: 100000000 Wh is more than Eastron/210001 can show"),
        (NOTED | {"noted_at": "2026-11-23T03:59:59Z"}, "noted_at: lies before the meter was installed"),
    ],
)
def test_what_the_crew_noted_has_to_make_sense(yard: Any, evidence: dict[str, Any], says: str) -> None:
    yard.install("P1")
    refusal = yard.refused("P1", Step.COMMISSIONED, evidence, client_id=uuid4())
    assert says in refusal.missing[0]
    assert yard.query("select * from device_request") == []
