"""The demo's billing import endpoint as a service under our supervision; the endpoint itself is another process."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from headend.embedded.ports import LOOPBACK, choose_port
from headend.embedded.probes import http_ready
from headend.embedded.process import ChildProcess, python_module

DEFAULT_PORT = 18_090
SECRET_VARIABLE = "HEADEND_BILLING_SECRET"
"""Environment variable through which the endpoint gets the shared secret, so that no command line shows it."""


class EmbeddedBilling(ChildProcess):
    """The endpoint: ``with EmbeddedBilling(data_dir, secret=...) as billing: push(billing.import_url)``.

    ``port`` is the preferred one: it moves when taken. Its books and its log live in ``data_dir``.
    """

    def __init__(self, data_dir: Path | str, *, secret: str, port: int = DEFAULT_PORT) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.port = choose_port(port)
        super().__init__(
            "billing",
            python_module("headend.embedded.billing_endpoint", "--port", str(self.port), "--data", str(self.data_dir)),
            log_path=self.data_dir / "billing.log",
            port=self.port,
            ready=partial(http_ready, LOOPBACK, self.port),
            environment={SECRET_VARIABLE: secret},
        )

    @property
    def base_url(self) -> str:
        """Where ``/healthz`` and ``/control`` are."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def import_url(self) -> str:
        """Where batches are posted to."""
        return f"{self.base_url}/import/batches"
