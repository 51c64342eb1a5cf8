"""What is known of the neighbourhood on paper: the head-end's import files, and the truth that only the judge sees."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from drivers.events import EventKind
from drivers.simulator.days import iso
from drivers.simulator.faults import (
    AreaMeterRatio,
    DirectTap,
    Fault,
    MeterClock,
    SilentMeter,
    Stranger,
    WrongArea,
)
from drivers.simulator.fleet import AREA, INSTALLED, SHARED, STOCK, Meter
from drivers.simulator.households import WORKSHOP
from drivers.simulator.meters import DAY_US
from drivers.simulator.profile import Profiles, freezes
from drivers.simulator.scenario import ModemGateway, RtuGateway
from drivers.simulator.state import write_atomically
from drivers.simulator.stranger import MANUFACTURER
from drivers.simulator.world import World

_KIND = {AREA: "area", SHARED: "shared", INSTALLED: "customer", STOCK: "customer"}
_RATED_A = {1: 60, 3: 100}
_PHASE = ("L1", "L2", "L3")


def write_import_files(world: World, out: Path, *, host: str, ports: Sequence[int]) -> None:
    """The CSV files that a head-end imports. Raises ValueError when there are fewer ports than areas."""
    scenario, fleet = world.scenario, world.fleet
    if len(ports) < len(scenario.areas):
        raise ValueError(f"{len(ports)} Modbus ports for {len(scenario.areas)} areas: each area has its own gateway")
    since = iso(world.start_us)
    area = [a.code for a in scenario.areas]
    everything = np.arange(len(fleet.meters))
    first = freezes(world, everything, np.array([world.start_us]))
    _csv(out / "stations.csv", "station,name", [(scenario.station.code, scenario.station.name)])
    _csv(
        out / "areas.csv",
        "area,station,name,transformer_kva,high_loss_rate,negative_loss_rate",
        [(a.code, scenario.station.code, a.name, f"{a.transformer_kva:g}", "", "") for a in scenario.areas],
    )
    _csv(
        out / "usage_points.csv",
        "usage_point,kind,category,area,behind,valid_from,name,phase,rated_current_a",
        [
            (
                m.usage_point, _KIND[m.role], _category(world, m), area[m.area],
                f"UP-{m.area + 1:02d}-S1" if m.role == STOCK else "", since, _name(world, m), _phase(world, i),
                scenario.areas[m.area].ct_ratio * 5 if m.role == AREA else _RATED_A[m.phases],
            )
            for i, m in enumerate(fleet.meters)
        ],
    )  # fmt: skip
    _csv(
        out / "meters.csv",
        "manufacturer,serial,model,phases,digits,resolution_wh",
        [(m.manufacturer, m.serial, m.model, m.phases, m.digits, m.resolution_wh) for m in fleet.meters],
    )
    _csv(
        out / "installations.csv",
        "usage_point,manufacturer,serial,valid_from,valid_to,multiplier,sign,start_import_wh,start_export_wh,seal",
        [
            (
                m.usage_point, m.manufacturer, m.serial, since, "", m.multiplier, 1,
                int(first.import_wh[i, 0]), int(first.export_wh[i, 0]), f"S{m.serial}",
            )
            for i, m in enumerate(fleet.meters)
            if m.role != STOCK
        ],
    )  # fmt: skip
    codes = [Profiles(world, a).code for a in range(len(area))]
    _csv(out / "concentrators.csv", "concentrator,area", list(zip(codes, area, strict=True)))
    _csv(
        out / "endpoints.csv",
        "manufacturer,serial,protocol,host,port,unit,concentrator,bus",
        [row for m in fleet.meters for row in _endpoints(world, m, host, ports, codes)],
    )
    _csv(
        out / "premises.csv",
        "premises,area,shared_usage_point,usage_point,label,has_production",
        [
            (
                f"PR-{m.usage_point[3:]}", area[m.area], f"UP-{m.area + 1:02d}-S1", m.usage_point, _name(world, m),
                "true" if world.fleet.users.production_w[m.user] > 0 else "false",
            )
            for m in fleet.meters
            if m.role == STOCK
        ],
    )  # fmt: skip


def truth(world: World) -> dict[str, Any]:
    """Ground truth of the full days of history."""
    scenario, fleet = world.scenario, world.fleet
    days = [world.day(world.first_day + timedelta(days=i)) for i in range(scenario.history_days)]
    readings = {m.name: 0 for m in fleet.meters if m.role != STOCK}
    for area in range(len(scenario.areas)):
        profiles = Profiles(world, area)
        for seq in range(1, min(profiles.history, profiles.last_due(world.epoch_us)) + 1):
            upload = profiles.upload(seq)
            counts = freezes(world, upload.meters, upload.ts_us).present.sum(axis=1)
            for i, count in zip(upload.meters, counts, strict=True):
                readings[fleet.meters[int(i)].name] += int(count)
    codes = [a.code for a in scenario.areas]
    silent = {m for k, m in fleet.planted.items() if isinstance(scenario.faults[k], SilentMeter)}
    answering = [m for i, m in enumerate(fleet.meters) if m.unit is not None and i not in silent]
    users = np.concatenate([d.truth.user_wh for d in days], axis=1)
    supplied = np.concatenate([d.truth.supplied_wh.sum(axis=1) for d in days], axis=1)
    line = np.concatenate([d.truth.line_loss_wh for d in days], axis=1)
    lost = line + days[0].truth.own_use_wh[:, None]
    return {
        "seed": scenario.seed,
        "epoch": iso(world.epoch_us),
        "planted": [_planted(world, k) for k in range(len(scenario.faults))],
        "history": {"from": iso(world.start_us), "until": iso(world.until_us), "readings": readings},
        "modbus_meters": [m.name for m in answering],
        "modbus_installed": [m.name for m in answering if m.role != STOCK],
        "line_loss_wh": {c: round(float(line[a].sum())) for a, c in enumerate(codes)},
        "technical_loss_wh": {c: round(float(lost[a].sum())) for a, c in enumerate(codes)},
        "supplied_wh": {c: round(float(supplied[a].sum())) for a, c in enumerate(codes)},
        "true_wh": {m.name: round(float(users[m.user].sum())) for m in fleet.meters if m.user >= 0},
    }


def write_truth(world: World, out: Path) -> None:
    """`truth.json`."""
    write_atomically(out / "truth.json", msgspec.json.format(msgspec.json.encode(truth(world)), indent=2))


def _planted(world: World, number: int) -> dict[str, Any]:
    fault = world.scenario.faults[number]
    onset = getattr(fault, "onset_day", 0.0)
    return {
        "fault": fault.__struct_config__.tag,
        "area": fault.area,
        "meter": _meter_at_fault(world, number),
        "correct_area": fault.true_area if isinstance(fault, WrongArea) else None,
        "onset": iso(world.start_us + round(onset * DAY_US)) if onset else None,
        "energy_wh": _energy_wh(world, number),
        "counted": fault.counted,
        "events": _events(world, number),
        "begins": _begins(world, number),
        "sign": _sign(fault),
    }


def _meter_at_fault(world: World, number: int) -> str | None:
    """The meter that a crew would look at; an area meter's fault is its area's."""
    fault = world.scenario.faults[number]
    if isinstance(fault, Stranger):
        return f"{MANUFACTURER}/{fault.device}"
    meter = world.fleet.planted.get(number)
    return None if meter is None or isinstance(fault, AreaMeterRatio) else world.fleet.meters[meter].name


def _energy_wh(world: World, number: int) -> int | None:
    """What is gone, or is counted elsewhere, in all of the history; None for what is no energy fault."""
    fault, meter = world.scenario.faults[number], world.fleet.planted.get(number)
    days = [world.day(world.first_day + timedelta(days=i)) for i in range(world.scenario.history_days)]
    if isinstance(fault, DirectTap):
        return round(sum(float(d.truth.tap_wh[number].sum()) for d in days))
    if meter is None or not fault.counted:
        return None
    device = world.fleet.meters[meter]
    if isinstance(fault, WrongArea):
        return round(sum(float(d.truth.user_wh[device.user].sum()) for d in days))
    gone = 0.0  # what the meter would have registered without its rate faults
    for d in days:
        rate = world.instruments.rate(d.grid_us[:-1])[meter]
        whole = isinstance(fault, AreaMeterRatio)
        flowing = d.truth.supplied_wh[device.area].sum(axis=0) if whole else d.truth.user_wh[device.user]
        gone += float((flowing * (1 - rate)).sum())
    return round(gone)


def _events(world: World, number: int) -> list[str]:
    """Kinds of the events that a head-end can hear or see of it."""
    if isinstance(world.scenario.faults[number], MeterClock):
        return [EventKind.CLOCK_DRIFTED.value]
    incident = world.incidents.planted.get(number)
    return [] if incident is None else [event.kind.value for event in incident.events]


def _begins(world: World, number: int) -> str | None:
    """When there is something to be seen; None: always, or never."""
    incident = world.incidents.planted.get(number)
    return None if incident is None else iso(incident.from_us)


def _sign(fault: Fault) -> str | None:
    """What else there is to see of it: `discovered` or `not_read`."""
    return "discovered" if isinstance(fault, Stranger) else "not_read" if isinstance(fault, SilentMeter) else None


def _endpoints(
    world: World, meter: Meter, host: str, ports: Sequence[int], codes: Sequence[str]
) -> Iterable[tuple[Any, ...]]:
    if meter.unit is not None:
        gateway, port = world.scenario.areas[meter.area].gateway, ports[meter.area]
        way: tuple[Any, Any, str] = host, port, ""
        if isinstance(gateway, ModemGateway):
            way = "", "", f"modbus+dialin://{gateway.imei}"
        elif isinstance(gateway, RtuGateway):
            way = "", "", f"modbus+rtu+tcp://{host}:{port}"
        yield meter.manufacturer, meter.serial, "modbus", way[0], way[1], meter.unit, "", way[2]
    if meter.role != STOCK:
        yield meter.manufacturer, meter.serial, "mqtt", "", "", "", codes[meter.area], ""


def _category(world: World, meter: Meter) -> str:
    if meter.role == AREA:
        return "none"
    if meter.user >= 0 and world.fleet.users.kind[meter.user] == WORKSHOP:
        return "production"
    return "residential"


def _name(world: World, meter: Meter) -> str:
    area = world.scenario.areas[meter.area]
    if meter.role == AREA:
        return f"{area.name} transformer"
    if meter.role == SHARED:
        return f"{area.name} shared meter"
    number = meter.usage_point.rpartition("-")[2].lstrip("P0")
    what = "flat" if meter.role == STOCK else "workshop" if _category(world, meter) == "production" else "house"
    return f"{area.name} {what} {number}"


def _phase(world: World, meter: int) -> str:
    m = world.fleet.meters[meter]
    if m.phases == 3:
        return "L123"
    phases = [int(w.phase[w.user == m.user][0]) for w in world.fleet.wiring if np.any(w.user == m.user)]
    return _PHASE[phases[0]]


def _csv(path: Path, header: str, rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
