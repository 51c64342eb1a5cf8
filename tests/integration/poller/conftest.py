"""A gateway on a free port (pymodbus's own server behind a filter that silences units), and meters for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.base import Quantity
from drivers.modbus.codec import encode
from drivers.modbus.map_file import load_models
from drivers.modbus.register_map import TEXTS, Table
from headend.domain.clock import system_clock
from headend.ingest.topology_import import import_directory
from headend.settings import Database, Poll, Settings
from headend.store.pool import Store

MODELS = load_models()
BEGIN = "2026-01-01T00:00:00Z"


def device(unit: int, model_id: str, values: dict[Quantity, Any]) -> SimDevice:
    """A meter of a model with these values; what is not given reads 0."""
    words: dict[Table, dict[int, int]] = {
        Table.HOLDING: dict.fromkeys([0, *range(0xFC00, 0xFC10)], 0),
        Table.INPUT: dict.fromkeys(range(0x200), 0),
    }
    for spec in MODELS[model_id].registers:
        value = values.get(spec.quantity, "0" if spec.quantity in TEXTS else 0)
        for i, word in enumerate(encode(spec, value)):
            words[spec.table][spec.address + i] = word

    def blocks(table: Table) -> list[SimData]:
        return [SimData(a, values=w, datatype=DataType.REGISTERS) for a, w in sorted(words[table].items())]

    bits = [SimData(0, values=False, datatype=DataType.BITS)]
    return SimDevice(unit, simdata=(bits, bits, blocks(Table.HOLDING), blocks(Table.INPUT)))


@dataclass
class Gateway:
    """What listens where meters are looked for."""

    port: int
    silent: set[int] = field(default_factory=set)
    """Units that never answer."""
    spoilt: dict[int, Callable[[bytes], bytes]] = field(default_factory=dict)
    """Units whose answer is made here, from the question's frame."""
    refused: dict[int, range] = field(default_factory=dict)
    """Units that do not have these addresses: a question that touches one is refused."""
    refusals: list[tuple[int, range]] = field(default_factory=list)
    """(unit, addresses asked for) of the refused questions, in their order."""
    questions: list[int] = field(default_factory=list)
    """Units in the order in which they were asked."""

    def refuses(self, question: bytes) -> bytes | None:
        """The exception response to a question for an address that is not there."""
        unit, first = question[6], int.from_bytes(question[8:10], "big")
        asked = range(first, first + int.from_bytes(question[10:12], "big"))
        missing = self.refused.get(unit, range(0))
        if not set(asked) & set(missing):
            return None
        self.refusals.append((unit, asked))
        return question[:4] + bytes((0, 3, unit, question[7] | 0x80, 2))

    connections: int = 0
    open_connections: int = 0
    most_open: int = 0


@asynccontextmanager
async def gateway(devices: Iterable[SimDevice]) -> AsyncIterator[Gateway]:
    """Serve devices on a free port of this machine."""
    server = ModbusTcpServer(list(devices), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    upstream = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    made = Gateway(port=0)
    writers: list[asyncio.StreamWriter] = []
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        made.connections += 1
        made.open_connections += 1
        made.most_open = max(made.most_open, made.open_connections)
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", upstream)
        writers.extend((writer, up_writer))

        async def answers() -> None:
            while chunk := await up_reader.read(4096):
                writer.write(chunk)

        back = asyncio.create_task(answers())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(6)
                frame = head + await reader.readexactly(int.from_bytes(head[4:6], "big"))
                made.questions.append(frame[6])
                if (refusal := made.refuses(frame)) is not None:
                    writer.write(refusal)
                elif frame[6] in made.spoilt:
                    writer.write(made.spoilt[frame[6]](frame))
                elif frame[6] not in made.silent:
                    up_writer.write(frame)
        made.open_connections -= 1
        back.cancel()
        writer.close()
        up_writer.close()

    front = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = front.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        front.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(task for task in serving if task is not None))
        await front.wait_closed()
        await server.shutdown()


@dataclass(frozen=True)
class PlannedMeter:
    """A meter of the test's topology."""

    serial: str
    model: str
    unit: int
    usage_point: str | None
    """None: in stock."""
    port: int | None
    """None: no Modbus endpoint."""


def write_directory(directory: Path, meters: Iterable[PlannedMeter]) -> Path:
    """Import files for one area; the usage point T is the transformer's."""
    planned = list(meters)
    points = [m.usage_point for m in planned if m.usage_point]

    def write(name: str, header: str, rows: Iterable[str]) -> None:
        (directory / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")

    write("stations", "station,name", ["S,Station"])
    write("areas", "area,station,name,transformer_kva,high_loss_rate,negative_loss_rate", ["A,S,Area,,,"])
    write(
        "usage_points",
        "usage_point,kind,category,area,behind,valid_from,name,phase,rated_current_a",
        [f"{p},{'area,none' if p == 'T' else 'customer,residential'},A,,{BEGIN},,," for p in points],
    )
    write(
        "meters",
        "manufacturer,serial,model,phases,digits,resolution_wh",
        [f"Eastron,{m.serial},{m.model},{MODELS[m.model].phases},8,10" for m in planned],
    )
    write(
        "installations",
        "usage_point,manufacturer,serial,valid_from,valid_to,multiplier,sign,start_import_wh,start_export_wh,seal",
        [f"{m.usage_point},Eastron,{m.serial},{BEGIN},,,,,," for m in planned if m.usage_point],
    )
    write(
        "endpoints",
        "manufacturer,serial,protocol,host,port,unit,concentrator",
        [f"Eastron,{m.serial},modbus,127.0.0.1,{m.port},{m.unit}," for m in planned if m.port],
    )
    return directory


@pytest.fixture
def planned() -> type[PlannedMeter]:
    return PlannedMeter


@pytest.fixture
def serve() -> Any:
    """gateway(devices) → async context manager of a Gateway."""
    return gateway


@pytest.fixture
def meter_device() -> Callable[[int, str, dict[Quantity, Any]], SimDevice]:
    return device


@pytest.fixture
def load(store: Store, tmp_path: Path) -> Callable[..., None]:
    """Import these meters, or changes of them."""

    def imported(*meters: PlannedMeter) -> None:
        report = import_directory(
            store, write_directory(tmp_path, meters), skip_bad=False, clock=system_clock, models=MODELS.keys()
        )
        assert report.applied, [str(p) for p in report.problems]

    return imported


@pytest.fixture
def settings(dsn: str) -> Settings:
    """A poll each second, impatient time-outs."""
    return Settings(
        database=Database(dsn=dsn),
        poll=Poll(
            period_s=1,
            timeout_s=0.2,
            retries=0,
            reload_s=0.05,
            request_check_s=0.02,
            connect_timeout_s=0.5,
            breaker_backoff_s=0.5,
            breaker_backoff_max_s=1.0,
        ),
    )


class Shifted:
    """This machine's clock, moved by the test."""

    def __init__(self) -> None:
        self.by = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.by


@pytest.fixture
def clock() -> Shifted:
    return Shifted()


@pytest.fixture
def unused_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
