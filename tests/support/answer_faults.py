"""What a proxy does to one whole Modbus TCP answer, on order: the pieces that are sent instead, or None to hang up."""

from __future__ import annotations

import struct
from typing import Any

from drivers.errors import ConnectionFailed, MalformedResponse, ResponseTimeout


def drop(proxy: Any, answer: bytes) -> list[bytes]:
    return []


def hold(proxy: Any, answer: bytes) -> list[bytes]:
    """Keep it back: it comes late, before the next one."""
    proxy.held.append(answer)
    return []


def late_first(proxy: Any, answer: bytes) -> list[bytes]:
    held, proxy.held = proxy.held, []
    return [*held, answer]


def late_after(proxy: Any, answer: bytes) -> list[bytes]:
    held, proxy.held = proxy.held, []
    return [answer, *held]


def glued(proxy: Any, answer: bytes) -> list[bytes]:
    held, proxy.held = proxy.held, []
    return [b"".join([*held, answer, answer])]


def twice(proxy: Any, answer: bytes) -> list[bytes]:
    return [answer, answer]


def byte_by_byte(proxy: Any, answer: bytes) -> list[bytes]:
    return [answer[i : i + 1] for i in range(len(answer))]


def passed(proxy: Any, answer: bytes) -> list[bytes]:
    return [answer]


def closed(proxy: Any, answer: bytes) -> None:
    return None


def cut(proxy: Any, answer: bytes) -> list[bytes]:
    return [answer[:-3]]


def cut_and_closed(proxy: Any, answer: bytes) -> None:
    proxy._writers[-2].write(answer[:-3])
    return None


def header(**changes: int) -> Any:
    def fault(proxy: Any, answer: bytes) -> list[bytes]:
        tid, pid, length, unit, function = struct.unpack(">HHHBB", answer[:8])
        fields = {"tid": tid, "pid": pid, "length": length, "unit": unit, "function": function} | changes
        return [struct.pack(">HHHBB", *fields.values()) + answer[8:]]

    return fault


def shortened(proxy: Any, answer: bytes) -> list[bytes]:
    """One register less, in a frame that is consistent in itself."""
    body = bytes([answer[8] - 2]) + answer[9:-2]
    return [answer[:4] + struct.pack(">H", len(body) + 2) + answer[6:8] + body]


def lying_count(proxy: Any, answer: bytes) -> list[bytes]:
    """All registers, but the byte count says fewer."""
    return [answer[:8] + bytes([answer[8] - 2]) + answer[9:]]


def foreign_register(proxy: Any, answer: bytes) -> list[bytes]:
    """An answer with the id 0, other contents, before the right one: some libraries take it."""
    return [b"\0\0" + answer[2:9] + bytes(len(answer) - 9), answer]


def noise(proxy: Any, answer: bytes) -> list[bytes]:
    return [b"HTTP/1.1 400 Bad Request\r\n\r\n"]


SPOILT = [
    # (fault, what the client says, whether the connection is given up)
    (drop, ResponseTimeout, "no answer within", False),
    (hold, ResponseTimeout, "no answer within", False),
    (cut, ResponseTimeout, "no answer within", True),
    (header(tid=0x7777), ResponseTimeout, "no answer within", False),
    (header(tid=0), ResponseTimeout, "no answer within", False),
    (closed, ConnectionFailed, "lost while waiting for input 0x0004..0x0005", True),
    (cut_and_closed, ConnectionFailed, "lost while waiting", True),
    (header(unit=4), MalformedResponse, "unit 4 answered a question to unit 3", True),
    (header(function=3), MalformedResponse, "function 3 answered a question of function 4", True),
    (header(function=0x83), MalformedResponse, "function 131 answered", True),
    (header(pid=5), MalformedResponse, "protocol id 5", True),
    (header(length=0xFFFF), MalformedResponse, "length of 65541 bytes", True),
    (shortened, MalformedResponse, "2 bytes of registers instead of 4", True),
    (lying_count, MalformedResponse, "byte count 2, but 4 bytes came", True),
    (noise, MalformedResponse, "", True),
]
