"""Chooses ports on the loopback address: the preferred one, or one near it when that is taken."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from headend.embedded.errors import EmbeddedError

LOOPBACK = "127.0.0.1"
NEIGHBOURS = 20
"""How many ports after the preferred one are tried before the system picks any."""


def port_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now; it may be taken again by the time it does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        # As servers do: a port whose last connections linger in TIME_WAIT is free.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
            candidate.listen(1)
        except OSError:
            return False
    return True


def choose_port(preferred: int, *, host: str = LOOPBACK, avoid: frozenset[int] = frozenset()) -> int:
    """``preferred`` where it is free and not in ``avoid``, else the next free one after it, else any.

    ``preferred`` 0 asks for any. Raises ValueError outside 0..65535, EmbeddedError when the host has no free port.
    """
    if not 0 <= preferred <= 65_535:
        raise ValueError(f"port {preferred} is outside 0..65535")
    if preferred:
        for port in range(preferred, min(preferred + NEIGHBOURS, 65_535) + 1):
            if port not in avoid and port_free(port, host):
                return port
    for _attempt in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
            try:
                candidate.bind((host, 0))
            except OSError as error:
                raise EmbeddedError(f"cannot bind a port on {host}: {error.strerror}") from error
            port = int(candidate.getsockname()[1])
        if port not in avoid:
            return port
    raise EmbeddedError(f"no free port on {host}")


class PortBook:
    """Ports by name that stay the same from start to start where they can: a bookmark keeps working.

    ``path`` is a JSON object of name and port. Two names of one book never get the same port, nor do two books in
    use: between its choice and the server's listening a port is claimed by a socket in Linux's abstract namespace,
    which is no file and goes when :meth:`release` is called or this process dies.
    """

    def __init__(self, path: Path, host: str = LOOPBACK) -> None:
        self._path = path
        self._host = host
        self._given: dict[str, int] = {}
        self._claims: dict[int, socket.socket] = {}

    def choose(self, name: str, preferred: int) -> int:
        """The port ``name`` had last time when free, else as :func:`choose_port`; written down at once."""
        remembered = self._read()
        avoid = frozenset(port for other, port in self._given.items() if other != name)
        wanted = remembered.get(name, preferred)
        while not self._claim(port := choose_port(wanted, host=self._host, avoid=avoid)):
            avoid |= {port}
        self._given[name] = port
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_name(self._path.name + ".new")
        scratch.write_text(json.dumps(remembered | self._given, indent=1, sort_keys=True) + "\n", "utf-8")
        os.replace(scratch, self._path)
        return port

    def release(self) -> None:
        """Let other books have the ports again; safe to call twice."""
        while self._claims:
            self._claims.popitem()[1].close()

    def _claim(self, port: int) -> bool:
        """Whether the port is this book's: no other book of this host has claimed it."""
        if port in self._claims:
            return True
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0headend-port-{self._host}-{port}")
        except OSError:
            claim.close()
            return False
        self._claims[port] = claim
        return True

    def _read(self) -> dict[str, int]:
        try:
            content = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise EmbeddedError(f"{self._path} is not JSON ({error}): remove it") from error
        if not isinstance(content, dict) or not all(
            isinstance(port, int) and 0 < port <= 65_535 for port in content.values()
        ):
            raise EmbeddedError(f"{self._path} must be a JSON object of names and ports in 1..65535: remove it")
        return content
