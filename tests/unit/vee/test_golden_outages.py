"""Power failures worked by hand: what was used in a gap of which part was dark.

As in test_golden.py: registers in Wh at local times on a 15-min grid, Monday 2 March 2026, 4 intervals to an hour.
"""

from __future__ import annotations

from reconciliation.validation import Flag
from support.vee import Bench, methods


def test_an_outage_of_half_an_hour() -> None:
    # 10:00 1,000, 11:00 1,030; power failed at 10:15 and came back at 10:45: 30 Wh in the 15 + 15 min with power
    bench = Bench()
    found = bench.settle([("10:00", 1_000), ("11:00", 1_030)], dark=bench.outage(("10:15", True), ("10:45", False)))
    assert found.between(40, 44) == ([15, 0, 0, 15], "EZZE")
    assert methods(found, 40, 44) == {Flag.BY_LINE, 0}
    assert not any(flags & Flag.MISSING for flags in found.flags[41:43]), "nothing is missing: it is known"


def test_an_outage_between_the_instants_leaves_part_intervals_their_share() -> None:
    # Failed 10:20, back 10:50: with power 20 + 10 = 30 min for 60 Wh, 2 Wh/min
    # 10:00-10:15 30; 10:15-10:20 10, then dark; 10:30-10:45 wholly dark; 10:45-10:50 dark, 10:50-11:00 20
    bench = Bench()
    found = bench.settle([("10:00", 1_000), ("11:00", 1_060)], dark=bench.outage(("10:20", True), ("10:50", False)))
    assert found.between(40, 44) == ([30, 10, 0, 20], "EEZE")


def test_what_is_not_certain_of_an_outage_is_no_outage() -> None:
    # "failed at 10:15, give or take 15 min" (a status bit, seen at the next poll): certainly dark from 10:30 only
    bench = Bench()
    found = bench.settle(
        [("10:00", 1_000), ("11:00", 1_045)], dark=bench.outage(("10:15", True, 900.0), ("10:45", False))
    )
    # 45 Wh in 30 + 15 min with power: 1 Wh/min
    assert found.between(40, 44) == ([15, 15, 0, 15], "EEZE")


def test_an_outage_over_a_whole_gap_in_which_nothing_was_used() -> None:
    # 13:00 2,000 and 16:00 2,000; failed 12:59:58 (2 s before the last reading was stamped), back at 16:00
    bench = Bench()
    dark = bench.outage(("12:59:58", True), ("16:00", False))
    found = bench.settle([("12:45", 1_990), ("13:00", 2_000), ("16:00", 2_000), ("16:15", 2_010)], dark=dark)
    assert found.between(51, 65) == ([10] + [0] * 12 + [10], "M" + "Z" * 12 + "M")


def test_an_outage_against_the_registers_is_not_believed() -> None:
    # the same, but the register rose by 12 Wh: there was power. 12 Wh in 12 quarters, estimated like any other gap
    bench = Bench()
    dark = bench.outage(("12:59:58", True), ("16:00", False))
    found = bench.settle([("13:00", 2_000), ("16:00", 2_012)], dark=dark)
    assert found.between(52, 64) == ([1] * 12, "E" * 12)
    # nor one that leaves 9,000 Wh a single minute: 60 A x 230 V x 1.5 carry 345 Wh in it
    dark = bench.outage(("13:01", True), ("16:00", False))
    assert bench.settle([("13:00", 2_000), ("16:00", 11_000)], dark=dark).quality[52:64] == "E" * 12


def test_an_outage_during_which_the_meter_was_read_is_not_believed() -> None:
    # read at 10:30, in the middle of what it says was dark: 10 Wh up to there, 20 Wh after it
    bench = Bench()
    dark = bench.outage(("10:05", True), ("10:55", False))
    found = bench.settle([("10:00", 1_000), ("10:30", 1_010), ("11:00", 1_030)], dark=dark)
    assert found.between(40, 44) == ([5, 5, 10, 10], "IIII")


