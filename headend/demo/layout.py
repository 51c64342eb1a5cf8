"""Where the demo keeps its things, and what it tells its parts: paths, ports, the settings file, the signing key."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from headend.embedded.ports import LOOPBACK, PortBook

GATEWAYS = 3
"""Modbus gateways of the demo's neighbourhood: one an area; where a modem takes its place, its port stays unused."""
REGISTRATION = [{"id": "imei"}]
HEARTBEATS = [{"hex": "FE"}]
"""What the neighbourhood's modems say first, and what they say now and then."""

POLLING = {"breaker_failures": 2}
"""A silent meter rests after the fewest visits that there may be, so that it is soon to be seen."""

READ_SUCCESS = {"due_s": 120.0}
"""The neighbourhood's concentrators upload at once, so that today's read success shows soon."""

TomlValue = str | int | float | list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below one data directory."""

    root: Path

    @property
    def postgres(self) -> Path:
        """The embedded database."""
        return self.root / "postgres"

    @property
    def broker(self) -> Path:
        """The embedded broker."""
        return self.root / "broker"

    @property
    def simulator(self) -> Path:
        """What the simulated neighbourhood remembers: its epoch, and what concentrators still keep."""
        return self.root / "simulator"

    @property
    def topology(self) -> Path:
        """CSV files that the simulator writes and `headend import` reads; truth.json is beside them."""
        return self.root / "topology"

    @property
    def billing(self) -> Path:
        """The books of the billing import endpoint."""
        return self.root / "billing"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.root / "logs"

    @property
    def spool(self) -> Path:
        """Polled readings that the database does not have yet."""
        return self.root / "spool"

    @property
    def metrics(self) -> Path:
        """Counters that the service's processes share."""
        return self.root / "metrics"

    @property
    def settings(self) -> Path:
        """The settings file that the service is started with."""
        return self.root / "headend.toml"

    @property
    def secret(self) -> Path:
        """Key of the billing signature, made on the first start."""
        return self.root / "billing.secret"

    @property
    def ports(self) -> Path:
        """The ports of the last start, by name."""
        return self.root / "ports.json"

    @property
    def truth(self) -> Path:
        """The simulator's ground truth: nothing of the service reads it."""
        return self.topology / "truth.json"

    def prepare(self) -> None:
        """Make the directories and the signing key; remove the counters of a start that is over."""
        for directory in (self.simulator, self.topology, self.billing, self.logs, self.metrics):
            directory.mkdir(parents=True, exist_ok=True)
        for stale in (*self.metrics.glob("*.db"), *self.root.glob("*.ready")):
            stale.unlink()
        if not self.secret.exists():
            fresh = self.secret.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_hex(32), encoding="ascii")
            os.replace(fresh, self.secret)

    def ready(self, name: str) -> Path:
        """File that a process writes when it is ready."""
        return self.root / f"{name}.ready"


@dataclass(frozen=True, slots=True)
class Ports:
    """Chosen ports on the loopback address; the same from start to start where they are free."""

    web: int
    broker: int
    billing: int
    dialin: int
    """Where modems connect to."""
    modbus: tuple[int, ...]

    @classmethod
    def choose(cls, book: PortBook, web: int) -> Ports:
        """Defaults that move when taken."""
        return cls(
            web=book.choose("web", web),
            broker=book.choose("broker", 18830),
            billing=book.choose("billing", 18090),
            dialin=book.choose("dialin", 15020),
            modbus=tuple(book.choose(f"modbus{n}", 15020 + n) for n in range(1, GATEWAYS + 1)),
        )

    @property
    def web_url(self) -> str:
        """What a person opens."""
        return f"http://{LOOPBACK}:{self.web}/"


def write_settings(layout: Layout, ports: Ports, dsn: str, poll_period_s: int) -> None:
    """Write the TOML file that `headend run --config` takes: only what is the demo's own, the rest are defaults."""
    sections: dict[str, dict[str, TomlValue]] = {
        "database": {"dsn": dsn},
        "mqtt": {"host": LOOPBACK, "port": ports.broker},
        "poll": {"period_s": poll_period_s, "spool_dir": str(layout.spool), **POLLING},
        "poll.dialin": {
            "host": LOOPBACK,
            "port": ports.dialin,
            "registration": REGISTRATION,
            "heartbeats": HEARTBEATS,
        },
        "billing": {
            "endpoint_url": f"http://{LOOPBACK}:{ports.billing}/import/batches",
            "secret_file": str(layout.secret),
        },
        "objectives": {**READ_SUCCESS},
        "web": {"port": ports.web},
    }
    lines = [
        line
        for name, keys in sections.items()
        for line in (f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in keys.items()), "")
    ]
    layout.settings.write_text("\n".join(lines), encoding="utf-8")


def _toml(value: TomlValue) -> str:
    """A JSON string or number is a TOML one, too; a list of tables is not."""
    if not isinstance(value, list):
        return json.dumps(value)
    tables = (", ".join(f"{key} = {json.dumps(text)}" for key, text in table.items()) for table in value)
    return f"[{', '.join(f'{{ {table} }}' for table in tables)}]"
