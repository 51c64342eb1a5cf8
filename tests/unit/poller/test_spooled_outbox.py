"""The way through the spool: safe once it is on the disk, in order into the database, memory where the disk fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from headend.bootstrap import run_service
from headend.ingest.poll_outbox import Outbox
from headend.ingest.poll_round import RoundResult
from headend.ingest.spool import Spool, check_spool_dir, spool_dir_of
from headend.ingest.spool_file import NAME, SpoolFailed, SpoolInUse
from headend.ingest.spool_record import Spoiled
from headend.settings import Poll, Settings, SettingsError
from headend.store.errors import StoreUnavailable
from support.running import until
from support.spooled import measured, registers_of, round_at, spool


class Database:
    """Away until told otherwise; then it keeps what it is given."""

    def __init__(self) -> None:
        self.away = True
        self.tries = 0
        self.rounds: list[RoundResult | Spoiled] = []

    async def write(self, items: Sequence[RoundResult | Spoiled]) -> None:
        self.tries += 1
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("gone")
        self.rounds += items

    @property
    def registers(self) -> list[int | None]:
        return [r for one in self.rounds if isinstance(one, RoundResult) for r in registers_of(one).values()]


@asynccontextmanager
async def started(box: Outbox[RoundResult], kept: Spool) -> AsyncIterator[None]:
    await kept.open()
    running = asyncio.create_task(box.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await kept.close()


@pytest.fixture
def made(tmp_path: Path, time: Any) -> Callable[..., tuple[Database, Spool, Outbox[RoundResult]]]:
    """A database that is away, a spool and what lies between them; each call is another process's."""

    def make(*, hold: int = 10**6, **spooled: Any) -> tuple[Database, Spool, Outbox[RoundResult]]:
        database, kept = Database(), spool(tmp_path / "spool", time, **spooled)
        return database, kept, Outbox(database.write, hold=hold, sleep=_a_moment, spool=kept)

    return make


async def _a_moment(_: float) -> None:
    """The rest between two tries: shorter than in life."""
    await asyncio.sleep(0.02)


def rounds(time: Any, numbers: Sequence[int]) -> list[RoundResult]:
    return [round_at(time.now + timedelta(minutes=15 * n), {"1": n}) for n in numbers]


def test_it_is_safe_on_the_disk_while_the_database_is_away_and_another_process_writes_it(made: Any, time: Any) -> None:
    async def first() -> None:
        database, kept, box = made()
        async with started(box, kept):
            for result in rounds(time, range(5)):
                box.put(result)
            async with asyncio.timeout(5):
                await box.safe()
            assert (box.held, box.in_memory, kept.readings) == (5, 0, 5)
            assert box.has_room
            assert database.rounds == []

    async def second() -> None:
        database, kept, box = made()
        database.away = False
        async with started(box, kept):
            assert box.held == 5
            box.put(rounds(time, [5])[0])
            await until(lambda: box.held == 0, "all is written")
        assert database.registers == [0, 1, 2, 3, 4, 5]

    asyncio.run(first())
    asyncio.run(second())


def test_live_rounds_go_through_it_in_order_and_leave_nothing_behind(made: Any, time: Any) -> None:
    async def scenario() -> None:
        database, kept, box = made()
        database.away = False
        async with started(box, kept):
            for result in rounds(time, range(200)):
                box.put(result)
                if result.began_us % 3 == 0:
                    await asyncio.sleep(0.001)
            await until(lambda: box.held == 0, "all is written")
            assert kept.state.totals.rounds == 0
        assert database.registers == list(range(200))

    asyncio.run(scenario())


def test_who_waits_does_not_wait_for_the_database(made: Any, time: Any) -> None:
    async def scenario() -> None:
        database, kept, box = made()
        stuck, entered = asyncio.Event(), asyncio.Event()

        async def never(items: Sequence[Any]) -> None:
            entered.set()
            await stuck.wait()

        database.away, box._write = False, never
        async with started(box, kept):
            box.put(rounds(time, [1])[0])
            await entered.wait()
            box.put(rounds(time, [2])[0])
            async with asyncio.timeout(5):
                await box.safe()

    asyncio.run(scenario())