def test_an_outage_in_a_long_gap_has_none_of_the_shape() -> None:
    # Gap 08:00-11:00 of 240 Wh; the reference day used 10 a quarter all through; dark from 09:00 to 10:00: the other
    # 8 quarters share 240 Wh, 30 each
    bench = Bench()
    past = [bench.reference(3, dict.fromkeys(range(96), 10))]
    dark = bench.outage(("09:00", True), ("10:00", False))
    found = bench.settle([("08:00", 0), ("11:00", 240)], past=past, dark=dark)
    assert found.between(32, 44) == ([30] * 4 + [0] * 4 + [30] * 4, "EEEEZZZZEEEE")
    assert methods(found, 32, 36) == {Flag.BY_REFERENCE_DAYS}
    # a reference that used energy in the dark hour only has nothing to say of the rest: evenly, 30 each again
    odd = bench.settle([("08:00", 0), ("11:00", 240)], past=[bench.reference(3, {37: 9})], dark=dark)
    assert odd.energy == found.energy
    assert methods(odd, 32, 36) == {Flag.EVENLY}


def test_an_outage_over_midnight() -> None:
    # 22:00 to 02:00, 24 Wh, dark from 23:00 to 01:00: 24 Wh in the 8 quarters with power, 3 each; both days alike,
    # and the same whether they are settled together or one by one
    bench = Bench()
    readings = [("22:00", 600), ("+1 02:00", 624)]
    dark = bench.outage(("23:00", True), ("+1 01:00", False))
    both = bench.settle(readings, days=2, dark=dark)
    assert both.between(88, 104) == ([3] * 4 + [0] * 8 + [3] * 4, "EEEE" + "Z" * 8 + "EEEE")
    assert bench.settle(readings, dark=dark).energy == both.energy[:96]
    assert bench.settle(readings, dark=dark).quality == both.quality[:96]


def test_events_that_make_no_outage() -> None:
    # a failure told twice counts from the second one; a return without a failure, and a failure without a return,
    # say nothing; next to a reading whose clock is suspect no event can be placed
    bench = Bench()
    readings = [("10:00", 1_000), ("11:00", 1_030)]
    twice = bench.outage(("10:00", True), ("10:15", True), ("10:45", False), ("10:46", False))
    assert bench.settle(readings, dark=twice).quality[40:44] == "EZZE"
    for lone in (bench.outage(("10:15", True)), bench.outage(("10:45", False)), bench.outage()):
        assert bench.settle(readings, dark=lone).quality[40:44] == "EEEE"
    suspect = {1: bench.readings(readings, suspect=["11:00"])}
    assert bench.settle(suspect, dark=bench.outage(("10:15", True), ("10:45", False))).quality[40:44] == "EEEE"


def test_an_outage_changes_nothing_that_was_measured() -> None:
    # read at 10:00, 10:15, 10:30 although it was dark from 10:00 to 10:15: what was read was measured
    bench = Bench()
    found = bench.settle(
        [("10:00", 1_000), ("10:15", 1_000), ("10:30", 1_009)], dark=bench.outage(("10:00", True), ("10:15", False))
    )
    assert found.between(40, 42) == ([0, 9], "MM")


def test_an_outage_is_cut_off_at_the_readings() -> None:
    # 13:00 2,000 and 16:00 2,002; failed 12:59:55, back at 15:59:56: dark from 13:00, 4 s with power for 2 Wh
    # (60 A x 230 V x 1.5 carry 23 Wh in 4 s)
    bench = Bench()
    dark = bench.outage(("12:59:55", True), ("15:59:56", False))
    found = bench.settle([("13:00", 2_000), ("16:00", 2_002)], dark=dark)
    assert found.between(52, 64) == ([0] * 11 + [2], "Z" * 11 + "E")


def test_a_meter_in_the_dark_beside_one_with_power_is_no_outage() -> None:
    # Meter 1 is dark from 10:00 until it is taken out at 10:20; meter 2 is read at 10:20 and 11:00: nothing used.
    # 10:00-10:15 is zero by event; in 10:15-10:30 the new meter had power for ten minutes: an estimate of zero
    bench = Bench()
    old = bench.installed(1, until="10:20", end_import_wh=500)
    new = bench.installed(2, "10:20", start_import_wh=0)
    readings = {1: bench.readings([("10:00", 500)]), 2: bench.readings([("11:00", 0)])}
    found = bench.settle(readings, old, new, dark=bench.outage(("10:00", True), ("10:20", False)))
    assert found.between(40, 44) == ([0] * 4, "ZEEE")
