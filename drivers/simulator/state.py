"""What has to outlive the process: the first start, what was confirmed to each concentrator, what was
changed in meters, the day's start registers.

The rule it keeps: a file is replaced whole (written beside, flushed to disk, renamed), so that a kill loses nothing.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from drivers.simulator.devices import Changed
from drivers.simulator.scenario import Scenario
from drivers.simulator.world import Registers, World

_T = TypeVar("_T")


class StateError(Exception):
    """The state directory cannot be used with this scenario; the message says why."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` with `data`, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class _World(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    epoch_us: int
    fingerprint: str


class Uploaded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One concentrator's memory."""

    confirmed_through: int = 0
    """Every upload up to this number is confirmed."""
    confirmed_beyond: tuple[int, ...] = ()
    announced: dict[int, int] = {}
    """Unconfirmed uploads that were sent → the backlog they told, so that they are sent again byte for byte."""


@dataclass(frozen=True, slots=True)
class StateDir:
    """The directory of one running neighbourhood."""

    path: Path

    def world(self, scenario: Scenario, now_us: int) -> World:
        """The neighbourhood as it was started first, or started now.

        Raises `StateError` when the directory belongs to another scenario or cannot be read.
        """
        file = self.path / "world.json"
        kept = self._read(file, _World)
        if kept is None:
            kept = _World(epoch_us=now_us, fingerprint=scenario.fingerprint())
            write_atomically(file, msgspec.json.encode(kept))
        if kept.fingerprint != scenario.fingerprint():
            raise StateError(
                f"{self.path} belongs to another scenario; use a fresh directory, or the scenario that it was made with"
            )
        return World(scenario, kept.epoch_us, self._prefix())

    def uploaded(self, concentrator: str) -> Uploaded:
        """What a concentrator remembers."""
        return self._read(self._concentrator(concentrator), Uploaded) or Uploaded()

    def keep_uploaded(self, concentrator: str, uploaded: Uploaded) -> None:
        """Remember it durably."""
        write_atomically(self._concentrator(concentrator), msgspec.json.encode(uploaded))

    def changed(self) -> dict[str, Changed]:
        """What was changed in Modbus meters."""
        return self._read(self.path / "devices.json", dict[str, Changed]) or {}

    def keep_changed(self, changed: dict[str, Changed]) -> None:
        """Remember it durably."""
        write_atomically(self.path / "devices.json", msgspec.json.encode(changed))

    def keep_prefix(self, world: World) -> None:
        """Remember the registers at the latest day's start, so that a restart need not sum up all days before."""
        day, registers = world.known_prefix()
        buffer = io.BytesIO()
        np.savez(
            buffer,
            ordinal=np.array(day.toordinal()),
            **{name: getattr(registers, name) for name in Registers.__dataclass_fields__},
        )
        write_atomically(self.path / "registers.npz", buffer.getvalue())

    def _prefix(self) -> dict[date, Registers]:
        file = self.path / "registers.npz"
        if not file.exists():
            return {}
        try:
            with np.load(file) as kept:
                registers = Registers(**{name: kept[name] for name in Registers.__dataclass_fields__})
                return {date.fromordinal(int(kept["ordinal"])): registers}
        except (OSError, ValueError, KeyError) as error:
            raise StateError(f"{file}: {error}; remove it, it can be computed again") from error

    def _concentrator(self, code: str) -> Path:
        return self.path / "concentrators" / f"{code}.json"

    def _read(self, file: Path, kind: type[_T]) -> _T | None:
        try:
            return msgspec.json.decode(file.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise StateError(f"{file}: {error}") from error
