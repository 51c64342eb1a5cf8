"""When a process counts as late, and when as gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headend.domain.processes import BEAT_S, GONE, LATE, ProcessState, process_state

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("silent", "state"),
    [
        (timedelta(0), ProcessState.UP),
        (-timedelta(minutes=5), ProcessState.UP),  # another host's clock
        (LATE, ProcessState.UP),
        (LATE + timedelta(microseconds=1), ProcessState.LATE),
        (GONE, ProcessState.LATE),
        (GONE + timedelta(microseconds=1), ProcessState.GONE),
    ],
)
def test_by_how_long_it_has_been_silent(silent: timedelta, state: ProcessState) -> None:
    assert process_state(NOW - silent, None, NOW) is state
    assert process_state(NOW - silent, NOW - silent, NOW) is ProcessState.STOPPED


def test_a_beat_that_is_missed_is_not_late_yet() -> None:
    assert timedelta(seconds=3 * BEAT_S) < LATE < GONE
