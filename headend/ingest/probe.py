"""Behind `headend probe modbus|mqtt`: one meter, or one topic, looked at by a person: values, raw data, what is wrong.

It needs no database and stores nothing; on Modbus it opens a connection of its own, so a gateway that takes one
connection alone has to be free.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np

from drivers.base import ABSENT, ABSENT_DV, Quantity, ReadingBatch
from drivers.errors import ConnectionFailed, DriverConfigError, PayloadError
from drivers.modbus.bus import BusSettings
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.modbus.probe import ProbeReport, plausibility
from drivers.modbus.probe import probe as probe_meter
from drivers.mqtt.client import Broker, Message, MqttClient
from drivers.mqtt.payload import ConcentratorState, ProfileUpload, decode
from drivers.registry import open_bus
from headend.domain.calendar import from_us, to_us
from headend.domain.clock import Clock, system_clock
from headend.ingest.poll_bus import same_serial
from headend.ingest.poller import endpoint_of
from headend.settings import Mqtt, Poll

_SHOWN: Final = 10
"""Readings of one message that are listed; the rest is counted."""


async def probe_modbus(
    *, host: str, port: int, unit: int, model: str, poll: Poll, expected_serial: str | None = None
) -> ProbeReport:
    """Read everything that a model has from one unit; a serial other than the expected one is among the remarks.

    `model` is an id, or the end of exactly one (`sdm630`). Raises `DriverConfigError` for a model that there is not,
    `PeerError` when nothing could be read.
    """
    chosen = find_model(load_models(poll.models_dir), model)
    bus = open_bus(endpoint_of(host, port), BusSettings(timeout_s=poll.timeout_s, retries=poll.retries))
    try:
        report = await probe_meter(bus, unit, chosen)
    finally:
        await bus.close()
    remarks = [*report.remarks, *(f"{q.value}: the meter refuses it" for q in report.missing)]
    told = next((v.value for v in report.values if v.quantity is Quantity.SERIAL), None)
    if expected_serial is not None and told is None:
        remarks.append(f"serial {expected_serial} could not be checked: the meter does not tell its serial")
    elif expected_serial is not None and not same_serial(expected_serial, str(told)):
        remarks.append(f"serial mismatch: expected {expected_serial}, the meter says {told}")
    return replace(report, remarks=tuple(remarks))


def find_model(models: Mapping[str, MeterModel], name: str) -> MeterModel:
    """A model by its id or by the end of it. Raises `DriverConfigError` listing what there is."""
    if name in models:
        return models[name]
    fitting = [m for model_id, m in models.items() if model_id.endswith(f"-{name}")]
    if len(fitting) != 1:
        raise DriverConfigError(f"no model {name!r}; known are {', '.join(sorted(models))}")
    return fitting[0]


def describe_modbus(report: ProbeReport) -> list[str]:
    """The report as lines: values, requests with their times, remarks."""
    lines = [f"{report.peer} unit {report.unit}, model {report.model_id}", ""]
    for v in report.values:
        shown = "no value" if v.value is None else f"{v.value:.10g}" if isinstance(v.value, float) else str(v.value)
        words = " ".join(f"{word:04X}" for word in v.words)
        where = f"{v.table.value} 0x{v.address:04X}"
        lines.append(f"  {v.quantity.value:<14} {shown:>14} {v.unit:<3} {where:<15} [{words}]")
    asked = [
        f"  {r.table.value} 0x{r.address:04X}, {r.count} registers: answered in {r.span_ms:.1f} ms"
        for r in report.requests
    ]
    return [*lines, "", *asked, "", *_remark_lines(report.remarks)]


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
    """reading, profile, state, or the reason word of what is wrong."""
    readings: tuple[ProbedReading, ...]
    remarks: tuple[str, ...]


async def probe_mqtt(
    mqtt: Mqtt, *, topic: str | None = None, wait_s: float = 30.0, most: int = 1, clock: Clock = system_clock
) -> list[MqttProbe]:
    """Listen to a topic filter (default: everything below the prefix) until `most` messages or `wait_s` seconds.

    The session is its own: the head-end's messages stay where they are. Raises `ConnectionFailed` when the broker
    refuses us or cannot be reached.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[Message | str] = asyncio.Queue()

    def hand_over(what: Message | str) -> None:
        loop.call_soon_threadsafe(arrived.put_nowait, what)

    client = MqttClient(
        Broker(
            host=mqtt.host,
            port=mqtt.port,
            client_id=f"{mqtt.client_id}-probe-{secrets.token_hex(4)}",
            receive_maximum=mqtt.receive_maximum,
            session_expiry_s=0,
            keepalive_s=mqtt.keepalive_s,
            username=mqtt.username,
            password=mqtt.password.get_secret_value() if mqtt.password else None,
        ),
        [topic or f"{mqtt.prefix}/#"],
        hand_over,
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
                found.append(explain(what.topic, what.payload, prefix=mqtt.prefix, received_at=clock()))
    except TimeoutError:
        pass  # what came until then is the answer
    finally:
        await asyncio.to_thread(client.stop)
    return found


def explain(topic: str, payload: bytes, *, prefix: str, received_at: datetime) -> MqttProbe:
    """What the head-end makes of one message. Pure."""

    def made(kind: str, batch: ReadingBatch | None, remarks: Sequence[str]) -> MqttProbe:
        readings = () if batch is None else _readings(batch)
        return MqttProbe(topic, received_at, payload, kind, readings, tuple(remarks))

    try:
        decoded = decode(topic, payload, prefix=prefix, received_us=to_us(received_at))
    except PayloadError as error:
        return made(error.reason, None, [str(error)])
    if isinstance(decoded, ConcentratorState):
        return made("state", None, [] if decoded.online else [f"concentrator {decoded.concentrator} is offline"])
    remarks = list(dict.fromkeys(_wrong(decoded.batch)))
    if isinstance(decoded, ProfileUpload):
        if decoded.backlog:
            remarks.append(f"{decoded.backlog} uploads still wait at the concentrator")
        return made("profile", decoded.batch, remarks)
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
    return [*lines, f"  raw: {raw}{' …' if len(probe.payload) > 400 else ''}", *_remark_lines(probe.remarks)]


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


def _wrong(batch: ReadingBatch) -> list[str]:
    told: list[str] = []
    voltages = batch.rows["voltage_dv"]
    for i in np.flatnonzero(voltages != ABSENT_DV).tolist():
        meter = batch.meters[int(batch.rows["meter"][i])]
        remarks = plausibility({Quantity.VOLTAGE_L1_V: float(voltages[i]) / 10})
        told += [f"{meter}: {remark.replace(Quantity.VOLTAGE_L1_V.value, 'voltage_v')}" for remark in remarks]
    return told


def _remark_lines(remarks: Sequence[str]) -> list[str]:
    return [f"  ! {remark}" for remark in remarks] if remarks else ["  nothing looks wrong"]
