"""The supervisor's arithmetic with a clock of our own and services made of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from headend.embedded.errors import EmbeddedError
from headend.embedded.supervisor import Backoff, Supervisor


class Fake:
    def __init__(self, name: str, journal: list[str], log_path: Path = Path("/nonexistent/log")) -> None:
        self.name, self.log_path = name, log_path
        self.running, self.exit_status = False, None
        self.broken = False
        self._journal = journal

    def start(self) -> None:
        if self.broken:
            raise EmbeddedError(f"{self.name} is broken")
        self._journal.append(f"+{self.name}")
        self.running, self.exit_status = True, None

    def stop(self) -> None:
        if self.running:
            self._journal.append(f"-{self.name}")
        self.running = False

    def die(self, status: int) -> None:
        self.running, self.exit_status = False, status


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def journal() -> list[str]:
    return []


def test_stops_in_reverse_order(journal: list[str]) -> None:
    with Supervisor() as supervisor:
        for name in "abc":
            supervisor.start(Fake(name, journal))
    assert journal == ["+a", "+b", "+c", "-c", "-b", "-a"]


def test_service_that_fails_its_first_start_is_not_kept(journal: list[str]) -> None:
    supervisor, broken = Supervisor(), Fake("a", journal)
    broken.broken = True
    with pytest.raises(EmbeddedError):
        supervisor.start(broken)
    assert supervisor.check() == []


def test_dead_service_is_reported_once_with_its_log_and_started_when_due(journal: list[str], tmp_path: Path) -> None:
    clock = Clock()
    supervisor = Supervisor(Backoff(first_s=2.0, most_s=5.0, healthy_after_s=60.0), clock)
    log = tmp_path / "log"
    log.write_text("first\nlast words\n")
    service, other = Fake("a", journal, log), Fake("b", journal)
    supervisor.start(service)
    supervisor.start(other)
    assert supervisor.check() == []

    service.die(-9)
    (death,) = supervisor.check()
    assert (death.service, death.exit_status, death.failures, death.next_start_in_s) == ("a", -9, 1, 2.0)
    assert death.reason.endswith("last words")
    clock.now += 1.9
    assert supervisor.check() == []
    assert not service.running
    clock.now += 0.2
    assert supervisor.check() == []
    assert service.running
    assert journal == ["+a", "+b", "+a"]


def test_pauses_double_up_to_a_bound_and_are_forgotten_after_health(journal: list[str]) -> None:
    clock = Clock()
    supervisor = Supervisor(Backoff(first_s=2.0, most_s=5.0, healthy_after_s=60.0), clock)
    service = Fake("a", journal)
    supervisor.start(service)
    service.die(1)
    service.broken = True
    pauses = []
    for _ in range(4):
        (death,) = supervisor.check()
        pauses.append(death.next_start_in_s)
        clock.now += death.next_start_in_s
    assert pauses == [2.0, 4.0, 5.0, 5.0]
    assert death.exit_status is None
    assert death.reason == "a is broken"

    service.broken = False
    supervisor.check()
    assert service.running
    clock.now += 59
    supervisor.check()
    service.die(1)
    assert supervisor.check()[0].failures == 5
    clock.now += 5
    supervisor.check()
    clock.now += 60
    supervisor.check()
    service.die(1)
    assert supervisor.check()[0].failures == 1


def test_nothing_is_restarted_after_the_stop(journal: list[str]) -> None:
    supervisor, service = Supervisor(), Fake("a", journal)
    supervisor.start(service)
    supervisor.stop()
    assert supervisor.check() == []
    assert journal == ["+a", "-a"]


@pytest.mark.parametrize(("first_s", "most_s"), [(0.0, 1.0), (2.0, 1.0)])
def test_backoff_that_makes_no_sense_is_refused(first_s: float, most_s: float) -> None:
    with pytest.raises(ValueError, match="first_s"):
        Backoff(first_s=first_s, most_s=most_s)


def test_backoff_does_not_overflow() -> None:
    assert Backoff().pause_s(10_000) == 30.0
