"""A line between a client and its server that can be cut, refused, or silenced one way; bytes pass as they are."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Literal

Way = Literal["up", "down"]
"""Up: from the client to the server."""


class CuttableLine:
    """Listens on a free port of the loopback address; passes everything on until told otherwise. Thread-safe."""

    def __init__(self, target: tuple[str, int] | Path) -> None:
        """`target` is a TCP address or a Unix socket."""
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._closing = False
        self._refusing = False
        self._flows = {"up": threading.Event(), "down": threading.Event()}
        for flow in self._flows.values():
            flow.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """No more."""
        self._closing = True
        # Closing alone would leave the thread in accept().
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def lead_to(self, target: tuple[str, int] | Path) -> None:
        """Elsewhere, from the next connection on."""
        self._target = target

    def cut(self) -> None:
        """End every line that stands; what was held back is lost with it."""
        for end in list(self._open):
            self._end(end)

    def refuse(self) -> None:
        """Cut, and end new lines at once until `restore`."""
        self._refusing = True
        self.cut()

    def silence(self, way: Way) -> None:
        """Let nothing pass this way, without ending anything, until `restore` (or a cut, which loses it)."""
        self._flows[way].clear()

    def restore(self) -> None:
        """A good line again."""
        self._refusing = False
        for flow in self._flows.values():
            flow.set()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            for end in (client, server):
                if end.family == socket.AF_INET:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open |= {client, server}
            ways: tuple[tuple[socket.socket, socket.socket, Way], ...] = (
                (client, server, "up"),
                (server, client, "down"),
            )
            for source, sink, way in ways:
                threading.Thread(target=self._carry, args=(source, sink, way), daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, tuple):
            return socket.create_connection(self._target)
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self._target))
        except OSError:
            server.close()
            raise
        return server

    def _carry(self, source: socket.socket, sink: socket.socket, way: Way) -> None:
        try:
            while data := source.recv(65_536):
                while not self._flows[way].wait(0.05):
                    if sink.fileno() < 0 or source.fileno() < 0:
                        return
                sink.sendall(data)
        except OSError:
            pass  # the other way ended the line
        finally:
            self._end(source)
            self._end(sink)

    def _end(self, end: socket.socket) -> None:
        self._open.discard(end)
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
