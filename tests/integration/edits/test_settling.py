"""Edits through settlement, worked by hand: energy between registers stays, whatever else is read or comes later."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta

import pytest

from headend.domain.quality import Quality, ValidationFlag
from headend.settlement.edit_refusal import EditRefused
from headend.settlement.grid import DayRange
from headend.settlement.inputs import load_inputs
from headend.settlement.intervals import point_intervals
from support.editor import Editor
from support.field import DAY0, QUARTER, T0


def test_a_gap_over_midnight_is_edited_on_both_of_its_days(editor: Editor) -> None:
    # nothing read from 22:15 to 02:00: 16 intervals of 1600 Wh; four are set to 10 each, 1560 / 12 = 130 is left each
    editor.household(without=range(96 - 7, 96 + 8))
    assert editor.energies("H", 0, first=88, count=8) == [100] * 8
    row = editor.set("H", T0 + 94 * QUARTER, [10, 10, 10, 10])
    assert row["before_wh"] == [100] * 4
    assert row["before_quality"] == [Quality.ESTIMATED] * 4
    assert editor.marked() == [DAY0, DAY0 + timedelta(days=1)]
    editor.settle()
    assert editor.energies("H", 0, first=87) == [100, 130, 130, 130, 130, 130, 130, 10, 10]
    assert editor.energies("H", 1, count=9) == [10, 10, 130, 130, 130, 130, 130, 130, 100]
    day = editor.day("H", 0)
    assert day["quality"][93:] == [Quality.ESTIMATED, Quality.EDITED, Quality.EDITED]
    assert day["flags"][93] & ValidationFlag.BY_REFERENCE_DAYS or day["flags"][93] & ValidationFlag.EVENLY
    assert not day["flags"][94] & (ValidationFlag.BY_REFERENCE_DAYS | ValidationFlag.EVENLY | ValidationFlag.BY_LINE)
    editor.undo("H", row["edit_id"])
    editor.settle()
    assert editor.energies("H", 0) == editor.energies("H", 1) == [100] * 96
    assert editor.field.one("select count(*) from edit where undone_at is not null") == 1


def test_a_measured_interval_is_refused_with_the_numbers_and_a_longer_stretch_is_not(editor: Editor) -> None:
    editor.household()
    with pytest.raises(EditRefused) as refused:
        editor.set("H", T0 + 40 * QUARTER, [90])
    assert refused.value.code == "does-not-hold"
    assert "the registers say 100 Wh, the edit gives 90 Wh" in refused.value.reason
    assert "can take the 10 Wh left" in refused.value.reason
    assert editor.marked() == []
    editor.set("H", T0 + 40 * QUARTER, [90, 110])
    editor.settle()
    assert editor.energies("H", 0, first=39, count=4) == [100, 90, 110, 100]
    assert sum(editor.energies("H", 0)) == 9600  # type: ignore[arg-type]


def test_a_total_is_spread_by_the_shape_that_is_there(editor: Editor) -> None:
    editor.household(without=range(40, 51))
    editor.set("H", T0 + 40 * QUARTER, [50])
    editor.set("H", T0 + 40 * QUARTER, 30, intervals=2)
    # 12 intervals of 1200 Wh: 50 + 11 · 1150 / 11 (104.5…); then 30 over 50 : 105 = 9.68 : 20.32
    editor.settle()
    assert editor.energies("H", 0, first=40, count=2) == [10, 20]
    assert sum(editor.energies("H", 0, first=39, count=13)) == 1300  # type: ignore[arg-type]


def test_a_reading_set_aside_is_as_though_it_had_not_come_and_stays_stored(editor: Editor) -> None:
    meter = editor.household()
    wrong = T0 + 40 * QUARTER
    editor.field.run("update register_reading set import_wh = 4090 where meter_id = %s and ts = %s", [meter, wrong])
    editor.field.mark_reading(1, [wrong])
    editor.settle()
    assert editor.energies("H", 0, first=39, count=2) == [190, 10]
    row = editor.set_aside("H", "h", wrong)
    editor.settle()
    assert editor.energies("H", 0, first=39, count=2) == [100, 100]
    assert editor.day("H")["flags"][39] & ValidationFlag.SET_ASIDE
    assert editor.day("H")["quality"][38:42] == [Quality.MEASURED, Quality.INTERPOLATED, Quality.INTERPOLATED, 1]
    assert editor.field.one("select count(*) from register_reading where ts = %s", [wrong]) == 1
    editor.set("H", T0 + 39 * QUARTER, [150, 50])
    editor.settle()
    assert editor.energies("H", 0, first=39, count=2) == [150, 50]
    editor.undo("H", row["edit_id"])
    editor.settle()
    assert editor.energies("H", 0, first=39, count=2) == [150, 50], "the longer stretch overrules the register inside"


def test_many_readings_set_aside_before_a_day_leave_its_near_side_where_it_was(editor: Editor) -> None:
    """As though they had never come: the gap begins at the last one that is believed, however many are not."""
    editor.household(days=5)
    editor.set_aside("H", "h", T0 + 50 * QUARTER, T0 + 250 * QUARTER)
    editor.settle()
    told = [editor.energies("H", d) for d in range(6)]
    flags = [editor.day("H", d)["flags"] for d in range(6)]
    never = editor.field
    never.run("delete from register_reading where ts between %s and %s", [T0 + 50 * QUARTER, T0 + 250 * QUARTER])
    never.run("alter table edit disable trigger edit_immutable")
    never.run("delete from edit")
    never.mark(1, [DAY0 + timedelta(days=d) for d in range(6)])
    editor.settle()
    assert [editor.energies("H", d) for d in range(6)] == told
    assert [sum(bool(f & ValidationFlag.SET_ASIDE) for f in day) for day in flags] == [47, 96, 58, 0, 0, 0]


def test_in_an_open_gap_values_stand_until_a_register_makes_them_impossible(editor: Editor) -> None:
    meter = editor.household(days=1)
    tomorrow = T0 + timedelta(days=1)
    editor.set("H", tomorrow + 4 * QUARTER, [500, 600])
    editor.settle()
    assert editor.energies("H", 1, count=7) == [None, None, None, None, 500, 600, None]
    assert editor.day("H", 1)["quality"][3:7] == [Quality.ABSENT, Quality.EDITED, Quality.EDITED, Quality.ABSENT]

    # the register at 03:00 says 1300 Wh since midnight: 200 Wh are left for the other ten intervals
    editor.field.store_readings([(meter, tomorrow + 12 * QUARTER, 9600 + 1300)])
    editor.field.mark_reading(1, [tomorrow])
    editor.settle()
    assert editor.energies("H", 1, count=13) == [20, 20, 20, 20, 500, 600, 20, 20, 20, 20, 20, 20, None]

    # and the one at 02:00 says 1000: the edit cannot hold any more, and that can be seen
    editor.field.store_readings([(meter, tomorrow + 8 * QUARTER, 9600 + 1000)])
    editor.field.mark_reading(1, [tomorrow])
    editor.settle()
    assert editor.energies("H", 1, count=13) == [125] * 8 + [75] * 4 + [None]
    assert [bool(f & ValidationFlag.EDIT_REFUSED) for f in editor.day("H", 1)["flags"][3:7]] == [0, 1, 1, 0]


def test_a_swap_inside_the_stretch_keeps_both_meters_energy(editor: Editor) -> None:
    field, swap = editor.field, T0 + 42 * QUARTER + timedelta(minutes=7)
    area = field.area()
    old, new, point = field.meter("old"), field.meter("new"), field.point(area, "H")
    field.install(point, old, until=swap, start=0, end=4247)
    field.install(point, new, since=swap, start=10)
    # until 10:30 100 Wh a quarter, then 47 + 53 (63 - 10) over the swap
    stamps = [T0 + k * QUARTER for k in range(97)]
    field.store_readings([(old, at, 100 * k) for k, at in enumerate(stamps[:43])])
    field.store_readings([(new, at, 63 + 100 * k) for k, at in enumerate(stamps[43:])])
    field.mark_reading(area, stamps)
    editor.settle()
    assert editor.energies("H", 0, first=41, count=3) == [100, 100, 100]
    with pytest.raises(EditRefused, match="the registers say 300 Wh, the edit gives 299 Wh"):
        editor.set("H", T0 + 41 * QUARTER, [0, 299, 0])
    editor.set("H", T0 + 41 * QUARTER, [0, 300, 0])
    editor.settle()
    assert editor.energies("H", 0, first=40, count=5) == [100, 0, 300, 0, 100]
    assert sum(editor.energies("H", 0)) == 9600  # type: ignore[arg-type]


def test_what_was_set_aside_of_a_meter_before_it_was_swapped_counts_on_the_days_after_too(editor: Editor) -> None:
    field, swap = editor.field, T0 + 42 * QUARTER
    area = field.area()
    old, new, point = field.meter("old"), field.meter("new"), field.point(area, "H")
    field.install(point, old, until=swap, start=0, end=4200)
    field.install(point, new, since=swap, start=0)
    stamps = [T0 + k * QUARTER for k in range(2 * 96 + 1)]
    field.store_readings([(old, at, 100 * k) for k, at in enumerate(stamps[:43])])
    field.store_readings([(new, at, 100 * k) for k, at in enumerate(stamps[42:])])
    field.mark_reading(area, stamps)
    editor.settle()
    # without the reading at 05:00 two quarters are free to be 90 and 110; the edit reaches into the next day
    editor.set_aside("H", "old", T0 + 20 * QUARTER)
    editor.settle()
    editor.set("H", T0 + 19 * QUARTER, [90, 110] + [100] * 79)
    editor.settle()
    assert editor.energies("H", 0, first=18, count=4) == [100, 90, 110, 100]
    for _ in range(2):
        assert editor.day("H", 1)["quality"][:5] == [Quality.EDITED] * 4 + [Quality.MEASURED]
        field.mark(area, [DAY0 + timedelta(days=1)])  # settled alone: its edit is the same
        editor.settle()


@pytest.mark.parametrize(("start", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25)])
def test_days_on_which_the_clocks_change(make_editor: Callable[..., Editor], start: date, hours: int) -> None:
    editor = make_editor(zone="Europe/Berlin", interval_s=3600)
    field = editor.field
    since = datetime.combine(start, time(), field.zone).astimezone(T0.tzinfo)
    editor.now = since + timedelta(days=3)
    area = field.area()
    _, meter = field.metered(area, "H", since=since)
    stamps = [since + timedelta(hours=k) for k in range(hours + 1) if k in (0, hours)]
    field.store_readings([(meter, at, 100 * ((at - since) // timedelta(hours=1))) for at in stamps])
    field.mark_reading(area, stamps)
    editor.settle()
    editor.set("H", since + timedelta(hours=1), [0, 0, 0, 0])
    editor.settle()
    values = field.rows("select import_wh from interval_day where day = %s", [start])[0]["import_wh"]
    assert len(values) == hours
    assert values[1:5] == [0, 0, 0, 0]
    assert sum(values) == 100 * hours


def test_an_edit_made_on_another_grid_keeps_its_sum_or_says_that_it_cannot(
    make_editor: Callable[..., Editor],
) -> None:
    editor = make_editor()
    editor.household(without=range(33, 60))
    editor.set("H", T0 + 40 * QUARTER, [10, 20, 30, 40])
    editor.set("H", T0 + 49 * QUARTER, [70, 30, 20])
    editor.settle()
    hourly = make_editor(interval_s=3600)
    hourly.field.mark(1, [DAY0])
    hourly.settle()
    values, flags = hourly.energies("H"), hourly.day("H")["flags"]
    assert values[10] == 100
    assert sum(values) == 9600  # type: ignore[arg-type]
    assert [k for k, f in enumerate(flags) if f & ValidationFlag.EDIT_REFUSED] == [12], "12:15 to 13:00 is no hour"
    assert values[12] != 120


def test_rules_judge_what_was_set(editor: Editor) -> None:
    editor.household(days=1)
    editor.set("H", T0 + 100 * QUARTER, [100, 9000])
    editor.settle()
    flags = editor.day("H", 1)["flags"]
    assert not flags[4] & ValidationFlag.ABOVE_CAPACITY
    assert flags[5] & ValidationFlag.ABOVE_CAPACITY, "60 A carry 3.8 kWh in a quarter of an hour"


@pytest.mark.parametrize("holds", [True, False])
def test_a_day_with_an_edit_is_no_reference_for_an_estimate(editor: Editor, holds: bool) -> None:
    # Monday and Tuesday flat, Wednesday all between 10:00 and 11:00, nothing read on Thursday
    field = editor.field
    area = field.area()
    _, meter = field.metered(area, "H")
    register, rows = 0, []
    for k in range(5 * 96 + 1):
        burst = 2 * 96 + 40 < k <= 2 * 96 + 44
        register += 0 if k == 0 else (2400 if burst else 0) if 2 * 96 < k <= 3 * 96 else 100
        if not 3 * 96 < k < 4 * 96:
            rows.append((meter, T0 + k * QUARTER, register))
    field.store_readings(rows)
    field.mark(area, [DAY0 + timedelta(days=d) for d in range(6)])
    editor.settle()
    shaped = editor.energies("H", 3)
    assert shaped[40] > 5 * shaped[0] > 0  # type: ignore[operator]
    start = T0 + (2 * 96 + 40) * QUARTER
    if holds:
        editor.set("H", start, [2399, 2401])
    else:  # a reading that comes late makes it impossible
        late = [(meter, start + n * QUARTER, 100 * 192 + 2400 * n) for n in (1, 2)]
        field.run("delete from register_reading where ts = any(%s)", [[at for _, at, _ in late]])
        editor.set("H", start, [2399])
        field.store_readings(late)
        field.mark_reading(area, [start])
    editor.settle()
    quality = editor.day("H", 2)["quality"][40]
    assert quality == (Quality.EDITED if holds else Quality.MEASURED)
    assert editor.energies("H", 3) == [100] * 96
    editor.field.run("truncate interval_day, balance_day, dirty_day")
    field.mark(area, [DAY0 + timedelta(days=d) for d in range(6)])
    editor.settle()
    assert editor.energies("H", 3) == [100] * 96, "all days in one pass"


def test_as_it_was_known_before_an_edit_there_is_none(editor: Editor) -> None:
    editor.household(without=range(40, 51))
    editor.now = editor.field.one("select clock_timestamp()") + timedelta(hours=1)
    before = editor.now - timedelta(minutes=1)
    row = editor.set("H", T0 + 40 * QUARTER, [10])
    aside = editor.set_aside("H", "h", T0 + 60 * QUARTER)
    between = editor.now + timedelta(minutes=1)
    editor.now += timedelta(minutes=2)
    editor.undo("H", row["edit_id"])
    editor.undo("H", aside["edit_id"])
    days = DayRange(editor.rules.calendar, DAY0, DAY0)

    def known(at: datetime | None) -> tuple[int, bool]:
        with editor.field.store.transaction() as connection:
            inputs = load_inputs(connection, 1, days, editor.rules, at)
            settled = point_intervals(inputs, days, editor.rules, lambda *_: [])
        return int(settled.import_wh[0, 40]), bool(settled.flags[0, 59] & int(ValidationFlag.SET_ASIDE))

    assert known(before) == (100, False)
    assert known(between) == (10, True)
    assert known(None) == (100, False)


def test_a_late_reading_at_one_end_settles_every_day_of_the_edit_again(editor: Editor) -> None:
    """Three days hang on it: the reading marks only its own."""
    meter = editor.household(days=4, without=range(40, 41))
    start, count = T0 + 40 * QUARTER, 2 * 96 + 16
    assert editor.energies("H", 0, first=39, count=2) == [100, 100]
    editor.set("H", start, [200, 0] * (count // 2))
    editor.settle()
    for day in (0, 1, 2):
        assert Quality.EDITED in editor.day("H", day)["quality"]
    editor.field.store_readings([(meter, start, 3990)])
    editor.field.mark_reading(1, [start])
    assert editor.marked() == [DAY0]
    editor.settle()
    assert editor.energies("H", 0, first=39, count=2) == [90, 110]
    for day, refused in ((0, 56), (1, 96), (2, 56)):
        assert editor.energies("H", day)[57:] == [100] * 39
        flags = editor.day("H", day)["flags"]
        assert sum(bool(f & ValidationFlag.EDIT_REFUSED) for f in flags) == refused
