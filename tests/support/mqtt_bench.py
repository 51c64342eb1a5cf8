"""What measuring the ingest shares: messages of the own format, the processes at work, and what each of them spends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from drivers.base import READING_DTYPE, Source, empty
from headend.domain.calendar import from_us, to_us
from headend.embedded.ports import choose_port
from support import raw_publisher

EACH = 100
"""Readings of one message."""
BLOCK = 10
"""Meters, and instants, of one upload of a concentrator."""
UNACKED = 200
"""Of the publisher; rumqttd hangs up on who has more than 1,000."""
_TICKS = os.sysconf("SC_CLK_TCK")

Sent = list[tuple[str, bytes]]


def rows_of(meters: int, seed: int) -> np.ndarray:
    """(meters × EACH,) READING_DTYPE: a day of quarter-hours for each meter up to now, meter after meter."""
    rng = np.random.default_rng(seed)
    last_us = to_us(datetime.now(UTC).replace(minute=0, second=0, microsecond=0))
    rows = empty(READING_DTYPE, meters * EACH)
    rows["meter"] = np.repeat(np.arange(1, meters + 1), EACH)
    rows["ts_us"] = np.tile(last_us - 900_000_000 * np.arange(EACH)[::-1], meters)
    rows["import_wh"] = np.cumsum(rng.integers(0, 50, (meters, EACH)) * 10, axis=1).ravel() + 100_000
    rows["export_wh"] = 0
    rows["voltage_dv"] = rng.integers(2200, 2400, meters * EACH)
    rows["source"] = Source.MQTT
    return rows


def messages_of(rows: np.ndarray, kind: str) -> Sent:
    """The rows as messages: `batch`, `columns` and `profile` of EACH readings, `reading` of one, all meters in turn."""
    encode = msgspec.json.Encoder().encode
    blocks = rows.reshape(-1, EACH)
    if kind == "profile":
        return _profiles(blocks)
    made: Sent = []
    for own in blocks:
        topic = f"headend/v1/meter/Acme/{own['meter'][0]}/{kind}"
        columns = {
            "ts": [from_us(ts).isoformat() for ts in own["ts_us"].tolist()],
            "import_wh": own["import_wh"].tolist(),
            "export_wh": own["export_wh"].tolist(),
            "voltage_v": (own["voltage_dv"] / 10).tolist(),
        }
        readings = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        if kind == "reading":
            made += [(topic, encode(one)) for one in readings]
        else:
            made.append((topic, encode(columns if kind == "columns" else {"readings": readings})))
    return made if kind != "reading" else [made[i] for i in np.arange(rows.size).reshape(-1, EACH).T.ravel()]


def _profiles(blocks: np.ndarray) -> Sent:
    encode = msgspec.json.Encoder().encode
    made: Sent = []
    for first in range(0, len(blocks), BLOCK):
        for at in range(0, EACH, BLOCK):
            own = blocks[first : first + BLOCK, at : at + BLOCK]
            upload = {
                "format": "headend.profile/1",
                "seq": len(made) + 1,
                "backlog": 0,
                "meters": [f"Acme/{meter}" for meter in own["meter"][:, 0]],
                "ts": [from_us(ts).isoformat() for ts in own["ts_us"][0].tolist()],
                "import_wh": own["import_wh"].tolist(),
                "export_wh": own["export_wh"].tolist(),
                "voltage_v": (own["voltage_dv"] / 10).tolist(),
            }
            made.append(("headend/v1/concentrator/C1/profile", encode(upload)))
    return made


def cpu_s(pid: int) -> float:
    """User and system time of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / _TICKS


def family_cpu_s(pid: int) -> float:
    """The same with the children that live: of PostgreSQL, all of its processes."""
    spent = cpu_s(pid)
    for other in Path("/proc").glob("[0-9]*"):
        try:
            fields = (other / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        except OSError:  # it ended while we looked
            continue
        if int(fields[1]) == pid:
            spent += sum(map(int, fields[11:15])) / _TICKS
    return spent


@dataclass(slots=True)
class Ingest:
    """`headend run --roles ingest` in a process of its own."""

    process: subprocess.Popen[bytes]
    metrics_port: int

    def value(self, name: str) -> float:
        """A counter or gauge of it, over all labels."""
        # Only this one, since to show them all costs the process more than a hundred readings do.
        page = f"http://127.0.0.1:{self.metrics_port}/metrics?name[]={name}"
        with urllib.request.urlopen(page, timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


@contextmanager
def ingest(
    directory: Path,
    dsn: str,
    port: int,
    *,
    name: str = "headend-ingest",
    share_group: str | None = None,
    subscribed: bool = True,
) -> Iterator[Ingest]:
    """A running ingest; not `subscribed`: its process has just been started."""
    metrics_port = choose_port(0)
    config, ready, log = (directory / f"{name}.{end}" for end in ("toml", "ready", "log"))
    group = "" if share_group is None else f"share_group = '{share_group}'\n"
    config.write_text(
        f"[database]\ndsn = '{dsn}'\n[mqtt]\nport = {port}\nclient_id = '{name}'\n{group}"
        f"[metrics]\nport = {metrics_port}\n[log]\nlevel = 'warning'\n"
    )
    ready.unlink(missing_ok=True)
    command = ["-m", "headend.cli", "run", "-c", str(config), "--roles", "ingest", "--ready-file", str(ready)]
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, *command], stdout=out, stderr=out)
    running = Ingest(process, metrics_port)
    try:
        if subscribed:
            wait_for(ready.exists, "the ingest", process)
            wait_for(lambda: running.value("headend_mqtt_connected") == 1, "its session", process)
            time.sleep(0.5)
        yield running
    finally:
        process.terminate()
        process.wait(30)


def wait_for(condition: Callable[[], Any], what: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Until it is true; fails when the process ends, or after five minutes."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process is None or process.poll() is None, f"a process ended while waiting for {what}"
        assert time.monotonic() < deadline, f"not within 300 s: {what}"
        time.sleep(0.05)  # asking costs the process that is measured about 1.5 ms


@dataclass(slots=True)
class Publisher:
    """support/raw_publisher.py with its messages loaded."""

    process: subprocess.Popen[str]
    messages: int
    spent: list[float] = field(default_factory=list)

    def go(self) -> None:
        """Send them all."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def done(self) -> float:
        """Once all are acknowledged by the broker: seconds of CPU."""
        assert self.process.stdout is not None
        return float(msgspec.json.decode(self.process.stdout.readline())["cpu_s"])


@contextmanager
def publisher(directory: Path, port: int, messages: Sequence[tuple[str, bytes]]) -> Iterator[Publisher]:
    """Connected, and waiting for `go`."""
    file = directory / "messages"
    file.write_bytes(raw_publisher.pack(messages))
    command = [sys.executable, raw_publisher.__file__, "127.0.0.1", str(port), str(file), str(UNACKED)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        file.unlink()
        yield Publisher(process, len(messages))
        process.stdin.close()
        process.wait(60)
