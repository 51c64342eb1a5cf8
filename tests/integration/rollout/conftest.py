"""A courtyard behind a shared meter, imported from CSV files, and meters that answer on a real Modbus TCP socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.base import Quantity
from drivers.modbus.codec import encode
from drivers.modbus.map_file import load_models
from drivers.modbus.register_map import Table
from headend.domain.clock import Clock, system_clock
from headend.ingest.poller import PollService
from headend.ingest.topology_import import import_directory
from headend.rollout.checklist import Step, StepRefused, StepResult
from headend.rollout.service import RolloutService
from headend.settings import Settings
from headend.store import requests
from headend.store.pool import Row, Store

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
SHARED_SINCE = "2026-10-26T00:00:00+08:00"

FILES = {
    "stations.csv": "station,name\nS1,East\n",
    "areas.csv": "area,station,name,transformer_kva,high_loss_rate,negative_loss_rate\n"
    "A01,S1,North Lane,200,,\nA02,S1,Old Yard,200,,\n",
    "usage_points.csv": "usage_point,kind,category,area,behind,valid_from,name,phase,rated_current_a\n"
    f"A02-T,area,none,A02,,{SHARED_SINCE},,L123,\n"
    f"A02-S1,shared,residential,A02,,{SHARED_SINCE},Old Yard,L123,60\n"
    f"A02-001,customer,residential,A02,A02-S1,{SHARED_SINCE},,,60\n"
    f"A02-002,customer,residential,A02,A02-S1,{SHARED_SINCE},,L2,60\n"
    f"A02-003,customer,residential,A02,A02-S1,{SHARED_SINCE},,,\n"
    f"A02-101,customer,residential,A02,,{SHARED_SINCE},,L1,60\n"
    f"A02-900,customer,production,A02,A02-S1,{SHARED_SINCE},Mill,L1,60\n"
    f"A01-T,area,none,A01,,{SHARED_SINCE},,L123,\n"
    f"A01-900,customer,production,A01,,{SHARED_SINCE},,L1,60\n",
    "meters.csv": "manufacturer,serial,model,phases,digits,resolution_wh\n"
    "Eastron,1,eastron-sdm630,3,8,1\nEastron,2,eastron-sdm630,3,7,10\nEastron,101,eastron-sdm120,1,7,10\n"
    "Eastron,210001,eastron-sdm120,1,7,10\nEastron,210002,eastron-sdm120,1,7,10\nEastron,210003,eastron-sdm120,1,7,10\n"
    "Eastron,210004,eastron-sdm120,1,7,10\nEastron,210010,eastron-sdm630,3,7,10\nEastron,210011,eastron-sdm120,1,7,10\n"
    "Chint,210001,chint-ddsu666,1,7,10\nChint,210020,chint-ddsu666,1,7,10\n",
    "installations.csv": "usage_point,manufacturer,serial,valid_from,valid_to,multiplier,sign,"
    "start_import_wh,start_export_wh,seal\n"
    f"A02-T,Eastron,1,{SHARED_SINCE},,40,1,0,0,T-1\nA02-S1,Eastron,2,{SHARED_SINCE},,1,1,5000000,0,S-1\n"
    f"A02-101,Eastron,101,{SHARED_SINCE},,1,1,0,0,S-2\nA02-900,Eastron,210011,{SHARED_SINCE},,1,1,0,0,S-3\n",
    "premises.csv": "premises,area,shared_usage_point,usage_point,label,has_production\n"
    "P1,A02,A02-S1,A02-001,Old Yard 1,false\nP2,A02,A02-S1,A02-002,Old Yard 2,false\n"
    "P3,A02,A02-S1,A02-003,Old Yard 3 (workshop),true\n",
}
STOCK = {"P1": "210001", "P2": "210002", "P3": "210003"}
UNITS = {"210001": 11, "210002": 12, "210003": 13, "210010": 14, "210020": 15}
START_WH = 1200


@dataclass
class Time:
    """A clock that a test moves."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Yard:
    """What the tests do: crews' work at the doors of area A02, and looks into the store."""

    store: Store
    service: RolloutService
    clock: Clock
    directory: Path
    installed_at: datetime
    sent: list[UUID] = field(default_factory=list)

    def close(
        self,
        premises: str,
        step: Step,
        evidence: Mapping[str, Any],
        *,
        by: str = "Li Wei",
        client_id: UUID | None = None,
    ) -> StepResult:
        self.sent.append(client_id or uuid4())
        return self.service.close_step(premises, step, self.sent[-1], by, evidence)

    def refused(self, premises: str, step: Step, evidence: Mapping[str, Any], **how: Any) -> StepRefused:
        before = self.snapshot()
        with pytest.raises(StepRefused) as caught:
            self.close(premises, step, evidence, **how)
        assert self.snapshot() == before, "a refused step changed something"
        return caught.value

    def survey(self, premises: str, **other: Any) -> StepResult:
        return self.close(premises, Step.SURVEY, {"people": 3, "category": "residential", "phase": "L1"} | other)

    def meter(self, premises: str, **other: Any) -> dict[str, Any]:
        return {
            "manufacturer": "Eastron",
            "serial": STOCK[premises],
            "seal": f"S-{premises}",
            "start_import_wh": START_WH,
            "installed_at": self.installed_at.isoformat(),
        } | other

    def install(self, premises: str, **other: Any) -> StepResult:
        self.survey(premises)
        return self.close(premises, Step.HOUSEHOLD_METER_INSTALLED, self.meter(premises, **other))

    def separated(self, premises: str = "P3") -> StepResult:
        return self.close(
            premises, Step.PRODUCTION_SEPARATED, {"note": "the mill", "production_usage_point": "A02-900"}
        )

    def answer(self, premises: str, **other: Any) -> None:
        """Answer the live read of a door's meter as its executor would, without a socket."""
        given = {
            "serial": STOCK[premises],
            "import_wh": 1250,
            "export_wh": 0,
            "voltage_v": [231.2],
            "instant": self.clock().isoformat(),
            "uncertainty_ms": 20,
            "resolution_wh": 1,
            "model": "eastron-sdm120",
            "refused": [],
        } | other
        with self.store.transaction() as connection:
            (taken,) = requests.take(connection, now=self.clock(), lease_s=30, most=1)
            assert requests.finish(connection, taken, answer=given, now=self.clock())

    def commission(self, premises: str, **answer: Any) -> StepResult:
        """Commission a door with an answer that is given while it waits for it."""
        client_id = uuid4()
        waiting = self.close(premises, Step.COMMISSIONED, {"noted_import_wh": 1250}, client_id=client_id)
        assert waiting.state == "waiting"
        self.answer(premises, **answer)
        return self.close(premises, Step.COMMISSIONED, {"noted_import_wh": 1250}, client_id=client_id)

    def all_commissioned(self) -> None:
        for premises in STOCK:
            self.install(premises)
            if premises == "P3":
                self.separated()
            assert self.commission(premises).state == "closed"

    def removal(self, **other: Any) -> dict[str, Any]:
        return {"final_import_wh": 5_900_000, "removed_at": self.clock().isoformat(), "seal": "S-1"} | other

    def query(self, sql: str, *parameters: Any) -> list[Row]:
        return self.store.rows(sql.encode(), parameters)

    def counted(self, at: datetime) -> set[str]:
        """Usage points of A02, the transformer's aside, whose own meter the balance counts at an instant."""
        return {
            row["code"]
            for row in self.query(
                "select u.code from area_membership m "
                "join usage_point u using (usage_point_id) join area a using (area_id) "
                "where a.code = 'A02' and u.kind <> 'area' and m.behind_usage_point_id is null "
                "and m.valid_from <= %s and (m.valid_to is null or m.valid_to > %s)",
                at,
                at,
            )
        }

    def read_by_own_meter(self, at: datetime) -> set[str]:
        return {
            row["code"]
            for row in self.query(
                "select u.code from installation i join usage_point u using (usage_point_id) "
                "where i.valid_from <= %s and (i.valid_to is null or i.valid_to > %s)",
                at,
                at,
            )
        }

    def dirty(self, area: str = "A02") -> list[str]:
        found = self.query("select day from dirty_day join area using (area_id) where code = %s order by day", area)
        return [row["day"].isoformat() for row in found]

    def settle_all(self) -> None:
        with self.store.transaction() as connection:
            connection.execute("delete from dirty_day")

    def snapshot(self) -> dict[str, list[Row]]:
        tables = ("rollout_step", "installation", "area_membership", "usage_point", "dirty_day", "device_request")
        return {table: self.query(f"select * from {table} order by 1, 2") for table in tables}

    def reimport(self) -> Any:
        return import_directory(self.store, self.directory, skip_bad=False, clock=self.clock)


