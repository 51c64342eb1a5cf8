"""Readiness probes against peers that say something else, or nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headend.embedded import probes
from headend.embedded.ports import choose_port
from headend.embedded.probes import file_present, http_ready, listens, mqtt_ready, port_open, postgres_ready


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "ANSWER_TIMEOUT_S", 0.2)


@pytest.fixture
def answer_with() -> Iterator[Callable[..., None]]:
    """Answers one connection of a listening socket with given bytes and records what was asked."""
    threads, listeners = [], []

    def serve(listener: socket.socket, answer: bytes, asked: list[bytes]) -> None:
        def work() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer)
                with contextlib.suppress(ConnectionResetError):
                    connection.recv(4096)  # until the probe hangs up

        listeners.append(listener)
        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield serve
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    for listener in listeners:
        listener.close()


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


READY = message(b"R", b"\0\0\0\0") + message(b"S", b"TimeZone\0UTC\0") + message(b"Z", b"I")
STARTING = message(b"E", b"SFATAL\0C57P03\0Mthe database system is starting up\0\0")


@pytest.mark.parametrize(
    ("answer", "ready"),
    [(READY, True), (STARTING, False), (b"", False), (READY[:-3], False), (b"HTTP/1.1 400 Bad Request\r\n", False)],
)
def test_postgres(answer_with: Callable[..., None], answer: bytes, ready: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="probe-") as directory:
        path = Path(directory) / "s"
        assert not postgres_ready(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen()
        asked: list[bytes] = []
        answer_with(listener, answer, asked)
        assert postgres_ready(path) is ready
    body = b"\x00\x03\x00\x00user\0postgres\0database\0postgres\0\0"
    assert asked[0] == struct.pack("!I", len(body) + 4) + body


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (b"\x20\x03\x00\x00\x00", True),
        (b"\x20\x03\x00\x87\x00", False),  # not authorized
        (b"\x20\x03", False),
        (b"HTTP/1.1 400 Bad Request\r\n", False),
        (b"", False),
    ],
)
def test_mqtt(answer_with: Callable[..., None], answer: bytes, ready: bool) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []
    answer_with(listener, answer, asked)
    assert mqtt_ready("127.0.0.1", listener.getsockname()[1]) is ready
    assert asked[0][0] == 0x10
    assert asked[0][1] == len(asked[0]) - 2
    assert asked[0][2:10] == b"\x00\x04MQTT\x05\x02"


def test_nobody_there(tmp_path: Path) -> None:
    port = choose_port(0)
    assert not mqtt_ready("127.0.0.1", port)
    assert not port_open("127.0.0.1", port)
    assert not http_ready("127.0.0.1", port)
    assert not file_present(tmp_path / "missing")


def test_server_that_keeps_silent_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert port_open("127.0.0.1", port)
        assert not mqtt_ready("127.0.0.1", port)
        assert not http_ready("127.0.0.1", port)


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 503 No\r\n\r\n", False),
        (b"SSH-2.0\r\n", False),
    ],
)
def test_http(answer_with: Callable[..., None], answer: bytes, ready: bool) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []
    answer_with(listener, answer, asked)
    assert http_ready("127.0.0.1", listener.getsockname()[1], "/readyz") is ready
    assert asked[0].startswith(b"GET /readyz HTTP/1.1\r\n")


def test_only_the_listener_itself_is_taken_for_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listens(os.getpid(), port)
        assert not listens(1, port)
        assert not listens(2**22 + 1, port)
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert not listens(os.getpid(), client.getsockname()[1])
    assert not listens(os.getpid(), port)


def test_empty_file_is_not_ready(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    assert not file_present(flag)
    flag.write_text("x")
    assert file_present(flag)
