"""A foreign publisher in a process of its own, as cheap as can be: packets made beforehand, a window un-acknowledged.

Arguments: host, port, file of messages, messages un-acknowledged at the most. The file holds, message after message,
two 32-bit lengths, the topic, the payload. It connects (MQTT 5, clean start), says `ready`, waits for a line on
stdin for each time that it is to send them all, and answers with a JSON line once all of them are acknowledged.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable
from pathlib import Path

CHUNK = 64


def varint(value: int) -> bytes:
    """MQTT 5.0 §1.5.5."""
    found = bytearray()
    while True:
        value, byte = divmod(value, 128)
        found.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(found)


def pack(messages: Iterable[tuple[str, bytes]]) -> bytes:
    """The file's content."""
    return b"".join(
        struct.pack("!II", len(topic.encode()), len(payload)) + topic.encode() + payload for topic, payload in messages
    )


def packets(file: Path) -> list[tuple[bytes, bytes]]:
    """Of each message what stands before the packet identifier, and what stands behind it."""
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):
        topic, payload = struct.unpack_from("!II", data, at)
        at += 8
        name, body = data[at : at + topic], data[at + topic : at + topic + payload]
        at += topic + payload
        found.append((b"\x32" + varint(5 + topic + payload) + struct.pack("!H", topic) + name, b"\x00" + body))
    return found


def send(line: socket.socket, messages: list[tuple[bytes, bytes]], window: int) -> None:
    """All of them with QoS 1; returns once all are acknowledged."""
    sent = acknowledged = 0
    heard = b""
    waiting = memoryview(b"")
    while acknowledged < len(messages):
        if not waiting and sent < len(messages) and sent - acknowledged + CHUNK <= max(window, CHUNK):
            chunk = messages[sent : sent + CHUNK]
            waiting = memoryview(
                b"".join(
                    head + struct.pack("!H", (sent + i) % 65535 + 1) + body for i, (head, body) in enumerate(chunk)
                )
            )
            sent += len(chunk)
        can_read, can_write, _ = select.select([line], [line] if waiting else [], [], 30)
        if can_write:
            waiting = waiting[line.send(waiting) :]
        if can_read:
            data = line.recv(1 << 16)
            assert data, "the broker hung up"
            heard += data
            at = 0
            while len(heard) >= at + 2 and len(heard) >= (end := at + 2 + heard[at + 1]):
                acknowledged += heard[at] == 0x40
                at = end
            heard = heard[at:]
        assert can_read or can_write, "nothing moved for 30 s"


def main(host: str, port: str, file: str, window: str) -> None:
    messages = packets(Path(file))
    with socket.create_connection((host, int(port))) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = b"raw-publisher"
        body = struct.pack("!H", 4) + b"MQTT\x05\x02\xff\xff\x00" + struct.pack("!H", len(name)) + name
        line.sendall(b"\x10" + varint(len(body)) + body)
        assert line.recv(100)[3] == 0, "the broker refused us"
        line.setblocking(False)
        print("ready", flush=True)
        for _ in sys.stdin:
            began, cpu = time.perf_counter(), time.process_time()
            send(line, messages, int(window))
            spent = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
            print(json.dumps(spent), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