def settings_of(store: Store, **sections: Any) -> Settings:
    return Settings(database={"dsn": store.dsn}, **sections)


def write_files(directory: Path, modbus_port: int) -> None:
    files = FILES | {
        "endpoints.csv": "manufacturer,serial,protocol,host,port,unit,concentrator\n"
        + "".join(
            f"{'Chint' if serial == '210020' else 'Eastron'},{serial},modbus,127.0.0.1,{modbus_port},{unit},\n"
            for serial, unit in UNITS.items()
        )
    }
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")


def make_yard(store: Store, directory: Path, clock: Clock, *, modbus_port: int = 502, **service: Any) -> Yard:
    write_files(directory, modbus_port)
    report = import_directory(store, directory, skip_bad=False, clock=clock)
    assert report.applied, str(report)
    made = RolloutService(store, settings_of(store), clock, **service)
    yard = Yard(store, made, clock, directory, clock().replace(microsecond=0) - timedelta(hours=2))
    yard.settle_all()
    return yard


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def yard(store: Store, tmp_path: Path, clock: Time) -> Yard:
    """A02 as imported, at 14:00 of a Monday; nothing waits for live reads."""
    return make_yard(store, tmp_path, clock, wait_s=0.0)


# -- meters on a socket --


def device(unit: int, model_id: str, values: Mapping[Quantity, Any]) -> SimDevice:
    """A meter of a model with these values; every other quantity reads 0."""
    model = load_models(None)[model_id]
    words: dict[Table, dict[int, int]] = {Table.HOLDING: {}, Table.INPUT: {}}
    for spec in model.registers:
        for i, word in enumerate(encode(spec, values.get(spec.quantity, 0))):
            words[spec.table][spec.address + i] = word
    top = max((a for a in (*words[Table.HOLDING], *words[Table.INPUT]) if a < 0xF000), default=0) + 2

    def blocks(registers: Mapping[int, int]) -> list[SimData]:
        filled = dict.fromkeys(range(top), 0) | dict(registers)
        return [SimData(a, values=w, datatype=DataType.REGISTERS) for a, w in sorted(filled.items())]

    bits = [SimData(0, values=False, datatype=DataType.BITS)]
    return SimDevice(unit, simdata=(bits, bits, blocks(words[Table.HOLDING]), blocks(words[Table.INPUT])))


