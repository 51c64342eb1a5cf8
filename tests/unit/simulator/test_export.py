"""Import files as the contract has them, truth, and the state that outlives a process."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from drivers.modbus.endpoint import parse_endpoint
from drivers.simulator.export import truth, write_import_files, write_truth
from drivers.simulator.scenario import ModemGateway, RtuGateway
from drivers.simulator.state import StateDir, StateError, Uploaded, write_atomically
from drivers.simulator.world import World

Make = Callable[..., World]
HEADERS = {
    "stations": "station,name",
    "areas": "area,station,name,transformer_kva,high_loss_rate,negative_loss_rate",
    "usage_points": "usage_point,kind,category,area,behind,valid_from,name,phase,rated_current_a",
    "meters": "manufacturer,serial,model,phases,digits,resolution_wh",
    "installations": "usage_point,manufacturer,serial,valid_from,valid_to,multiplier,sign,start_import_wh,"
    "start_export_wh,seal",
    "concentrators": "concentrator,area",
    "endpoints": "manufacturer,serial,protocol,host,port,unit,concentrator,bus",
    "premises": "premises,area,shared_usage_point,usage_point,label,has_production",
}


@pytest.fixture
def files(make_world: Make, tmp_path: Path) -> dict[str, list[dict[str, str]]]:
    """All exported files by name."""
    write_import_files(make_world(), tmp_path, host="10.0.0.1", ports=(601, 602))
    found = {}
    for file in tmp_path.glob("*.csv"):
        with file.open() as lines:
            assert lines.readline().strip() == HEADERS[file.stem]
            lines.seek(0)
            found[file.stem] = list(csv.DictReader(lines))
    assert set(found) == set(HEADERS)
    return found


def test_everything_refers_to_something(files: dict[str, list[dict[str, str]]]) -> None:
    meters = {(r["manufacturer"], r["serial"]) for r in files["meters"]}
    assert len(meters) == len(files["meters"])
    points = {r["usage_point"]: r for r in files["usage_points"]}
    installed = {(r["manufacturer"], r["serial"]): r["usage_point"] for r in files["installations"]}
    assert set(installed) < meters
    assert {r["area"] for r in files["usage_points"]} == {r["area"] for r in files["areas"]} == {"A", "B"}
    assert {(r["manufacturer"], r["serial"]) for r in files["endpoints"]} == meters
    kinds = [points[p]["kind"] for p in installed.values()]
    assert (kinds.count("area"), kinds.count("shared"), kinds.count("customer")) == (2, 1, 21)
    for r in files["premises"]:
        assert points[r["usage_point"]]["behind"] == r["shared_usage_point"]
        assert r["usage_point"] not in installed.values(), "still in stock"
    assert [r["has_production"] for r in files["premises"]] == ["true", "false", "false"]
    area_meter = next(r for r in files["installations"] if points[r["usage_point"]]["kind"] == "area")
    assert area_meter["multiplier"] == "60"
    assert all(r["phase"] in ("L1", "L2", "L3", "L123") for r in points.values())


def test_addresses_are_those_of_the_gateways(files: dict[str, list[dict[str, str]]]) -> None:
    modbus = [r for r in files["endpoints"] if r["protocol"] == "modbus"]
    assert {(r["host"], r["port"]) for r in modbus} == {("10.0.0.1", "601"), ("10.0.0.1", "602")}
    assert len({(r["port"], r["unit"]) for r in modbus}) == len(modbus)
    assert all(1 <= int(r["unit"]) <= 247 for r in modbus)


def test_every_kind_of_gateway_is_written_as_the_import_reads_it(make_world: Make, tmp_path: Path) -> None:
    world = make_world()
    a, b = world.scenario.areas
    modem = msgspec.structs.replace(a, gateway=ModemGateway(imei="861234050012348"))
    transparent = msgspec.structs.replace(b, gateway=RtuGateway())
    scenario = msgspec.structs.replace(world.scenario, areas=(modem, transparent))
    write_import_files(World(scenario, world.epoch_us), tmp_path, host="10.0.0.1", ports=(601, 602))
    with (tmp_path / "endpoints.csv").open() as lines:
        rows = [r for r in csv.DictReader(lines) if r["protocol"] == "modbus"]
    assert {(r["bus"], r["host"], r["port"]) for r in rows} == {
        ("modbus+dialin://861234050012348", "", ""),
        ("modbus+rtu+tcp://10.0.0.1:602", "", ""),
    }
    for row in rows:
        assert str(parse_endpoint(row["bus"])) == row["bus"]


def test_the_truth_says_what_is_to_be_seen(make_world: Make) -> None:
    world = make_world(
        '[[faults]]\nkind = "silent_meter"\narea = "A"\n'
        '[[faults]]\nkind = "power_failure"\narea = "B"\nat_s = 60\nlasts_s = 10\n'
        '[[faults]]\nkind = "meter_clock"\narea = "A"\nmodel = "schneider-iem3155"\n'
        '[[faults]]\nkind = "stranger"\narea = "B"\ndevice = "shellypro3em-1"\n'
        '[[faults]]\nkind = "stuck"\narea = "A"\nhousehold = 1\n'
    )
    told = truth(world)
    silent, power, clock, stranger, stuck = told["planted"]
    assert (silent["sign"], silent["events"]) == ("not_read", [])
    assert silent["meter"] not in told["modbus_meters"]
    assert len(told["modbus_meters"]) == sum(m.unit is not None for m in world.fleet.meters) - 1
    assert (power["events"], power["begins"]) == (["power_failed", "power_restored"], "2026-11-23T05:42:00Z")
    assert clock["events"] == ["clock_drifted"]
    assert (stranger["sign"], stranger["meter"]) == ("discovered", "Shelly/shellypro3em-1")
    assert (stuck["sign"], stuck["events"], stuck["begins"]) == (None, [], None)
    assert [p["counted"] for p in told["planted"]] == [False] * 4 + [True]
    assert all(p["energy_wh"] is None for p in told["planted"][:4])


def test_start_registers_are_the_first_freeze(make_world: Make, files: dict[str, list[dict[str, str]]]) -> None:
    from drivers.simulator.profile import freezes

    world = make_world()
    first = freezes(world, np.arange(len(world.fleet.meters)), np.array([world.start_us]))
    shown = {m.serial: int(first.import_wh[i, 0]) for i, m in enumerate(world.fleet.meters)}
    assert all(int(r["start_import_wh"]) == shown[r["serial"]] for r in files["installations"])


def test_too_few_ports(make_world: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 Modbus ports for 2 areas"):
        write_import_files(make_world(), tmp_path, host="h", ports=(1,))


def test_truth_balances_to_the_watt_hour(make_world: Make, tmp_path: Path) -> None:
    tap = '[[faults]]\nkind = "direct_tap"\narea = "A"\nbase_w = 300\nevening_w = 100\n'
    stuck = '[[faults]]\nkind = "stuck"\narea = "B"\nhousehold = 2\nonset_day = 1\n'
    world = make_world(tap + stuck)
    write_truth(world, tmp_path)
    told = json.loads((tmp_path / "truth.json").read_text())
    assert told == json.loads(msgspec.json.encode(truth(world)))
    by_area = {m.name: ("A", "B")[m.area] for m in world.fleet.meters}
    tapped = {p["area"]: p["energy_wh"] for p in told["planted"] if p["fault"] == "direct_tap"}
    for area in ("A", "B"):
        used = sum(e for m, e in told["true_wh"].items() if by_area[m] == area) + tapped.get(area, 0)
        assert used + told["technical_loss_wh"][area] == pytest.approx(told["supplied_wh"][area], abs=30)
    fault = told["planted"][1]
    assert fault["meter"] == world.fleet.meters[world.fleet.household(1, 2)].name
    assert fault["onset"] == "2026-11-20T16:00:00Z"
    assert 0 < fault["energy_wh"] < told["true_wh"][fault["meter"]]


def test_the_state_keeps_the_first_start(make_world: Make, tmp_path: Path) -> None:
    scenario = make_world().scenario
    state = StateDir(tmp_path / "state")
    world = state.world(scenario, make_world().epoch_us)
    world.day(world.today)
    state.keep_prefix(world)
    again = StateDir(tmp_path / "state").world(scenario, world.epoch_us + 10**12)
    assert again.epoch_us == world.epoch_us
    assert again.known_prefix()[0] == world.known_prefix()[0]
    state.keep_uploaded("C-01", Uploaded(4, (6,), {5: 2}))
    assert state.uploaded("C-01") == Uploaded(4, (6,), {5: 2})
    assert state.uploaded("C-02") == Uploaded()


def test_a_state_of_another_scenario_is_refused(make_world: Make, tmp_path: Path) -> None:
    scenario = make_world().scenario
    StateDir(tmp_path).world(scenario, make_world().epoch_us)
    with pytest.raises(StateError, match="another scenario"):
        StateDir(tmp_path).world(msgspec.structs.replace(scenario, seed=99), make_world().epoch_us)


@pytest.mark.parametrize("name", ["world.json", "registers.npz", "concentrators/C-01.json", "devices.json"])
def test_a_damaged_state_says_which_file(make_world: Make, tmp_path: Path, name: str) -> None:
    scenario, state = make_world().scenario, StateDir(tmp_path)
    state.world(scenario, make_world().epoch_us)
    write_atomically(tmp_path / name, b"{oops")
    with pytest.raises(StateError, match=name.rpartition("/")[2]):
        (state.uploaded("C-01"), state.changed(), state.world(scenario, make_world().epoch_us))


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    write_atomically(tmp_path / "f", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
