"""A TCP proxy between a client and its MQTT broker that maltreats the line, by a plan made from a seed.

Whole packets are delayed, dropped or sent twice, so that what arrives is still MQTT; a packet may also be cut off in
the middle, and the line with it, or the line is cut between two packets.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
import time
from collections import Counter

PUBLISH, PUBACK = 3, 4
PLAN = {"pass": 530, "delay": 30, "drop": 12, "twice": 24, "truncate": 2, "cut": 2}
"""What happens to so many packets of 600, in an order by the seed."""


class MqttProxy:
    """Listens on a free port of the loopback address; harmless until `evil` is set."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self._target = (host, port)
        plan = [deed for deed, times in PLAN.items() for _ in range(times)]
        random.Random(seed).shuffle(plan)
        self._plan = itertools.cycle(plan)
        self.evil = threading.Event()
        self.done: Counter[str] = Counter()
        """What was done to packets, by kind of deed."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._turn = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closing = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closing = True
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """End every line that stands."""
        for line in list(self._open):
            self._end(line)

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            self._open |= {client, broker}
            for source, sink in ((client, broker), (broker, client)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while (packet := _read_packet(source)) is not None:
                if not self._pass_on(packet, sink):
                    break
        except OSError:
            pass  # the other way ended the line
        finally:
            self._end(source)
            self._end(sink)

    def _pass_on(self, packet: bytes, sink: socket.socket) -> bool:
        """Whether the line stands afterwards."""
        deed = "pass"
        if self.evil.is_set() and packet[0] >> 4 in (PUBLISH, PUBACK):
            with self._turn:
                deed = next(self._plan)
        self.done[deed] += 1
        if deed == "delay":
            time.sleep(0.02)
        if deed == "truncate":
            sink.sendall(packet[: max(1, len(packet) // 2)])
        elif deed not in ("drop", "cut"):
            sink.sendall(packet * (2 if deed == "twice" else 1))
        return deed not in ("truncate", "cut")

    def _end(self, line: socket.socket) -> None:
        self._open.discard(line)
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
        line.close()


def _read_packet(line: socket.socket) -> bytes | None:
    """One MQTT control packet (MQTT 5.0 §2.1); None: the line ended."""
    head = _read(line, 1)
    if head is None:
        return None
    length = shift = 0
    while True:
        byte = _read(line, 1)
        if byte is None:
            return None
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if not byte[0] & 0x80:
            break
    body = _read(line, length)
    return None if body is None else head + body


def _read(line: socket.socket, count: int) -> bytes | None:
    found = b""
    while len(found) < count:
        more = line.recv(count - len(found))
        if not more:
            return None
        found += more
    return found
