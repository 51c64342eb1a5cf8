"""Setting a clock: the time that is written is true when it arrives, and no interval boundary is ever touched."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.modbus.feature_codec import decode_clock, encode_clock
from drivers.modbus.features import ClockField, ClockFormat, ClockSpec, WriteTarget
from drivers.modbus.link import Answer
from drivers.modbus.register_map import Table
from headend.domain.calendar import LocalCalendar, from_us, to_us
from headend.ingest.commands.actions import ClockSetting, TooLate

ZONE = ZoneInfo("Asia/Shanghai")
F = ClockField
SECONDS = ClockFormat(encoding="word_fields", fields=(F.YEAR, F.MONTH, F.DAY, F.HOUR, F.MINUTE, F.SECOND))
MINUTES = ClockFormat(encoding="word_fields", fields=(F.YEAR, F.MONTH, F.DAY, F.HOUR, F.MINUTE))
NOON = to_us(datetime(2026, 11, 25, 12, tzinfo=UTC))
S = 1_000_000
GUARD_S = 5


class Scene:
    """A meter, a bus that takes its time, and a clock that only these move."""

    def __init__(self, now_us: int, off_us: int, *, form: ClockFormat = SECONDS, transit_us: int = 40_000) -> None:
        self.now_us, self.off_us, self.form, self.transit_us = now_us, off_us, form, transit_us
        self.arrived: tuple[int, tuple[int, ...]] | None = None
        self.held_up_us = 0
        self.waits = False
        """A write would not leave at once."""

    def clock(self) -> datetime:
        return from_us(self.now_us)

    async def sleep(self, seconds: float) -> None:
        self.now_us += round(seconds * S) + self.held_up_us

    async def read(self, _: Any) -> Answer:
        sent = self.now_us
        words = encode_clock(self.form, from_us(sent + self.transit_us + self.off_us), ZONE)
        self.now_us += 2 * self.transit_us
        return Answer(words, sent, 2 * self.transit_us)

    async def make_way(self, target: WriteTarget, words: tuple[int, ...]) -> None:
        assert (target.function, len(words)) == (16, self.form.count)

    def write_waits(self, target: WriteTarget, words: tuple[int, ...]) -> bool:
        return self.waits

    async def write(self, target: WriteTarget, words: tuple[int, ...]) -> Answer:
        self.now_us += 2 * self.transit_us * len(target.unlock)
        sent = self.now_us
        self.arrived = sent + self.transit_us, words
        self.now_us += 2 * self.transit_us
        return Answer(words, sent, 2 * self.transit_us)

    def setting(self, *, across: bool = False, unlock: int = 0, until_us: int | None = None) -> ClockSetting:
        target = WriteTarget(function=16, address=0x100, unlock=((0x200, (1,)),) * unlock)
        spec = ClockSpec(table=Table.HOLDING, address=0x100, format=self.form, write=target)
        return ClockSetting(
            spec,
            LocalCalendar(ZONE, 900),
            guard_s=GUARD_S,
            across=across,
            until=from_us(until_us or self.now_us + 3600 * S),
            clock=self.clock,
            sleep=self.sleep,
        )

    def carry_out(self, setting: ClockSetting) -> tuple[int, int]:
        """As the executor does, waiting where it is told to; (when the write arrived, what it says)."""

        async def run() -> None:
            for _ in range(9):
                look = await setting.look(self)  # type: ignore[arg-type]
                hurdle = setting.hurdle(look)
                if hurdle is None:
                    await setting.write(self, look)  # type: ignore[arg-type]
                    return
                assert hurdle.until is not None, hurdle.why
                self.now_us = max(self.now_us, to_us(hurdle.until))
            raise AssertionError("it waits for ever")

        asyncio.run(run())
        assert self.arrived is not None
        said = decode_clock(self.form, self.arrived[1], ZONE)
        assert said is not None
        return self.arrived[0], to_us(said)


def touched(low_us: int, high_us: int) -> bool:
    """Whether a quarter of an hour lies within."""
    return low_us // (900 * S) != high_us // (900 * S) or low_us % (900 * S) == 0


@example(beside=0, off_us=0, transit_us=553_334, unlock=2)
@given(
    beside=st.integers(-900 * S, 900 * S),
    off_us=st.integers(-800 * S, 800 * S),
    transit_us=st.integers(100, 700_000),
    unlock=st.integers(0, 2),
)
def test_true_on_arrival_and_never_over_a_boundary(beside: int, off_us: int, transit_us: int, unlock: int) -> None:
    scene = Scene(NOON + beside, off_us, transit_us=transit_us)
    arrived, says = scene.carry_out(scene.setting(unlock=unlock))
    assert abs(arrived - says) < 1000
    shown, shows = arrived + off_us, says
    guard = GUARD_S * S
    assert not touched(min(shown, shows) - guard, max(shown, shows) + guard)


@given(beside=st.integers(-900 * S, 900 * S), off_us=st.integers(-200 * S, 200 * S))
def test_a_clock_of_whole_minutes_is_set_at_a_full_minute(beside: int, off_us: int) -> None:
    scene = Scene(NOON + beside, off_us, form=MINUTES)
    arrived, says = scene.carry_out(scene.setting())
    assert says % (60 * S) == 0
    assert abs(arrived - says) < 1000


@given(beside=st.integers(-900 * S, 900 * S), off_us=st.integers(-(10**8) * S, 10**8 * S))
def test_across_boundaries_both_ends_keep_away(beside: int, off_us: int) -> None:
    scene = Scene(NOON + beside, off_us)
    arrived, says = scene.carry_out(scene.setting(across=True))
    guard = GUARD_S * S
    for end in (says, arrived + off_us):
        assert not touched(end - guard, end + guard)


def look_and_write(scene: Scene, setting: ClockSetting) -> None:
    async def run() -> None:
        look = await setting.look(scene)  # type: ignore[arg-type]
        assert setting.hurdle(look) is None
        scene.now_us += getattr(scene, "then_us", 0)
        await setting.write(scene, look)  # type: ignore[arg-type]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("now_us", "then_us", "held_up_us", "until_us", "why"),
    [
        (NOON - 10 * S, 9 * S, 0, None, "the good moment has passed"),
        (NOON + 400 * S, 0, 400_000, None, "held up in the moment of writing"),
        (NOON + 400 * S, 0, 0, NOON + 400 * S + 200_000, "its time is over"),
    ],
)
def test_what_comes_too_late_is_not_written(
    now_us: int, then_us: int, held_up_us: int, until_us: int | None, why: str
) -> None:
    """Between looking and writing the database commits: that may take its time."""
    scene = Scene(now_us, 1 * S)
    scene.then_us, scene.held_up_us = then_us, held_up_us  # type: ignore[attr-defined]
    with pytest.raises(TooLate, match=why):
        look_and_write(scene, scene.setting(until_us=until_us))
    assert scene.arrived is None


def test_a_time_that_would_leave_only_over_a_new_connection_is_not_written() -> None:
    scene = Scene(NOON + 400 * S, 1 * S)
    scene.waits = True
    with pytest.raises(TooLate, match="the connection ended in the moment of writing"):
        look_and_write(scene, scene.setting())
    assert scene.arrived is None


def test_a_year_that_does_not_fit_is_refused_before_anything_is_marked() -> None:
    form = ClockFormat(encoding="byte_fields", fields=SECONDS.fields, year_base=2000)
    scene = Scene(to_us(datetime(2256, 1, 1, 0, 5, tzinfo=UTC)), -86_400 * 365 * 10 * S, form=form)

    async def run() -> None:
        setting = scene.setting(across=True)
        hurdle = setting.hurdle(await setting.look(scene))  # type: ignore[arg-type]
        assert hurdle is not None
        assert (hurdle.until, "year 256 does not fit" in hurdle.why) == (None, True)

    asyncio.run(run())
