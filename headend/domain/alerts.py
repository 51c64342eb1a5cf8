"""What an operator is told about the head-end itself; meters' own events are `drivers.events`."""

from __future__ import annotations

from enum import StrEnum


class AlertKind(StrEnum):
    """What an alert is about; its subject and the unit of its value."""

    READ_SUCCESS = "read_success"
    """An area's readings fell short of the objective on a local day; the share that was stored."""
    SPOOL_FULL = "spool_full"
    """A poller's spool is full; readings that were given up since it stands."""
    SPOOL_FAILED = "spool_failed"
    """A poller's spool cannot be written, or damaged ones were set aside; none."""
    QUARANTINE_FULL = "quarantine_full"
    """The quarantine is beyond its bounds; messages that were given up since it stands."""
    STORAGE = "storage"
    """A storage policy could not be carried out; none."""


class Severity(StrEnum):
    """How grave an alert is."""

    WARNING = "warning"
    """Short of what is aimed at."""
    ALERT = "alert"
    """Somebody has to see to it."""
