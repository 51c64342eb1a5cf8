"""Adopt a device that was discovered: it becomes a meter or a concentrator of ours, and nothing of it is lost.

One transaction makes it (and installs it, where somebody says where); then everything of it that lies in the quarantine
goes the way of any message. Whoever is not sure does it again: what is made stays, what was replayed changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from headend.domain.calendar import LocalCalendar
from headend.domain.clock import Clock
from headend.ingest.quarantine import Quarantine, ReplayedMany
from headend.log import get_logger
from headend.settings import Settings
from headend.store import discovered, topology
from headend.store.discovered import Held
from headend.store.pool import Connection, Store

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """Where a meter serves, and since when."""

    usage_point: str
    since: datetime
    multiplier: Decimal = Decimal(1)
    start_import_wh: int | None = None
    seal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AsMeter:
    """What somebody says of a meter."""

    model: str
    phases: int
    digits: int
    resolution_wh: int
    placing: Placing | None = None
    """None: it is in stock."""


@dataclass(frozen=True, slots=True)
class AsConcentrator:
    """What somebody says of a concentrator."""

    area: str
    """Code of the area that it serves."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was done."""

    name: str
    """MANUFACTURER/SERIAL, or the concentrator's code."""
    made: bool
    """False: it was there already, as it was."""
    usage_point: str | None
    replayed: ReplayedMany


class UnknownDiscovered(LookupError):
    """There is no such device on the list."""


class AdoptionRefused(Exception):
    """It cannot be adopted so; says why."""


class Adoption:
    """The discovered list as a person works on it."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._calendar = LocalCalendar(ZoneInfo(settings.settlement.zone), settings.settlement.interval_s)

    def adopt(self, discovered_id: int, what: AsMeter | AsConcentrator, *, by: str) -> Adopted:
        """Make it one of ours and take what it has sent so far.

        Raises UnknownDiscovered, AdoptionRefused, StoreConflict (its place is taken), StoreUnavailable.
        """
        with self._store.transaction() as connection:
            held = discovered.hold(connection, discovered_id)
            if held is None:
                raise UnknownDiscovered(f"there is no discovered device {discovered_id}")
            if (held.kind == "meter") != isinstance(what, AsMeter):
                raise AdoptionRefused(f"{held.name} is a {held.kind}")
            made = self._make(connection, held, what)
            if held.adopted_at is None:
                discovered.adopt(connection, discovered_id, by=by, now=self._clock())
        # A desk of its own for each: several people may adopt at once, and a writer serves one thread.
        replayed = Quarantine(self._store, self._settings, self._clock).replay_for(held.name)
        _log.info(
            "device adopted", device=held.name, by=by, made=made, replayed=replayed.closed, stored=replayed.stored
        )
        placing = what.placing if isinstance(what, AsMeter) else None
        return Adopted(held.name, made, None if placing is None else placing.usage_point, replayed)

    def _make(self, connection: Connection, held: Held, what: AsMeter | AsConcentrator) -> bool:
        if isinstance(what, AsConcentrator):
            if topology.area_id(connection, what.area) is None:
                raise AdoptionRefused(f"there is no area {what.area!r}")
            return discovered.add_concentrator(connection, held.name, what.area)
        made = discovered.add_meter(
            connection,
            held,
            model=what.model,
            phases=what.phases,
            digits=what.digits,
            resolution_wh=what.resolution_wh,
        )
        if what.placing is not None:
            self._install(connection, held, what.placing)
        return made

    def _install(self, connection: Connection, held: Held, placing: Placing) -> None:
        now = self._clock()
        if placing.since > now:
            raise AdoptionRefused(f"installed_at: {placing.since.isoformat()} lies in the future")
        point = topology.usage_point_id(connection, placing.usage_point)
        if point is None:
            raise AdoptionRefused(f"there is no usage point {placing.usage_point!r}")
        meter = topology.find_meter(connection, held.manufacturer, held.serial)
        assert meter is not None, "made or found above"
        serves = topology.installation_of_meter(connection, meter.meter_id, now)
        if serves is not None and serves.usage_point_id == point:
            return  # done before
        topology.install_meter(
            connection,
            usage_point_id=point,
            meter_id=meter.meter_id,
            at=placing.since,
            multiplier=placing.multiplier,
            start_import_wh=placing.start_import_wh,
            seal=placing.seal,
            calendar=self._calendar,
            now=now,
        )
