"""Gaps are noted, kept over restarts, and filled from the meters' own profiles without delaying a live poll."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Quantity, ReadingFlag, Source
from drivers.errors import IllegalAddress, ResponseTimeout
from drivers.modbus.features import WriteTarget
from drivers.modbus.gate import Priority
from drivers.modbus.map_file import load_models
from headend.domain.topology import PollTarget
from headend.ingest.poll_round import CONNECTION, OK, Outcome, RoundReport
from headend.ingest.poller import PollService
from headend.settings import Settings
from headend.store import profiles
from headend.store.pool import Store
from headend.store.profiles import GapProgress
from support.profile_bench import BUS, PERIOD_S, SDM120, Bench, H
from support.profiles import SHANGHAI, StoringMeter, spec_of
from support.running import asked, running, until


@pytest.fixture
def bench(store: Store, settings: Settings, load: Any, planned: Any) -> Callable[..., Bench]:
    load(planned("120001", SDM120, 1, "U1", 502))
    with store.transaction() as connection:
        connection.execute("update endpoint set bus = %s", [BUS])

    def make(**profile: Any) -> Bench:
        target = PollTarget(1, "Eastron", "120001", SDM120, BUS, 1, False, "A")
        made = Bench(store, settings, target, spec_of(**{"records": 96, "period_s": PERIOD_S} | profile))
        made.meter.run(made.now() - 48 * H, made.now())
        return made

    return make


SELECTOR = WriteTarget(function=6, address=0x1000)


@pytest.mark.parametrize("profile", [{}, {"order": "ring"}, {"selector": SELECTOR}], ids=["newest", "ring", "selected"])
def test_a_gap_is_filled_oldest_first(bench: Callable[..., Bench], store: Store, profile: Any) -> None:
    b = bench(**profile)

    async def scenario() -> tuple[datetime, datetime]:
        await b.reader.polled([b.target])
        b.live()
        await b.work()
        begin = b.now()
        b.pass_time(timedelta(seconds=PERIOD_S * 1.4))
        b.live()
        await b.work()
        assert b.gaps() == []  # a little late is no gap
        begin = b.now()
        b.pass_time(5 * H)
        b.live(CONNECTION)
        b.live()
        end = b.now()
        await b.work()
        return begin, end

    begin, end = asyncio.run(scenario())
    frozen = [at for at in b.meter.frozen if begin < at < end]
    assert len(frozen) == 20
    assert b.back() == frozen  # and nothing else
    [gap] = b.gaps()
    assert (gap["from_at"], gap["to_at"], gap["done_to"]) == (begin, end, end)
    assert (gap["state"], gap["records"], gap["refused"], gap["attempts"]) == ("closed", 20, 0, 0)
    stored = store.rows(b"select * from register_reading where flags <> 0 order by ts")
    assert [(r["ts"], r["import_wh"]) for r in stored] == [(at, b.meter.register_wh(at)) for at in frozen]
    assert {(r["flags"], r["source"], r["resolution_wh"]) for r in stored} == {
        (int(ReadingFlag.BACKFILL), int(Source.MODBUS), 10)
    }
    assert {r["uncertainty_ms"] for r in stored} == {1000}
    assert store.rows(b"select ts from latest_reading") == [{"ts": end}]  # not moved back
    assert store.rows(b"select count(*) as n from dirty_day")[0]["n"] >= 1


def test_a_restart_finds_the_gap_that_it_makes_itself(bench: Callable[..., Bench]) -> None:
    b = bench()

    async def scenario() -> None:
        await b.reader.polled([b.target])
        b.live()
        await b.work()
        b.pass_time(3 * H)
        b.reader = b.new_reader()
        await b.reader.polled([b.target])
        assert b.gaps() == []
        b.live()
        await b.work()

    asyncio.run(scenario())
    assert [(g["state"], g["records"]) for g in b.gaps()] == [("closed", 12)]
    late = GapProgress(gap_id=1, done_to=b.now(), state="open", records=3, refused=0, attempts=1, detail="late")
    with b.store.transaction() as connection:
        profiles.advance(connection, late, now=b.now())
    assert [(g["state"], g["records"]) for g in b.gaps()] == [("closed", 12)]  # what is closed stays so


def test_a_restart_goes_on_where_it_was_interrupted(bench: Callable[..., Bench]) -> None:
    b = bench(selector=SELECTOR)

    async def scenario() -> None:
        await b.reader.polled([b.target])
        b.live()
        await b.work()
        b.pass_time(5 * H)
        b.live()
        stuck = asyncio.Event()

        async def hold(unit: int) -> None:
            if len(b.back()) == 7:
                stuck.set()
                await asyncio.Event().wait()

        b.link.before = hold
        working = asyncio.create_task(b.work())
        await stuck.wait()
        working.cancel()
        for task in list(b.reader._busy.values()):
            task.cancel()
        await asyncio.gather(working, return_exceptions=True)
        b.link.before = None
        [gap] = b.gaps()
        assert (gap["state"], gap["records"], gap["done_to"]) == ("open", 7, b.back()[-1])
        first = b.back()
        b.reader = b.new_reader()
        await b.reader.polled([b.target])
        await b.work()
        assert b.back() == first  # not before the meter has said again who it is
        other = replace(b.target, meter_id=2, serial="120002", unit=2)
        await b.reader.polled([b.target, other])
        b.reader.round_over(RoundReport(BUS, 0, 0, {2: Outcome(OK)}))
        await b.reader.check()
        await b.reader.settle()
        assert b.back() == first  # nor when a neighbour has
        b.live()
        await b.work()
        assert b.back() == [at for at in b.meter.frozen if gap["from_at"] < at < gap["to_at"]]  # each once
        assert [(g["state"], g["records"]) for g in b.gaps()] == [("closed", 20)]

    asyncio.run(scenario())


def test_nothing_moves_on_before_it_is_committed(bench: Callable[..., Bench]) -> None:
    b = bench()

    async def scenario() -> None:
        await b.reader.polled([b.target])
        b.live()
        await b.work()
        b.pass_time(3 * H)
        b.live()
        await b.reader.polled([b.target])
        await b.box.flush()
        await b.reader.check()
        async with asyncio.timeout(5):
            while b.box.held < 5:
                await asyncio.sleep(0.01)
        assert [(g["state"], g["records"]) for g in b.gaps()] == [("open", 0)]  # the database is away: nobody writes
        await b.work()
        assert [(g["state"], g["records"]) for g in b.gaps()] == [("closed", 12)]

    asyncio.run(scenario())


def test_what_is_not_believed_goes_to_the_quarantine(bench: Callable[..., Bench], store: Store) -> None:
    b = bench()
    words = b.meter.words

    def spoilt(number: int) -> tuple[int, ...]:
        told = list(words(number))
        if number == 3:
            told[0] = 26 << 8 | 19  # the 19th month
        if number == 5:
            told[4:6] = [0, 5]
        return tuple(told)

    b.meter.words = spoilt  # type: ignore[method-assign]

    async def scenario() -> None:
        await b.reader.polled([b.target])
        b.live()
        await b.work()
        b.pass_time(3 * H)
        b.live()
        await b.work()

    asyncio.run(scenario())
    assert [(g["state"], g["records"], g["refused"]) for g in b.gaps()] == [("closed", 10, 2)]
    kept = store.rows(b"select reason, detail, origin, source, payload from quarantine order by reason")
    assert [(k["reason"], k["origin"], k["source"]) for k in kept] == [
        ("profile_registers", "10.0.0.1:502 unit 1", "modbus"),
        ("profile_stamp", "10.0.0.1:502 unit 1", "modbus"),
    ]
    assert kept[0]["detail"].startswith("import_wh = 50: less than ")
    assert b'"record":3' in kept[1]["payload"]
    assert store.rows(b"select min(import_wh) > 1000 as sound from register_reading") == [{"sound": True}]


def test_a_meter_that_fails_is_tried_again_later_and_in_the_end_given_up(bench: Callable[..., Bench]) -> None:
    b = bench()

    async def scenario() -> None:
        await b.reader.polled([b.target])
        b.live()
        await b.work()
        b.pass_time(3 * H)
        b.live()
        b.link.fault = lambda *_: ResponseTimeout("no answer within 1 s", peer="10.0.0.1:502 unit 1")
        await b.work()
        asked_for = len(b.link.asked)
        assert [(g["state"], g["attempts"]) for g in b.gaps()] == [("open", 1)]
        assert "no answer within 1 s" in b.gaps()[0]["detail"]
        b.live()
        await b.work()
        assert len(b.link.asked) == asked_for  # left alone for a minute
        b.pass_time(timedelta(seconds=61))
        await b.work()
        assert [g["attempts"] for g in b.gaps()] == [2]
        b.link.fault = lambda *_: IllegalAddress("illegal data address", peer="10.0.0.1:502 unit 1", exception_code=2)
        b.pass_time(timedelta(seconds=121))
        await b.work()
        assert [(g["state"], g["attempts"]) for g in b.gaps()] == [("given_up", 3)]
        assert "illegal data address" in b.gaps()[0]["detail"]

    asyncio.run(scenario())


def test_what_the_meter_keeps_no_more_is_given_up(bench: Callable[..., Bench], store: Store) -> None:
    b = bench(records=8)

    async def scenario() -> None:
        await b.reader.polled([b.target])
        b.live()
        await b.work()
        b.pass_time(10 * H)
        b.live()
        await b.work()
        assert [(g["state"], g["records"]) for g in b.gaps()] == [("closed", 8)]  # what there was of it
        with store.transaction() as connection:
            connection.execute(
                "insert into profile_gap (meter_id, from_at, to_at, done_to, noted_at, changed_at) "
                "values (1, %(a)s, %(b)s, %(a)s, now(), now())",
                {"a": b.now() - 30 * H, "b": b.now() - 20 * H},
            )
        await b.work()
        assert b.gaps()[1]["detail"] == "the meter does not keep it any more"

    asyncio.run(scenario())


@pytest.mark.parametrize("profile", [{}, {"selector": SELECTOR}], ids=["in place", "selected"])
@pytest.mark.parametrize("moment", [1, 2, 4, 7])
def test_a_live_poll_waits_for_one_question_at_the_most(bench: Callable[..., Bench], profile: Any, moment: int) -> None:
    b = bench(**profile)
    b.link.meters[2] = {(4, address): 0 for address in range(0x200)} | {(3, a): 0 for a in range(0xFC00, 0xFC10)}

    async def scenario() -> None:
        await b.reader.polled([b.target])
        b.live()
        await b.work()
        b.pass_time(23 * H)
        b.live()
        live: list[asyncio.Task[Any]] = []
        questions: list[str] = []

        async def before(unit: int) -> None:
            questions.append("live" if unit == 2 else "backfill")
            if len(questions) == moment:
                wanted = frozenset({Quantity.IMPORT_WH})
                poll = b.bus.read_meter(2, load_models()[SDM120], wanted, priority=Priority.HOUSEHOLD)
                live.append(asyncio.create_task(poll))
                await asyncio.sleep(0)

        b.link.before = before
        select = b.link.write

        async def write(**given: Any) -> Any:
            await before(given["unit"])
            return await select(**given)

        b.link.write = write  # type: ignore[method-assign]
        await b.work()
        assert live[0].done()
        assert questions[moment] == "live"  # the one that was under way, and then the live poll
        assert questions.count("backfill") > 8
        assert [g["state"] for g in b.gaps()] == ["closed"]

    asyncio.run(scenario())


MAP = """
[profile]
table = "holding"
address = 0x2000
stride = 8
records = 96
period = 900
order = "newest_first"
stamp = { encoding = "byte_fields", fields = ["year", "month", "day", "hour", "minute", "second"], year_base = 2000 }