def test_what_is_cancelled_while_it_is_kept_is_kept_once(made: Any, time: Any) -> None:
    async def scenario() -> None:
        _, kept, box = made()
        await kept.open()
        for result in rounds(time, range(50)):
            box.put(result)
        keeping = asyncio.create_task(box.keep())
        await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await box.keep()
        assert (kept.readings, box.in_memory) == (50, 0)
        await kept.close()

    asyncio.run(scenario())


def test_a_disk_that_fails_leaves_memory_and_the_database(tmp_path: Path, made: Any, time: Any) -> None:
    (tmp_path / "spool").write_bytes(b"")  # a file where the directory should be
    errors = REGISTRY.get_sample_value("headend_spool_errors_total", {"kind": "cannot_open"}) or 0

    async def scenario() -> None:
        database, kept, box = made(hold=3)
        async with started(box, kept):
            assert kept.failing
            for n in range(4):
                assert box.has_room == (n < 3)
                box.put(rounds(time, [n])[0])
            waiting = asyncio.create_task(box.safe())
            await until(lambda: database.tries > 3, "the database is asked, since the disk is no help")
            assert (box.held, box.in_memory, box.has_room, waiting.done()) == (4, 4, False, False)
            database.away = False
            await until(lambda: box.held == 0, "it is written from memory")
            async with asyncio.timeout(5):
                await waiting
            database.away = True
            box.put(rounds(time, [9])[0])
            (tmp_path / "spool").unlink()
            async with asyncio.timeout(5):
                await box.safe()
            assert (box.in_memory, kept.readings, kept.failing) == (0, 1, False)
            database.away = False
            await until(lambda: box.held == 0, "it is written from the spool")
        assert database.registers == [0, 1, 2, 3, 9]

    with capture_logs() as logs:
        asyncio.run(scenario())
    said = [line["event"] for line in logs if "disk" in line["event"]]
    assert said == ["the spool's disk fails, readings are held in memory", "the spool's disk works again"]
    assert REGISTRY.get_sample_value("headend_spool_errors_total", {"kind": "cannot_open"}) > errors


def test_what_a_full_disk_cannot_forget_is_not_written_twice_by_this_process(made: Any, time: Any) -> None:
    async def scenario() -> None:
        database, kept, box = made()
        await kept.open()
        for result in rounds(time, range(3)):
            box.put(result)
        await box.keep()
        delete = kept._file.delete

        def fails(**_: Any) -> None:
            raise kept_failed

        kept_failed = SpoolFailed("database or disk is full", "disk_full")
        kept._file.delete = fails  # type: ignore[method-assign]
        database.away = False
        await box.flush()
        assert database.registers == [0, 1, 2]
        kept._file.delete = delete  # type: ignore[method-assign]
        box.put(rounds(time, [3])[0])
        await box.keep()
        await box.flush()
        assert database.registers == [0, 1, 2, 3]
        assert box.held == 0
        await kept.close()

    asyncio.run(scenario())


def test_a_round_that_cannot_be_read_any_more_holds_up_no_other(tmp_path: Path, made: Any, time: Any) -> None:
    async def scenario() -> None:
        database, kept, box = made()
        await kept.open()
        for result in rounds(time, range(3)):
            box.put(result)
        await box.keep()
        kept._file.rework(lambda c: (c.execute("update round set version = 9 where id = 2"), (0, 0))[1])
        database.away = False
        await box.flush()
        await kept.close()
        assert database.registers == [0, 2]
        [spoilt] = [one for one in database.rounds if isinstance(one, Spoiled)]
        assert spoilt.reason == "written in layout 9; this program reads 1 and 2"
        assert spoilt.bus == "10.0.0.1:502"
        assert kept.readings == 0

    asyncio.run(scenario())


