"""The parts of the picture that `headend.upkeep.status` makes: what page, command and API show, field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar

from headend.domain.alerts import AlertKind, Severity
from headend.domain.processes import Fact, ProcessState, RoleState
from headend.store.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the API shows is described by the docstrings below its fields."""

    __pydantic_config__: ClassVar[Any] = {"use_attribute_docstrings": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleStatus(Shown):
    """One role of one process."""

    role: str
    """ingest, poll, settle, billing, upkeep or web."""
    state: RoleState
    since: datetime
    """Since when it is in this state."""
    restarts: int
    """How often it failed since its process began."""
    error: str | None
    """What it failed with last."""
    failed_at: datetime | None
    facts: Mapping[str, Fact]
    """What it says of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus(Shown):
    """One process, as its heartbeats tell."""

    host: str
    pid: int
    version: str
    state: ProcessState
    """up; late: silent for more than 20 s; gone: for more than 60 s, without a goodbye; stopped."""
    started_at: datetime
    beat_at: datetime
    """Its last heartbeat."""
    roles: Sequence[RoleStatus]

    @property
    def alive(self) -> bool:
        """Somebody counts on it."""
        return self.state in (ProcessState.UP, ProcessState.LATE)

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.host}/{self.pid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingsStatus(Shown):
    """What came in."""

    readings_stored: int
    """Ever."""
    last_received_at: datetime | None
    """When the newest reading of any meter came."""
    meters_installed: int
    meters_read: int
    """Meters whose newest reading is no older than a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling(Shown):
    """Polled buses and their meters, as of their last rounds."""

    buses: int
    connected: int
    away: int
    """Buses that could not be reached."""
    meters: int
    read: int
    failed: int
    resting: int
    """Meters that were silent too often and are left alone for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling(Shown):
    """What waits to be settled."""

    area_days_waiting: int
    oldest_marked_at: datetime | None
    """Since when the oldest of them waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingStatus(Shown):
    """The feed to billing."""

    batches_waiting: int
    """Made, and not answered for."""
    oldest_waiting_at: datetime | None
    batches_rejected: int
    batches_acknowledged: int
    exceptions_open: int
    """What could not be billed, or was refused: somebody works it off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs(Shown):
    """The job queue."""

    jobs_waiting: int
    jobs_running: int
    jobs_failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason(Shown):
    """Open messages of the quarantine with one reason."""

    reason: str
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcentratorLag(Shown):
    """One concentrator."""

    concentrator: str
    area: str
    online: bool | None
    """As it said last; null: never."""
    last_seen_at: datetime | None
    backlog: int | None
    """Uploads that it still keeps, as it said last."""
    meters: int | None
    """That serve now and are read through it; null: not measured yet."""
    newest_at: datetime | None
    """Newest stored reading of any of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concentrators(Shown):
    """Those that meters are read through."""

    concentrators: int
    silent: int
    """Not heard for longer than settlement.silent_concentrator_s."""
    never_heard: int
    offline: int
    """Their last word, or the broker's of them, was that they go."""
    backlog: int
    """Uploads that they still keep."""
    furthest_behind_at: datetime | None
    """Of each one's newest stored reading the oldest."""
    late: Sequence[ConcentratorLag]
    """The longest silent, at most 5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaReads(Shown):
    """Read success of one area on one day."""

    area: str
    scheduled: int
    stored: int
    ratio: float
    ratio_first: float | None
    """When the day's grace ended, before any backfill; null: it has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReads(Shown):
    """Read success of all areas on one local day."""

    day: date
    scheduled: int
    """Reads that were due."""
    stored: int
    ratio: float | None
    """null: none was due."""
    ratio_first: float | None
    """When the day's grace ended, before any backfill; null: it has not."""
    worst: Sequence[AreaReads]
    """Areas below the objective that fall shortest, at most 5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSuccessStatus(Shown):
    """Reads stored of those scheduled."""

    warn: float
    """The objective: below it a warning is raised, once the day is over."""
    alert: float
    """Below it an alert is."""
    yesterday: DayReads | None
    """null: not counted yet."""
    today: DayReads | None
    """So far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing(Shown):
    """An alert that stands."""

    kind: AlertKind
    severity: Severity
    subject: str
    area: str | None
    raised_at: datetime
    value: float | None
    """In the unit of the kind."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Shown):
    """The head-end as of an instant."""

    at: datetime
    attention: Sequence[str]
    """What somebody has to see to, in words; empty: all is well."""
    migrations_pending: Sequence[str]
    processes: Sequence[ProcessStatus]
    readings: ReadingsStatus
    polling: Polling
    settling: Settling
    billing: BillingStatus
    jobs: Jobs
    storage: Storage
    quarantine: Sequence[Reason]
    concentrators: Concentrators
    read_success: ReadSuccessStatus
    alerts: Sequence[Standing]
