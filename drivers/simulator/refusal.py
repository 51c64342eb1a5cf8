"""How a meter or a gateway refuses a question."""

from __future__ import annotations

from typing import Final

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
DEVICE_FAILURE: Final = 4
TARGET_SILENT: Final = 11


class ModbusException(Exception):
    """The answer is an exception (Modbus Application Protocol V1.1b3, section 7)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code