[[profile.registers]]
quantity = "import_wh"
address = 4
type = "u32"
scale = 0.01
unit = "kWh"
"""


def test_over_the_wire_an_outage_of_the_head_end_is_read_back(
    store: Store, settings: Settings, clock: Any, load: Any, serve: Any, planned: Any, tmp_path: Path
) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    text = (Path(load_models.__code__.co_filename).parent / "maps" / f"{SDM120}.toml").read_text(encoding="utf-8")
    (maps / "storing.toml").write_text(text.replace(f'id = "{SDM120}"', 'id = "storing-sdm120"') + MAP)
    told = settings.model_copy(update={"poll": settings.poll.model_copy(update={"models_dir": maps})})
    model = load_models(maps)["storing-sdm120"]
    assert model.features.profile is not None
    meter = StoringMeter(model.features.profile, SHANGHAI, power_w=3_600_000)

    def answer(question: bytes) -> bytes:
        first, count = int.from_bytes(question[8:10], "big"), int.from_bytes(question[10:12], "big")
        words = []
        for address in range(first, first + count):
            number, offset = divmod(address - 0x2000, 8)
            if question[7] == 3 and 0 <= number < 96:
                words.append((*meter.words(number), 0)[offset])
            else:
                words.append(0)
        if question[7] == 4 and first <= 0x48 < first + count:  # the live register, an f32 of kWh
            kwh = meter.register_wh(clock()) / 1000
            words[0x48 - first : 0x4A - first] = struct.unpack(">HH", struct.pack(">f", kwh))
        data = b"".join(word.to_bytes(2, "big") for word in words)
        return question[:4] + (len(data) + 3).to_bytes(2, "big") + question[6:8] + bytes((len(data),)) + data

    async def scenario() -> None:
        async with serve([]) as gateway:
            gateway.spoilt[1] = answer
            load(planned("0", SDM120, 1, "U1", gateway.port))
            with store.transaction() as connection:
                connection.execute("update meter set model = 'storing-sdm120'")
            meter.run(clock() - 30 * H, clock())
            async with running(PollService(store, told, clock)):
                await until(asked(store, b"select 1 as n from register_reading"), "a reading before the outage")
            begin = clock()
            clock.by += 5 * H
            meter.run(begin, clock())
            async with running(PollService(store, told, clock)):
                closed = asked(store, b"select 1 as n from profile_gap where state = 'closed'")
                await until(closed, "the gap is filled")

    asyncio.run(scenario())
    back = store.rows(b"select ts, import_wh from register_reading where flags = 2 order by ts")
    assert [(r["ts"], r["import_wh"]) for r in back] == [
        (at, meter.register_wh(at)) for at in meter.frozen[-len(back) :]
    ]
    assert 19 <= len(back) <= 21
