"""Behind `headend probe mqtt`: one topic looked at by a person: values, raw data, what is wrong; nothing is stored."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from drivers.base import ABSENT, ABSENT_DV, Quantity, ReadingBatch
from drivers.errors import ConnectionFailed, PayloadError
from drivers.events import DeviceEvent
from drivers.modbus.probe import plausibility
from drivers.mqtt.broker import Message
from drivers.mqtt.client import MqttClient
from drivers.mqtt.decoded import ConcentratorState, Events, Ignored, ProfileUpload
from drivers.mqtt.router import Router
from headend.domain.calendar import from_us, to_us
from headend.domain.clock import Clock, system_clock
from headend.ingest.mqtt_session import broker_of, client_id_of
from headend.ingest.payloads import router_of
from headend.settings import Mqtt

_SHOWN: Final = 10
"""Readings of one message that are listed; the rest is counted."""


@dataclass(frozen=True, slots=True)
class ProbedReading:
    """One reading out of a message."""

    meter: str
    instant: datetime
    import_wh: int | None
    export_wh: int | None
    voltage_v: float | None


@dataclass(frozen=True, slots=True)
class MqttProbe:
    """One message as it was understood, or why it was not."""

    topic: str
    received_at: datetime
    payload: bytes
    kind: str
    """reading, profile, state, event, ignored, or the reason word of what is wrong."""
    readings: tuple[ProbedReading, ...]
    remarks: tuple[str, ...]


async def probe_mqtt(
    mqtt: Mqtt,
    *,
    zone: str = "UTC",
    topic: str | None = None,
    wait_s: float = 30.0,
    most: int = 1,
    clock: Clock = system_clock,
) -> list[MqttProbe]:
    """Listen to a topic filter (default: everything below the prefix) until `most` messages or `wait_s` seconds.

    The session is its own: the head-end's messages stay where they are. `zone` is that of devices which stamp local
    time. Raises `ConnectionFailed` when the broker refuses us or cannot be reached, `DriverConfigError` for a payload
    map that is wrong.
    """
    router = router_of(mqtt, zone)
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[Message | str] = asyncio.Queue()

    def hand_over(what: Message | str) -> None:
        loop.call_soon_threadsafe(arrived.put_nowait, what)

    def heard(messages: Sequence[Message]) -> None:
        for message in messages:
            hand_over(message)

    client = MqttClient(
        broker_of(mqtt, client_id=f"{client_id_of(mqtt)}-probe-{secrets.token_hex(4)}", session_expiry_s=0),
        [topic or f"{mqtt.prefix}/#"],
        heard,
        on_problem=hand_over,
    )
    client.start()
    found: list[MqttProbe] = []
    try:
        async with asyncio.timeout(wait_s):
            while len(found) < most:
                what = await arrived.get()
                if isinstance(what, str):
                    raise ConnectionFailed(what, peer=f"{mqtt.host}:{mqtt.port}")
                client.ack(what)
                explained = explain(
                    what.topic, what.payload, router=router, received_at=clock(), retained=what.retained
                )
                found.append(explained)
    except TimeoutError:
        pass  # what came until then is the answer
    finally:
        await asyncio.to_thread(client.stop)
    return found


def explain(topic: str, payload: bytes, *, router: Router, received_at: datetime, retained: bool = False) -> MqttProbe:
    """What the head-end makes of one message; the router remembers what it has to for the next one."""

    def made(kind: str, batch: ReadingBatch | None, remarks: Sequence[str]) -> MqttProbe:
        readings = () if batch is None else _readings(batch)
        return MqttProbe(topic, received_at, payload, kind, readings, tuple(remarks))

    try:
        decoded = router.decode(topic, payload, to_us(received_at), retained=retained)
    except PayloadError as error:
        return made(error.reason, None, [str(error)])
    if isinstance(decoded, Ignored):
        return made("ignored", None, [f"nothing in it for the head-end: {decoded.reason}"])
    if isinstance(decoded, Events):
        return made("event", None, [_event_line(str(decoded.device), event) for event in decoded.events])
    if isinstance(decoded, ConcentratorState):
        return made("state", None, [] if decoded.online else [f"concentrator {decoded.concentrator} is offline"])
    remarks = list(dict.fromkeys(_wrong(decoded.batch)))
    if isinstance(decoded, ProfileUpload):
        if decoded.backlog:
            remarks.append(f"{decoded.backlog} uploads still wait at the concentrator")
        return made("profile", decoded.batch, remarks)
    remarks += [_event_line(str(decoded.batch.meters[0]), event) for event in decoded.events]
    late_s = (to_us(received_at) - int(decoded.batch.rows["ts_us"].max())) / 1e6
    if abs(late_s) > 60:
        remarks.append(f"stamped {abs(late_s):.0f} s {'before' if late_s > 0 else 'after'} it arrived: check the clock")
    return made("reading", decoded.batch, remarks)


def describe_mqtt(probe: MqttProbe) -> list[str]:
    """One message as lines: readings, the payload, remarks."""
    lines = [f"{probe.received_at.isoformat()} {probe.topic}: {probe.kind}, {len(probe.payload)} bytes"]

    def column(value: float | None, unit: str) -> str:
        return f"{'not measured' if value is None else value:>14} {unit}"

    lines += [
        f"  {r.meter:<24} {r.instant.isoformat()} import {column(r.import_wh, 'Wh')} "
        f"export {column(r.export_wh, 'Wh')} voltage {column(r.voltage_v, 'V')}"
        for r in probe.readings[:_SHOWN]
    ]
    if len(probe.readings) > _SHOWN:
        lines.append(f"  … and {len(probe.readings) - _SHOWN} more")
    raw = probe.payload[:400].decode("utf-8", "backslashreplace")
    return [*lines, f"  raw: {raw}{' …' if len(probe.payload) > 400 else ''}", *remark_lines(probe.remarks)]


def _readings(batch: ReadingBatch) -> tuple[ProbedReading, ...]:
    def known(value: int, absent: int) -> int | None:
        return None if value == absent else value

    def volts(value: int) -> float | None:
        return None if value == ABSENT_DV else value / 10

    return tuple(
        ProbedReading(
            str(batch.meters[int(row["meter"])]),
            from_us(int(row["ts_us"])),
            known(int(row["import_wh"]), ABSENT),
            known(int(row["export_wh"]), ABSENT),
            volts(int(row["voltage_dv"])),
        )
        for row in batch.rows
    )


def _event_line(device: str, event: DeviceEvent) -> str:
    phase = "" if event.phase is None else f" on phase {event.phase}"
    value = "" if event.value is None else f" ({event.value:g})"
    detail = f": {event.detail}" if event.detail else ""
    return f"{device}: {event.kind.value}{phase}{value} at {from_us(event.instant_us).isoformat()}{detail}"


def _wrong(batch: ReadingBatch) -> list[str]:
    told: list[str] = []
    voltages = batch.rows["voltage_dv"]
    for i in np.flatnonzero(voltages != ABSENT_DV).tolist():
        meter = batch.meters[int(batch.rows["meter"][i])]
        remarks = plausibility({Quantity.VOLTAGE_L1_V: float(voltages[i]) / 10})
        told += [f"{meter}: {remark.replace(Quantity.VOLTAGE_L1_V.value, 'voltage_v')}" for remark in remarks]
    return told


def remark_lines(remarks: Sequence[str]) -> list[str]:
    """What looks wrong, a line each."""
    return [f"  ! {remark}" for remark in remarks] if remarks else ["  nothing looks wrong"]
