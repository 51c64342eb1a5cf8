"""Fills gaps from the profiles that meters store: notes them, and reads them back oldest first, between the rounds.

The rules it keeps: a live poll waits for one question of ours at the most; a gap moves on once what was read back is
safe, so that a restart reads again rather than too little; only a meter that has just said who it is is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from drivers.base import MeterIdentity, Phases3, Quantity, ReadingFlag, RegisterReading, tariffs
from drivers.errors import DeviceException, DriverError
from drivers.modbus.bus import ModbusAddress, ModbusBus
from drivers.modbus.features import ProfileSpec
from drivers.modbus.gate import Priority
from drivers.modbus.model import MeterModel
from drivers.modbus.profile import Ask, Found, Gap, ProfileWalk, kept_since_us, may_be_read, walk_of
from drivers.modbus.profile_records import Bounds, Frozen
from drivers.modbus.register_map import AddressRange
from headend.domain.calendar import US_PER_S, from_us, to_us
from headend.domain.clock import Clock
from headend.domain.topology import PollTarget
from headend.ingest.poll_outbox import Outbox, kind_of
from headend.ingest.poll_round import OK, Rejected, RoundReport, RoundResult
from headend.log import get_logger
from headend.metrics import PROFILE_GAPS, PROFILE_RECORDS, STORE_ERRORS
from headend.store import profiles
from headend.store.errors import StoreError
from headend.store.pool import Store
from headend.store.profiles import FoundGap, GapProgress, GapState, OpenGap

_LATE_PERIODS: Final = 1.5
"""A reading that follows the last one by more periods leaves a gap."""
_STAMP_MS: Final = 1_000
"""Stamps tell seconds; how far the meter's clock was off comes on top where it is known."""
_PER_BUS: Final = 8
"""Gaps of one bus that are taken at once, one after the other."""
_REFUSED_MOST: Final = 3
"""A meter that has said so often that it has no such registers is not asked again."""
_SAYS_NO: Final = frozenset({1, 2, 3})
"""Illegal function, address, value: exception codes that another time will not change."""
_log = get_logger(__name__)