@contextmanager
def in_thread(main: Callable[[asyncio.Event, Callable[[Any], None]], Any]) -> Iterator[Any]:
    """Run a coroutine function in a thread with a loop of its own; yields what it hands to its second argument."""
    ready: list[Any] = []
    arrived = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def announce(value: Any) -> None:
        ready.append(value)
        arrived.set()

    failures: list[Exception] = []

    def work() -> None:
        try:
            loop.run_until_complete(main(stop, announce))
        except Exception as error:  # noqa: BLE001 told to the test by whoever waits for the thread
            failures.append(error)
        finally:
            arrived.set()
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert arrived.wait(20), "did not start"
        assert not failures, failures
        yield ready[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        assert not thread.is_alive()
    assert not failures, failures


@contextmanager
def modbus_server(devices: list[SimDevice]) -> Iterator[int]:
    """A Modbus TCP server on a free port; yields the port."""

    async def main(stop: asyncio.Event, announce: Callable[[Any], None]) -> None:
        server = ModbusTcpServer(devices, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        announce(server.transport.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
        await stop.wait()
        await server.shutdown()

    with in_thread(main) as port:
        yield port


@contextmanager
def polling(store: Store) -> Iterator[None]:
    """The poll role, on the same store."""
    settings = settings_of(store, poll={"period_s": 86400, "request_check_s": 0.05, "timeout_s": 0.5, "retries": 0})

    async def main(stop: asyncio.Event, announce: Callable[[Any], None]) -> None:
        service = PollService(store, settings, system_clock)
        announce(None)
        await service.run(stop)

    with in_thread(main):
        yield


@pytest.fixture(scope="session")
def scene() -> SimpleNamespace:
    """What the tests with meters on a socket build their scenes with."""
    return SimpleNamespace(device=device, modbus_server=modbus_server, polling=polling, make_yard=make_yard)
