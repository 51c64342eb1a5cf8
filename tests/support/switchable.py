"""A meter that can be commanded, behind pymodbus's own server: a clock that runs, a relay with a motor, a tariff.

It does what a test tells it to: move late, lie, refuse, answer late, fall silent after a write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.modbus.feature_codec import decode_clock, encode_clock
from drivers.modbus.features import ClockField, ClockFormat

ZONE = ZoneInfo("Asia/Shanghai")
SWITCHABLE, PLAIN = "test-switchable", "test-plain"
CLOCK, RELAY_STATE, RELAY_WRITE, TARIFF_STATE, TARIFF_WRITE, PASSWORD = 0x10, 0x20, 0x21, 0x28, 0x29, 0x2A
FORM = ClockFormat(
    encoding="word_fields",
    fields=(
        ClockField.YEAR,
        ClockField.MONTH,
        ClockField.DAY,
        ClockField.HOUR,
        ClockField.MINUTE,
        ClockField.SECOND,
    ),
)

_HEAD = """
id = "{id}"
manufacturer = "Eastron"
name = "{id}"
phases = 1
transformer_ratio = "none"
firmware_notes = "made up for a test"
sources = ["made up for a test"]

[manual]
title = "none"
where = "nowhere"

[limits]
max_registers = 40
max_gap = 0

[defaults]
table = "holding"
type = "u32"

[[registers]]
quantity = "import_wh"
address = 0x0000
unit = "Wh"

[[registers]]
quantity = "serial"
address = 0x0002
"""
_FEATURES = f"""
[clock]
table = "holding"
address = {CLOCK}
encoding = "word_fields"
fields = ["year", "month", "day", "hour", "minute", "second"]

[clock.write]
function = 16
address = {CLOCK}

[relay]
table = "holding"
address = {RELAY_STATE}
mask = 0x0003

[relay.states]
open = [1]
closed = [0]

[relay.write]
function = 6
address = {RELAY_WRITE}

[relay.writes]
open = [0xAAAA]
closed = [0x5555]

[tariff]
table = "holding"
address = {TARIFF_STATE}

[tariff.states]
1 = [1]
2 = [2]

[tariff.write]
function = 16
address = {TARIFF_WRITE}
unlock = [{{ address = {PASSWORD}, words = [0x1234] }}]

[tariff.writes]
1 = [1]
2 = [2]
"""


def write_models(directory: Path) -> Path:
    """Register maps of a meter with everything, and of one that is only measured."""
    directory.mkdir(exist_ok=True)
    (directory / f"{SWITCHABLE}.toml").write_text(_HEAD.format(id=SWITCHABLE) + _FEATURES)
    (directory / f"{PLAIN}.toml").write_text(_HEAD.format(id=PLAIN))
    return directory


@dataclass
class SwitchableMeter:
    """One meter; its attributes are what it does."""

    unit: int
    serial: int
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    """What a right clock would show."""
    clock_off_s: float = 0.0
    drift_ppm: float = 0.0
    clock_dead: bool = False
    """Its registers name no instant."""
    ignores_clock: bool = False
    relay: str = "closed"
    motor_s: float = 0.0
    """From the write to the new state."""
    lies: bool = False
    """Accepts, and does nothing."""
    refuses: ExcCodes | None = None
    """What it says to writes."""
    obeys_anyway: bool = False
    """It does what it refuses: it was asked twice by its gateway, and speaks of the second time."""
    answers_write_after_s: float = 0.0
    """It obeys at once, and says so late."""
    silent_until_it_is_told: bool = False
    """It answers nothing while this is so."""
    silent_after_write_s: float = 0.0
    """After a write it answers nothing for so long; the write itself neither."""
    tariff: int = 1
    on_write: Callable[[], None] | None = None
    """Called when a write of relay, clock or tariff has come, before it is answered."""
    writes: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)
    """(function, address, words) of each write that came, obeyed or not."""
    set_at: list[datetime] = field(default_factory=list)
    """When its clock was set, by a right clock."""
    _moving: tuple[float, str] | None = None
    _silent_until: float = 0.0
    _unlocked: bool = False
    _ran_since: datetime | None = None

    @property
    def commands(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """The writes that switch or set something."""
        return [w for w in self.writes if w[1] != PASSWORD]

    def shows(self) -> datetime:
        """What its clock shows, fractions included."""
        now = self.now()
        self._ran_since = self._ran_since or now
        ran_s = (now - self._ran_since).total_seconds()
        return now + timedelta(seconds=self.clock_off_s + ran_s * self.drift_ppm / 1e6)

    def device(self) -> SimDevice:
        """For the server."""
        return SimDevice(
            self.unit, simdata=[SimData(0, values=[0] * 0x40, datatype=DataType.REGISTERS)], action=self._action
        )

    async def _action(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        while (silent_s := self._silent_until - time.monotonic()) > 0:
            await asyncio.sleep(silent_s)
        while self.silent_until_it_is_told:
            await asyncio.sleep(0.02)
        if values is not None:
            return await self._written(function, address, tuple(int(v) for v in values))
        self._move()
        image = [1, 4_464, self.serial >> 16, self.serial & 0xFFFF]  # 70,000 Wh
        registers[0:4] = image
        clock = (0,) * 6 if self.clock_dead else encode_clock(FORM, self.shows(), ZONE)
        registers[CLOCK : CLOCK + 6] = clock
        registers[RELAY_STATE] = {"closed": 0, "open": 1, "between": 2}[self.relay]
        registers[TARIFF_STATE] = self.tariff
        return None

    def _move(self) -> None:
        if self._moving is not None and time.monotonic() >= self._moving[0]:
            self.relay = self._moving[1]
            self._moving = None

    async def _written(self, function: int, address: int, words: tuple[int, ...]) -> ExcCodes | None:
        self.writes.append((function, address, words))
        if address == PASSWORD:
            self._unlocked = words == (0x1234,)
            return None
        if self.refuses is not None:
            if self.obeys_anyway:
                self._obey(address, words)
            return self.refuses
        if not self.lies:
            self._obey(address, words)
        if self.silent_after_write_s:
            self._silent_until = time.monotonic() + self.silent_after_write_s
            await asyncio.sleep(self.silent_after_write_s)
        if self.on_write is not None:
            self.on_write()
        if self.answers_write_after_s:
            await asyncio.sleep(self.answers_write_after_s)
        return None

    def _obey(self, address: int, words: tuple[int, ...]) -> None:
        if address == RELAY_WRITE:
            state = {0xAAAA: "open", 0x5555: "closed"}[words[0]]
            if self.motor_s:
                self.relay = "between"
                self._moving = (time.monotonic() + self.motor_s, state)
            else:
                self.relay = state
        elif address == TARIFF_WRITE and self._unlocked:
            self.tariff = words[0]
            self._unlocked = False
        elif address == CLOCK and not self.ignores_clock:
            said = decode_clock(FORM, words, ZONE)
            assert said is not None
            self.set_at.append(self.now())
            self.clock_off_s, self.clock_dead, self._ran_since = (said - self.now()).total_seconds(), False, self.now()


@asynccontextmanager
async def served(*meters: SwitchableMeter, rtu: bool = False) -> AsyncIterator[int]:
    """Serve meters on a free port of this machine, RTU frames or Modbus TCP; yields the port."""
    framer = FramerType.RTU if rtu else FramerType.SOCKET
    server = ModbusTcpServer([m.device() for m in meters], address=("127.0.0.1", 0), framer=framer)
    await server.serve_forever(background=True)
    try:
        yield server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    finally:
        await server.shutdown()
