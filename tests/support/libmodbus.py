"""libmodbus as a foreign Modbus server, in a process of its own: over TCP or on a serial port.

Run as a program: `libmodbus.py tcp` prints its port, `libmodbus.py rtu DEVICE BAUD PARITY STOP` prints `ready`. Its one
device is `UNIT`; register and coil contents are `word_at` and off.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

UNIT = 3
REGISTERS = 0x200
COILS = 16
_NAME = "libmodbus.so.5"


def word_at(table: str, address: int) -> int:
    """What stands at the beginning in `input` or `holding` register `address`: a number of its own each."""
    return UNIT << 8 ^ address ^ (0x8000 if table == "holding" else 0)


class _Mapping(ctypes.Structure):
    """`modbus_mapping_t` of libmodbus 3.1."""

    _fields_ = (
        ("nb_bits", ctypes.c_int),
        ("start_bits", ctypes.c_int),
        ("nb_input_bits", ctypes.c_int),
        ("start_input_bits", ctypes.c_int),
        ("nb_input_registers", ctypes.c_int),
        ("start_input_registers", ctypes.c_int),
        ("nb_registers", ctypes.c_int),
        ("start_registers", ctypes.c_int),
        ("tab_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_registers", ctypes.POINTER(ctypes.c_uint16)),
        ("tab_registers", ctypes.POINTER(ctypes.c_uint16)),
    )


def _library() -> Any:
    library = ctypes.CDLL(_NAME)
    library.modbus_new_tcp.restype = ctypes.c_void_p
    library.modbus_new_tcp.argtypes = [ctypes.c_char_p, ctypes.c_int]
    library.modbus_new_rtu.restype = ctypes.c_void_p
    library.modbus_new_rtu.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_char, ctypes.c_int, ctypes.c_int]
    library.modbus_mapping_new.restype = ctypes.POINTER(_Mapping)
    for name in ("modbus_set_slave", "modbus_tcp_listen"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.modbus_tcp_accept.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]
    library.modbus_connect.argtypes = [ctypes.c_void_p]
    library.modbus_receive.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.modbus_reply.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(_Mapping)]
    return library


@contextmanager
def libmodbus(*arguments: str) -> Iterator[str]:
    """Runs the server; yields the line that it says once it serves. Skips the test where the library is missing."""
    try:
        ctypes.CDLL(_NAME)
    except OSError:
        pytest.skip("needs libmodbus: apt-get install libmodbus5")
    with subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGKILL)


def _serve_tcp(library: Any, mapping: Any) -> None:
    context = library.modbus_new_tcp(b"127.0.0.1", 0)
    listener = ctypes.c_int(library.modbus_tcp_listen(context, 5))
    assert listener.value >= 0
    print(socket.socket(fileno=os.dup(listener.value)).getsockname()[1], flush=True)
    while library.modbus_tcp_accept(context, ctypes.byref(listener)) >= 0:
        _answer(library, context, mapping)


def _serve_rtu(library: Any, mapping: Any, device: str, baud: str, parity: str, stop: str) -> None:
    context = library.modbus_new_rtu(device.encode(), int(baud), parity.encode(), 8, int(stop))
    assert library.modbus_set_slave(context, UNIT) == 0
    assert library.modbus_connect(context) == 0
    print("ready", flush=True)
    while True:
        _answer(library, context, mapping)


def _answer(library: Any, context: Any, mapping: Any) -> None:
    """Answer until the connection ends, or until something comes that libmodbus cannot read."""
    query = ctypes.create_string_buffer(260)
    while (length := library.modbus_receive(context, query)) >= 0:
        if length:
            library.modbus_reply(context, query, length, mapping)


def _main(arguments: list[str]) -> None:
    library = _library()
    mapping = library.modbus_mapping_new(COILS, COILS, REGISTERS, REGISTERS)
    for address in range(REGISTERS):
        mapping.contents.tab_input_registers[address] = word_at("input", address)
        mapping.contents.tab_registers[address] = word_at("holding", address)
    if arguments[0] == "tcp":
        _serve_tcp(library, mapping)
    else:
        _serve_rtu(library, mapping, *arguments[1:])


if __name__ == "__main__":
    _main(sys.argv[1:])
