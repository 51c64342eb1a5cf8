"""A meter that goes on with another multiplier: what is said of a day does not depend on the days settled with it."""

from __future__ import annotations

from datetime import timedelta

from headend.domain.quality import ValidationFlag as Flag
from support.vee import MONDAY, Bench


def test_a_register_is_judged_by_the_installation_that_serves() -> None:
    # x 1 until Monday noon, x 40 from then on. On Tuesday one reading is 7,000 Wh too high: 60 A, all that is known of
    # a direct connection, do not carry that in a quarter of an hour, what may stand before transformers does.
    monday, tuesday = Bench(MONDAY), Bench(MONDAY + timedelta(days=1))
    noon = monday.at("12:00")
    one = monday.installed(until=noon)
    scope = {"scope_from_us": one.from_us, "scope_to_us": 1 << 60}
    first = monday.installed(until=noon, **scope)
    then = monday.installed(since=noon, multiplier_e4=400_000, **scope)
    start = monday.at("00:00")
    registers = [(start + k * timedelta(minutes=15), 10 * k + (7000 if k == 96 + 24 else 0)) for k in range(2 * 96 + 1)]
    together = monday.settle(registers, first, then, days=2).flags[96:]
    alone = tuesday.settle(registers, then).flags
    assert together == alone
    assert together[23] & Flag.REGISTER_DECREASED == 0
    assert together[24] & Flag.RESET
