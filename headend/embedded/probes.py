"""Asks a server whether it is ready by speaking the first words of its own protocol; no client library needed."""

from __future__ import annotations

import http.client
import os
import secrets
import socket
import struct
from collections.abc import Callable
from pathlib import Path

Probe = Callable[[], bool]
"""True when ready; False when not yet. A probe is quick and raises nothing that means "not yet"."""

ANSWER_TIMEOUT_S = 2.0

_POSTGRES_PROTOCOL_3_0 = 196_608
"""https://www.postgresql.org/docs/18/protocol-message-formats.html, StartupMessage"""

_TCP_LISTEN = "0A"


def _receive(connection: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes; ConnectionError when the peer closes before."""
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionError(f"closed after {len(received)} of {size} bytes")
        received += part
    return received


def postgres_ready(socket_path: Path, user: str = "postgres", database: str = "postgres") -> bool:
    """Whether a session can be opened: a real start-up packet, answered up to ReadyForQuery.

    False while the server is away, starting or recovering (it answers with an error message then).
    """
    parameters = b"".join(word.encode() + b"\0" for pair in (("user", user), ("database", database)) for word in pair)
    body = struct.pack("!I", _POSTGRES_PROTOCOL_3_0) + parameters + b"\0"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            connection.connect(str(socket_path))
            connection.sendall(struct.pack("!I", len(body) + 4) + body)
            while True:
                kind, length = struct.unpack("!cI", _receive(connection, 5))
                _receive(connection, length - 4)
                if kind == b"E":
                    return False
                if kind == b"Z":
                    connection.sendall(b"X" + struct.pack("!I", 4))
                    return True
    except OSError:
        return False


def mqtt_ready(host: str, port: int) -> bool:
    """Whether an MQTT 5 broker accepts a session: CONNECT, CONNACK with reason 0, DISCONNECT.

    MQTT 5.0 (OASIS) §3.1, §3.2.
    """
    client_id = f"probe-{secrets.token_hex(4)}".encode()
    variable = b"\x00\x04MQTT" + bytes([5, 0x02]) + struct.pack("!H", 10) + b"\x00"  # clean start, 10 s, no properties
    packet = variable + struct.pack("!H", len(client_id)) + client_id
    try:
        with socket.create_connection((host, port), timeout=ANSWER_TIMEOUT_S) as connection:
            connection.sendall(bytes([0x10, len(packet)]) + packet)
            kind, _length, _session, reason = _receive(connection, 4)
            if kind != 0x20 or reason != 0:
                return False
            connection.sendall(b"\xe0\x00")
            return True
    except OSError:
        return False


def port_open(host: str, port: int) -> bool:
    """Whether something accepts TCP connections there."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_TIMEOUT_S):
            return True
    except OSError:
        return False


def http_ready(host: str, port: int, path: str = "/healthz") -> bool:
    """Whether ``GET path`` answers 200."""
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listens(pid: int, port: int) -> bool:
    """Whether process ``pid`` (ours) itself has an IPv4 socket listening on ``port``, and not some other server.

    Linux: the socket's inode in proc_net_tcp(5) is among the process's open files.
    """
    wanted = set()
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        fields = line.split()
        if fields[3] == _TCP_LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
            wanted.add(f"socket:[{fields[9]}]")
    try:
        return any(os.readlink(file) in wanted for file in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it ended, or closed one of them meanwhile
        return False


def file_present(path: Path) -> bool:
    """Whether the file exists and is not empty."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
