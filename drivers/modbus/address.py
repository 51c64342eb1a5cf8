"""Where a meter hangs on its bus, which model it is, and how urgent it is to whoever asks."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.errors import DriverConfigError
from drivers.modbus.gate import Priority
from drivers.modbus.model import MeterModel


@dataclass(frozen=True, slots=True)
class ModbusAddress:
    """One meter on a bus."""

    unit: int
    """Unit id (slave address) 0..255."""
    model: MeterModel
    priority: Priority = Priority.HOUSEHOLD

    def __post_init__(self) -> None:
        if not 0 <= self.unit <= 255:
            raise DriverConfigError(f"unit = {self.unit}: wanted 0..255")
