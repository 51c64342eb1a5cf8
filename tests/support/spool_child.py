"""A process that polls a field that is a book of numbers, and tells what it put once it is safe. It is to be killed."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from drivers.base import MeterIdentity, RegisterReading
from headend.domain.calendar import from_us, to_us
from headend.domain.clock import system_clock
from headend.ingest.poll_items import RoundWriter
from headend.ingest.poll_outbox import Outbox
from headend.ingest.poll_round import RoundResult
from headend.ingest.spool import Spool
from headend.ingest.spool_record import Spoiled
from headend.log import configure_logging
from headend.settings import Database, Poll, Settings
from headend.store.pool import Store

BEGIN = from_us(int(os.environ.get("SPOOL_CHILD_BEGIN_US", to_us(datetime.now(UTC) - timedelta(days=2)))))
"""When round 0 was; whoever starts the process tells it."""
METERS = 5


def register_wh(number: int, meter: int) -> int:
    """What a meter shows in a round."""
    return 1_000_000 * meter + 10 * number


def instant(number: int, meter: int) -> datetime:
    """When it showed that."""
    return BEGIN + timedelta(seconds=number, milliseconds=meter)


def round_of(number: int) -> RoundResult:
    """The numbered round."""
    readings = [
        (
            MeterIdentity("Acme", f"M{meter}"),
            RegisterReading(
                instant_us=to_us(instant(number, meter)), uncertainty_ms=5, import_wh=register_wh(number, meter)
            ),
        )
        for meter in range(METERS)
    ]
    return RoundResult("10.0.0.1:502", to_us(instant(number, 0)), readings)


async def poll(settings: Settings, first: int, seed: int) -> None:
    """Put rounds from the first one on, for ever; those that are safe are told on stdout."""
    rng = random.Random(seed)
    with Store(settings.database.dsn, pool_max=2, timeout_s=0.3) as store:
        writer = RoundWriter(store, settings, system_clock)

        async def write(rounds: Sequence[RoundResult | Spoiled]) -> None:
            await asyncio.to_thread(writer.write, rounds)

        async def rest(_: float) -> None:
            await asyncio.sleep(0.05)

        spool = Spool(settings.poll, zone=ZoneInfo("Asia/Shanghai"), clock=system_clock, tells_again=lambda _: False)
        await spool.open()
        box = Outbox(write, hold=10**6, sleep=rest, spool=spool)
        running = asyncio.create_task(box.run())
        number = first
        while True:
            for _ in range(rng.randrange(1, 8)):
                box.put(round_of(number))
                number += 1
            await box.safe()
            os.write(1, b"%d %d\n" % (number - 1, box.held))
            await asyncio.sleep(rng.random() * 0.01)
            assert not running.done()


if __name__ == "__main__":
    configure_logging("warning", "console")
    told = Settings(database=Database(dsn=sys.argv[1]), poll=Poll(spool_dir=Path(sys.argv[2])))
    asyncio.run(poll(told, int(sys.argv[3]), int(sys.argv[4])))