class ProfileReader:
    """Everything about gaps, for all buses of this process."""

    def __init__(
        self,
        store: Store,
        models: Mapping[str, MeterModel],
        outbox: Outbox[RoundResult],
        *,
        bus_of: Callable[[PollTarget], ModbusBus],
        period_s_of: Callable[[PollTarget], int],
        zone: ZoneInfo,
        check_s: float,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """`zone`: of stamps that show local time, and of midnights."""
        self._store = store
        self._models = models
        self._outbox = outbox
        self._bus_of = bus_of
        self._period_s_of = period_s_of
        self._zone = zone
        self._check_s = check_s
        self._clock = clock
        self._sleep = sleep
        self._targets: dict[int, PollTarget] = {}
        self._storing: dict[MeterIdentity, int] = {}
        self._last_us: dict[int, int] = {}
        self._well: set[int] = set()
        self._noted: list[FoundGap] = []
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._reading: set[int] = set()

    def is_reading(self, meter_id: int) -> bool:
        """Whether this meter's profile is being read just now: its clock is left alone meanwhile."""
        return meter_id in self._reading

    def storing(self, meter: MeterIdentity) -> int | None:
        """The number of a polled meter that stores a profile; None of any other."""
        return self._storing.get(meter)

    async def polled(self, targets: Iterable[PollTarget]) -> None:
        """These meters are polled from now on. Raises StoreError; the last readings of new ones are looked up."""
        storing = {t.meter_id: t for t in targets if self._profile(t.model) is not None}
        new = storing.keys() - self._targets.keys()
        last = await asyncio.to_thread(self._last_readings, new) if new else {}
        self._targets = storing
        self._storing = {MeterIdentity(t.manufacturer, t.serial): m for m, t in storing.items()}
        self._well &= storing.keys()
        self._last_us = {m: at for m, at in self._last_us.items() if m in storing}
        for meter, at in last.items():
            self._last_us.setdefault(meter, to_us(at))

    def round_over(self, report: RoundReport) -> None:
        """Note the gaps that a round has closed."""
        for meter, outcome in report.outcomes.items():
            target = self._targets.get(meter)
            if target is None:
                continue
            (self._well.add if outcome.code == OK else self._well.discard)(meter)
            if instants := report.read_us.get(meter):
                before_us = self._last_us.get(meter)
                late_us = self._period_s_of(target) * _LATE_PERIODS * US_PER_S
                if before_us is not None and instants[0] - before_us > late_us:
                    self._noted.append(FoundGap(meter_id=meter, from_at=from_us(before_us), to_at=from_us(instants[0])))
                    PROFILE_GAPS.labels("noted").inc()
                self._last_us[meter] = max(before_us or 0, *instants)

    async def run(self) -> None:
        """Keep gaps and work on them, for ever."""
        try:
            while True:
                try:
                    await self.check()
                except StoreError as error:
                    STORE_ERRORS.labels(kind_of(error)).inc()
                    _log.warning("gaps wait for the database", noted=len(self._noted), error=str(error))
                await self._sleep(self._check_s)
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def check(self) -> None:
        """Store the gaps that were noted, and begin with the open ones of idle buses. Raises StoreError."""
        noted = list(self._noted)
        idle = {t.bus for m, t in self._targets.items() if m in self._well} - self._busy.keys()
        if not noted and not idle:
            return
        gaps = await asyncio.to_thread(self._exchange, noted, idle)
        del self._noted[: len(noted)]
        by_bus: dict[str, list[OpenGap]] = {}
        for gap in gaps:
            if gap.target.meter_id in self._well and gap.target.bus not in self._busy:
                by_bus.setdefault(gap.target.bus, []).append(gap)
        for bus, members in by_bus.items():
            task = asyncio.create_task(self._work(members))
            self._busy[bus] = task
            task.add_done_callback(lambda done, bus=bus: self._done(bus, done))  # type: ignore[misc]

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._busy:
            await asyncio.wait(self._busy.values())

    def _done(self, bus: str, task: asyncio.Task[None]) -> None:
        del self._busy[bus]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("reading a stored profile failed", bus=bus, exc_info=error)

    async def _work(self, gaps: Sequence[OpenGap]) -> None:
        for gap in gaps:
            try:
                await self._fill(gap)
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("a gap waits for the database", meter=gap.target.serial, error=str(error))
                return

    async def _fill(self, gap: OpenGap) -> None:
        """Read one gap back, as far as the meter lets us. Raises StoreError."""
        spec, now_us = self._profile(gap.target.model), to_us(self._clock())
        if spec is None:
            await self._advance(gap, state="given_up", detail=f"model {gap.target.model} stores no profile")
            return
        if to_us(gap.to_at) <= kept_since_us(spec, now_us):
            await self._advance(gap, state="given_up", detail="the meter does not keep it any more")
            return
        if not may_be_read(spec, now_us, self._zone):
            return
        self._reading.add(gap.target.meter_id)
        try:
            await self._walk(gap, spec)
        except DriverError as error:
            says_no = isinstance(error, DeviceException) and error.exception_code in _SAYS_NO
            hopeless = says_no and gap.attempts + 1 >= _REFUSED_MOST
            await self._advance(
                gap, state="given_up" if hopeless else "open", detail=str(error), attempts=gap.attempts + 1
            )
        finally:
            self._reading.discard(gap.target.meter_id)

    async def _walk(self, gap: OpenGap, spec: ProfileSpec) -> None:
        model = self._models[gap.target.model]
        address = ModbusAddress(gap.target.unit, model, Priority.BACKFILL)
        walk = walk_of(
            spec,
            Gap(to_us(gap.done_to), to_us(gap.to_at)),
            _bounds(gap),
            zone=self._zone,
            most=model.limits.max_registers // spec.stride,
        )
        bus = self._bus_of(gap.target)
        while (ask := walk.ask(to_us(self._clock()))) is not None:
            words = await _read(bus, address, spec, ask)
            found = walk.take(words, to_us(self._clock()))
            if found.frozen or found.doubtful:
                await self._keep(gap, bus, found)
                await self._advance(gap, walk=walk, found=found)
        await self._advance(gap, state="closed", walk=walk)

    async def _keep(self, gap: OpenGap, bus: ModbusBus, found: Found) -> None:
        """Have what was read back stored as any reading is, and wait until that is certain."""
        while not self._outbox.has_room:
            await self._sleep(self._check_s)
        meter = MeterIdentity(gap.target.manufacturer, gap.target.serial)
        result = RoundResult(bus.peer, to_us(self._clock()))
        result.readings += [(meter, reading_of(f, gap)) for f in found.frozen]
        result.rejected += [
            Rejected(gap.target, f"profile_{d.doubt}", d.detail, d.number, d.words) for d in found.doubtful
        ]
        self._outbox.put(result)
        PROFILE_RECORDS.labels("believed").inc(len(found.frozen))
        PROFILE_RECORDS.labels("refused").inc(len(found.doubtful))
        await self._outbox.safe()

    async def _advance(
        self,
        gap: OpenGap,
        *,
        state: GapState = "open",
        walk: ProfileWalk | None = None,
        found: Found | None = None,
        attempts: int = 0,
        detail: str = "",
    ) -> None:
        progress = GapProgress(
            gap_id=gap.gap_id,
            done_to=gap.done_to if walk is None else from_us(walk.done_to_us),
            state=state,
            records=0 if found is None else len(found.frozen),
            refused=0 if found is None else len(found.doubtful),
            attempts=attempts,
            detail=detail,
        )
        await asyncio.to_thread(self._save, progress)
        if state != "open":
            PROFILE_GAPS.labels(state).inc()
        if state == "given_up" or attempts == 1:
            meter = f"{gap.target.manufacturer}/{gap.target.serial}"
            _log.warning("gap not filled", meter=meter, state=state, since=gap.from_at.isoformat(), reason=detail)

    def _profile(self, model_id: str) -> ProfileSpec | None:
        model = self._models.get(model_id)
        return None if model is None else model.features.profile

    def _last_readings(self, meters: Collection[int]) -> dict[int, datetime]:
        with self._store.transaction() as connection:
            return profiles.last_readings(connection, meters)

    def _exchange(self, noted: Sequence[FoundGap], idle: Collection[str]) -> list[OpenGap]:
        with self._store.transaction() as connection:
            now = self._clock()
            profiles.note(connection, noted, now=now)
            profiles.abandon(connection, now=now)
            return profiles.open_gaps(connection, idle, per_bus=_PER_BUS, now=now) if idle else []

    def _save(self, progress: GapProgress) -> None:
        with self._store.transaction() as connection:
            profiles.advance(connection, progress, now=self._clock())


def reading_of(record: Frozen, gap: OpenGap) -> RegisterReading:
    """A reading with the record's own stamp; the meter's clock says how far that may be off."""
    values = record.values
    suspect = ReadingFlag.CLOCK_SUSPECT if gap.clock_drifted else ReadingFlag.NONE
    return RegisterReading(
        instant_us=record.instant_us,
        uncertainty_ms=_STAMP_MS + abs(gap.clock_offset_ms or 0),
        import_wh=values.get(Quantity.IMPORT_WH),
        export_wh=values.get(Quantity.EXPORT_WH),
        import_phase_wh=_phases(values, Quantity.IMPORT_L1_WH, Quantity.IMPORT_L2_WH, Quantity.IMPORT_L3_WH),
        export_phase_wh=_phases(values, Quantity.EXPORT_L1_WH, Quantity.EXPORT_L2_WH, Quantity.EXPORT_L3_WH),
        import_tariff_wh=tariffs(values),
        resolution_wh=record.resolution_wh or None,
        flags=ReadingFlag.BACKFILL | suspect,
    )


async def _read(bus: ModbusBus, address: ModbusAddress, spec: ProfileSpec, ask: Ask) -> tuple[int, ...]:
    """The registers of some records. Raises `PeerError`."""
    async with bus.turn(address) as turn:
        if spec.selector is not None:
            await turn.write(spec.selector, (spec.selector_base + ask.first,))
            first = spec.address
        else:
            first = spec.address + ask.first * spec.stride
        words: tuple[int, ...] = ()
        count, most = ask.count * spec.stride, address.model.limits.max_registers
        for begin in range(0, count, most):
            end = min(count, begin + most)
            answer = await turn.read(AddressRange(spec.table, first + begin, first + end - 1))
            words += answer.words
        return words


def _bounds(gap: OpenGap) -> Bounds:
    def known(import_wh: int | None, export_wh: int | None) -> dict[Quantity, int]:
        found = {Quantity.IMPORT_WH: import_wh, Quantity.EXPORT_WH: export_wh}
        return {quantity: value for quantity, value in found.items() if value is not None}

    return Bounds(
        before=known(gap.from_import_wh, gap.from_export_wh),
        after=known(gap.to_import_wh, gap.to_export_wh),
        step_wh=gap.step_wh or 0,
        rollover_wh=gap.rollover_wh,
    )


def _phases(values: Mapping[Quantity, int], l1: Quantity, l2: Quantity, l3: Quantity) -> Phases3 | None:
    phases = values.get(l1), values.get(l2), values.get(l3)
    return None if phases == (None, None, None) else phases
