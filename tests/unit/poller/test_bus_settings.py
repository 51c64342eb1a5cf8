"""What the settings say of buses reaches them, and says by itself what the drivers would do anyway."""

from __future__ import annotations

from dataclasses import asdict

from drivers.modbus.bus import BusSettings
from headend.ingest.poll_buses import bus_settings
from headend.settings import Database, Poll, Settings


def _of(**poll: object) -> BusSettings:
    return bus_settings(Settings(database=Database(dsn="dbname=x"), poll=Poll(**poll)))  # type: ignore[arg-type]


def test_defaults_are_those_of_the_drivers() -> None:
    assert _of() == BusSettings()


def test_every_setting_of_a_bus_reaches_it() -> None:
    given = {
        "timeout_s": 2.5, "timeout_min_s": 0.3, "connect_timeout_s": 7.0, "retries": 3, "turnaround_s": 0.1,
        "inter_frame_s": 0.05, "late_s": 9.0, "breaker_failures": 5, "breaker_backoff_s": 30.0,
        "breaker_backoff_max_s": 600.0,
    }  # fmt: skip
    found = asdict(_of(**given))
    assert {name: found[name] for name in given} == given


def test_a_gateway_is_looked_for_several_times_a_period() -> None:
    assert [_of(period_s=period_s).backoff_max_s for period_s in (1, 20, 900)] == [1.0, 5.0, 60.0]


def test_the_shortest_wait_is_never_longer_than_the_longest() -> None:
    assert _of(timeout_s=0.1).timeout_min_s == 0.1
