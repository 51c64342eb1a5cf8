"""What can go wrong between us and a meter; every error says which meter, where, and whose fault it is.

`PeerError` is the meter's or the network's doing and is expected in the field: count it, log a WARNING, go on.
`DriverConfigError` is ours: a register map, an endpoint or a payload map that a person has to mend.
"""

from __future__ import annotations


class DriverError(Exception):
    """Base of everything the drivers raise on purpose."""

    code = "driver_error"


class DriverConfigError(DriverError):
    """A map, model or endpoint that a person wrote is wrong: names file, key, value and what would be right."""

    code = "config"


class PeerError(DriverError):
    """The other end answered wrongly, late or not at all."""

    code = "peer"

    def __init__(self, message: str, *, peer: str) -> None:
        super().__init__(f"{peer}: {message}")
        self.peer = peer
        """Who failed, as a person would look for it: `127.0.0.1:5020 unit 3`, or a topic."""


class ConnectionFailed(PeerError):
    """No connection to the gateway or broker, or it broke while we waited."""

    code = "connection"


class ResponseTimeout(PeerError):
    """Nothing came within the time-out."""

    code = "timeout"


class MeterResting(PeerError):
    """The meter was silent too often: it was not asked now, and nothing was put on its bus."""

    code = "resting"

    def __init__(self, message: str, *, peer: str, since_us: int, next_probe_us: int) -> None:
        super().__init__(message, peer=peer)
        self.since_us = since_us
        """UTC, microseconds since 1970, since when it is not asked with the others."""
        self.next_probe_us = next_probe_us
        """When the next visit may ask it again."""


class DeviceException(PeerError):
    """The device answered with a protocol exception (Modbus exception code 1–11)."""

    code = "exception"

    def __init__(self, message: str, *, peer: str, exception_code: int) -> None:
        super().__init__(message, peer=peer)
        self.exception_code = exception_code


class IllegalAddress(DeviceException):
    """Modbus exception 2: the block asked for holds an address that this device does not have."""

    code = "illegal_address"


class MalformedResponse(PeerError):
    """An answer with a wrong length, unit, function or byte count; nothing of it was used."""

    code = "malformed"


class PayloadError(PeerError):
    """An MQTT payload that cannot be understood as a whole; it is kept whole in the quarantine."""

    code = "payload"

    def __init__(self, message: str, *, peer: str, reason: str) -> None:
        super().__init__(message, peer=peer)
        self.reason = reason
        """Short machine word for the quarantine and the counter: `not_json`, `wrong_type`, `unknown_topic` …"""
