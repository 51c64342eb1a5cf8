"""A bus with a meter that stores a profile, and the executor that reads gaps back from it, under the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from drivers.base import MeterIdentity, RegisterReading
from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.features import Features, ProfileSpec
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from headend.domain.calendar import from_us
from headend.domain.topology import PollTarget
from headend.ingest.poll_items import RoundWriter
from headend.ingest.poll_outbox import Outbox
from headend.ingest.poll_profile import ProfileReader
from headend.ingest.poll_round import OK, Outcome, RoundReport, RoundResult
from headend.settings import Settings
from headend.store.pool import Store
from support.modbus import FakeClock, FakeLink
from support.profiles import SHANGHAI, StoringMeter, us

SDM120 = "eastron-sdm120"
BUS = "modbus+tcp://10.0.0.1:502"
PERIOD_S = 900
H = timedelta(hours=1)


def model_of(profile: ProfileSpec) -> MeterModel:
    """An SDM120 that stores a profile, as it never did."""
    plain = load_models()[SDM120]
    given = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    return MeterModel(**given | {"features": Features(profile=profile)})


class ProfileMemory(dict[tuple[int, int], int]):
    """The registers of a profile, as the meter stands when it is asked."""

    def __init__(self, meter: StoringMeter) -> None:
        super().__init__()
        self.meter = meter
        self.selected = 0

    def get(self, place: tuple[int, int], default: Any = None) -> Any:
        spec = self.meter.spec
        function, address = place
        number, offset = divmod(address - spec.address, spec.stride)
        if function != 3 or not 0 <= number < (1 if spec.selector else spec.records):
            return super().get(place, default)
        return self.meter.words(self.selected if spec.selector else number)[offset]


class Bench:
    """A bus with one meter that stores a profile, and everything that fills gaps; time passes by questions alone."""

    def __init__(self, store: Store, settings: Settings, target: PollTarget, profile: ProfileSpec) -> None:
        self.clock = FakeClock()
        self.link = FakeLink(self.clock)
        self.store = store
        self.target = target
        self.meter = StoringMeter(profile, SHANGHAI)
        self.memory = ProfileMemory(self.meter)
        self.link.meters = {target.unit: self.memory}
        self.bus = ModbusBus(self.link, BusSettings(retries=0), clock=self.clock)
        self.models = MappingProxyType({SDM120: model_of(profile)})
        self.writer = RoundWriter(store, settings, self.now)
        self.box: Outbox[RoundResult] = Outbox(self._write, hold=10_000, sleep=self.clock.sleep)
        self.written: list[RoundResult] = []
        self.reader = self.new_reader()
        select = self.link.write

        async def write(**given: Any) -> Any:
            assert (given["function"], given["address"]) == (6, 0x1000)
            self.memory.selected = given["words"][0] - profile.selector_base
            return await select(**given)

        self.link.write = write  # type: ignore[method-assign]

    def new_reader(self) -> ProfileReader:
        """As a restart makes it."""
        return ProfileReader(
            self.store,
            self.models,
            self.box,
            bus_of=lambda _: self.bus,
            period_s_of=lambda _: PERIOD_S,
            zone=ZoneInfo("Asia/Shanghai"),
            check_s=5.0,
            clock=self.now,
            sleep=self.clock.sleep,
        )

    def now(self) -> datetime:
        """By the bench's clock."""
        return from_us(self.clock.now_us())

    def pass_time(self, span: timedelta) -> None:
        """The meter goes on freezing."""
        begin = self.now()
        self.clock.elapsed_s += span.total_seconds()
        self.meter.run(begin, self.now())

    async def _write(self, rounds: Sequence[RoundResult]) -> None:
        self.written += rounds
        await asyncio.to_thread(self.writer.write, rounds)

    def live(self, outcome: str = OK) -> None:
        """A round of the bus: the meter is read, or is not."""
        at = self.now()
        report = RoundReport(BUS, us(at), us(at), {self.target.meter_id: Outcome(outcome)})
        if outcome == OK:
            report.read_us[self.target.meter_id] = (us(at),)
            reading = RegisterReading(
                instant_us=us(at), uncertainty_ms=20, import_wh=self.meter.register_wh(at), export_wh=0
            )
            self.box.put(RoundResult("10.0.0.1:502", us(at), [(MeterIdentity("Eastron", self.target.serial), reading)]))
        self.reader.round_over(report)
        with self.store.transaction() as connection:
            connection.execute(
                "insert into poll_meter (meter_id, bus, outcome, reason, since_at, failures, written_at) "
                "values (%s, %s, %s, '', now(), 0, now()) "
                "on conflict (meter_id) do update set outcome = excluded.outcome",
                [self.target.meter_id, BUS, outcome],
            )

    async def work(self) -> None:
        """Note, read back, write."""
        writing = asyncio.create_task(self.box.run())
        await self.reader.polled([self.target])
        await self.box.safe()
        await self.reader.check()
        await self.reader.settle()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    def gaps(self) -> list[dict[str, Any]]:
        """What is kept of gaps."""
        return self.store.rows(
            b"select from_at, to_at, done_to, state, records, refused, attempts, detail "
            b"from profile_gap order by gap_id"
        )

    def back(self) -> list[datetime]:
        """Instants that were read back, in the order in which they were sent on."""
        return [from_us(r.instant_us) for result in self.written for _, r in result.readings if r.flags]
