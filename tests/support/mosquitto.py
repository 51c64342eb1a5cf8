"""A real Mosquitto for tests, certificates for it, and the command-line publisher as a foreign client."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

BROKER = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
PUBLISHER = shutil.which("mosquitto_pub")
_PATIENCE_S = 20.0

needs_mosquitto = pytest.mark.skipif(
    not Path(BROKER).exists() or PUBLISHER is None,
    reason="needs a Mosquitto: install the packages mosquitto and mosquitto-clients",
)


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port


class Mosquitto:
    """One broker on a port of its own; `kill` and `start` keep what its persistence kept."""

    host = "127.0.0.1"

    def __init__(self, directory: Path, lines: Iterable[str] = ("allow_anonymous true",), *, durable: bool = False):
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._config = directory / "mosquitto.conf"
        self._log = directory / "mosquitto.log"
        kept = (
            [
                "persistence true",
                f"persistence_location {directory}/",
                "autosave_on_changes false",
                "autosave_interval 1",
            ]
            if durable
            else []
        )
        # Started by root it would become another user, whom the test's directory keeps out.
        own = ["user root", f"listener {self.port} {self.host}", "max_queued_messages 0", *kept, *lines]
        self._config.write_text("\n".join(own) + "\n", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self._saved_at = 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> Mosquitto:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([BROKER, "-c", str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                socket.create_connection((self.host, self.port), timeout=1).close()
                return self
            except OSError:
                assert self._process.poll() is None, self._log.read_text(encoding="utf-8", errors="replace")
                assert time.monotonic() < deadline, "the broker did not come up"
                time.sleep(0.02)

    def kill(self) -> None:
        """As a power cut does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Nothing happens in it until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_PATIENCE_S)
            self._process = None

    def saved(self) -> bool:
        """Whether it has written its store since it was last asked."""
        store = self._config.with_name("mosquitto.db")
        changed = store.stat().st_mtime_ns if store.exists() else 0
        was, self._saved_at = self._saved_at, changed
        return changed != 0 and changed == was

    def publish(self, topic: str, payloads: Sequence[bytes], *options: str, qos: int = 1) -> None:
        """`mosquitto_pub`, a message a payload (without line breaks), over one connection, until all are taken."""
        assert PUBLISHER is not None
        command = [PUBLISHER, "-h", self.host, "-p", str(self.port), "-q", str(qos), "-t", topic, *options]
        single = len(payloads) == 1
        subprocess.run(
            [*command, "-s"] if single else [*command, "-l"],
            input=payloads[0] if single else b"\n".join(payloads) + b"\n",
            check=True,
            timeout=60,
            capture_output=True,
        )


class Certificates:
    """A certificate authority made by the openssl command."""

    def __init__(self, directory: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs the command openssl: apt-get install openssl")
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._name = directory, name
        self.ca = directory / f"{name}-ca.pem"
        self._key = directory / f"{name}-ca.key"
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-keyout", str(self._key), "-out", str(self.ca), "-subj", f"/CN={name} test CA",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def issue(self, common_name: str, *, names: str = "IP:127.0.0.1") -> tuple[Path, Path]:
        """Certificate and key of one party; `names` as in subjectAltName."""
        base = self._directory / f"{self._name}-{common_name}"
        key, request, certificate = (base.with_suffix(s) for s in (".key", ".csr", ".pem"))
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key),
            "-out", str(request), "-subj", f"/CN={common_name}", "-addext", f"subjectAltName={names}",
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.ca), "-CAkey", str(self._key), "-CAcreateserial",
            "-days", "2", "-copy_extensions", "copyall", "-out", str(certificate),
        )  # fmt: skip
        return certificate, key

    @staticmethod
    def _openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
