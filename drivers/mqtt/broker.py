"""What there is to say about a broker and to it: address, session, TLS, what it granted, what it delivered."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import msgspec

from drivers.errors import DriverConfigError


class Message(msgspec.Struct, frozen=True, gc=False):
    """One publication as it arrived. A Struct, since there are tens of thousands of them in a second."""

    topic: str
    payload: bytes
    mid: int
    """Packet identifier, good for one connection."""
    qos: int
    connection: int
    """Counts the connections of this client."""
    retained: bool = False
    """The broker had kept it, and gave it to us because we subscribed."""
    session: str = ""
    """Client id of the session that it came over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How the broker is known, and how we are; its certificate has to name the host that we connect to, always."""

    ca_file: Path | None = None
    """Certificates of those who may vouch for the broker; None: the system's."""
    cert_file: Path | None = None
    """Our own certificate, where the broker wants one."""
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises DriverConfigError naming the file that cannot be used."""
        try:
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise DriverConfigError(f"CA file {self.ca_file} cannot be used: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
            except (OSError, ssl.SSLError) as error:
                raise DriverConfigError(
                    f"client certificate {self.cert_file} with key {self.key_file or self.cert_file} "
                    f"cannot be used: {error}"
                ) from error
        return context


def _no_password() -> str:
    """OpenSSL would ask at the terminal, where nobody sits."""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where the broker is, and how its session is kept."""

    host: str
    port: int
    client_id: str
    receive_maximum: int = 1000
    """Un-acknowledged publications that the broker may send."""
    session_expiry_s: int = 7 * 86400
    keepalive_s: int = 30
    username: str | None = None
    password: str | None = None
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class Listening:
    """A topic filter to listen to."""

    filter: str
    qos: int = 1


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when we vanish."""

    topic: str
    payload: bytes
    retain: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What the broker said when it accepted us (MQTT 5.0 §3.2.2.3); what it left out has the standard's default."""

    session_present: bool
    receive_maximum: int = 65_535
    """Un-acknowledged publications that we may send."""
    maximum_packet: int | None = None
    """Largest packet that it takes [bytes]; None: any."""
    maximum_qos: int = 2
    retain: bool = True
    session_expiry_s: int | None = None
    """How long it keeps the session, where it decides otherwise than we asked."""
    shared_subscriptions: bool = True
    keepalive_s: int | None = None
    """How often we are to speak, where it decides."""