def test_a_round_that_cannot_be_packed_holds_up_no_other_and_is_kept_for_somebody_to_see(made: Any, time: Any) -> None:
    async def scenario() -> None:
        database, kept, box = made()
        database.away = False
        async with started(box, kept):
            box.put(round_at(time.now, {"1": 2**70}))
            box.put(rounds(time, [7])[0])
            await until(lambda: box.held == 0, "both are written")
        [odd, fine] = database.rounds
        assert isinstance(odd, Spoiled)
        assert str(2**70).encode() in odd.packed
        assert registers_of(fine) == {"1": 7}

    asyncio.run(scenario())


def test_a_spool_that_is_damaged_is_replaced_and_polling_goes_on(tmp_path: Path, made: Any, time: Any) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / NAME).write_bytes(b"what is this" * 1000)

    async def scenario() -> None:
        database, kept, box = made()
        async with started(box, kept):
            box.put(rounds(time, [1])[0])
            async with asyncio.timeout(5):
                await box.safe()
            database.away = False
            await until(lambda: box.held == 0, "it is written")
            state = await kept.look()
            assert [path.name for path in state.damaged] == [f"{NAME}.damaged-{time.now:%Y%m%dT%H%M%SZ}"]
        assert database.registers == [1]

    with capture_logs() as logs:
        asyncio.run(scenario())
    [line] = [line for line in logs if line["event"] == "a damaged spool was set aside and a new one begun"]
    assert line["log_level"] == "error"


def test_a_full_spool_never_stops_polling_and_counts_what_it_gives_up(made: Any, time: Any) -> None:
    def counted() -> dict[str, float]:
        name = "headend_spool_given_up_total"
        return {c: REGISTRY.get_sample_value(name, {"class": c}) or 0 for c in ("between", "oldest")}

    serials = [str(n) for n in range(200)]
    before, rng = counted(), random.Random(3)

    async def scenario() -> None:
        database, kept, box = made(spool_mb=1)
        async with started(box, kept):
            for tick in range(250):
                assert box.has_room
                at = time.now + timedelta(minutes=15 * tick)
                box.put(measured(at, {serial: 10_000 * n + tick for n, serial in enumerate(serials)}, rng))
                if tick % 10 == 9:
                    await box.safe()
            assert kept.state.totals.full
            assert kept.state.totals.bytes <= 1_000_000
            given_up = kept.state.given_up
            assert sum(given_up.values()) + kept.readings == 250 * 200
            database.away = False
            await until(lambda: box.held == 0, "it is drained")
            assert not kept.state.totals.full
        written = [registers_of(one) for one in database.rounds]
        assert written[0]["7"] == 70_000
        assert written[-1] == {serial: 10_000 * n + 249 for n, serial in enumerate(serials)}
        assert {kind: counted()[kind] - before[kind] for kind in given_up} == given_up

    with capture_logs() as logs:
        asyncio.run(scenario())
    assert {line["log_level"] for line in logs if line["event"] == "the spool is full, readings were given up"} == {
        "error"
    }


def test_two_services_never_share_one(made: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        _, first, _ = made()
        _, second, _ = made()
        await first.open()
        with pytest.raises(SpoolInUse, match="each process that polls needs"):
            await second.open()
        await second.close()
        with pytest.raises(SettingsError, match=r"poll.spool_dir: .* is in use by process \d+: each process"):
            check_spool_dir(Poll(spool_dir=tmp_path / "spool"))
        settings = Settings.model_validate(
            {"database": {"dsn": "host=127.0.0.1"}, "poll": {"spool_dir": tmp_path / "spool"}}
        )
        with pytest.raises(SettingsError, match=r"poll.spool_dir: "):
            run_service(settings, ["poll"])  # it does not begin at all, rather than fail again and again
        await first.close()
        check_spool_dir(Poll(spool_dir=tmp_path / "spool"))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("environment", "where"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/home/x"}, "/var/lib/a/spool"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/x"}, "/state/headend/spool"),
        ({"HOME": "/home/x"}, "/home/x/.local/state/headend/spool"),
        ({}, "/var/lib/headend/spool"),
    ],
)
def test_where_it_lies_when_nobody_says(environment: dict[str, str], where: str) -> None:
    assert spool_dir_of(Poll(), environment) == Path(where)
    assert spool_dir_of(Poll(spool_dir=Path("/data")), environment) == Path("/data")
