"""An event is told at once and a few times again, always the same; without power there is the last gasp only."""

from __future__ import annotations

import msgspec

from drivers.events import DeviceEvent, EventKind
from drivers.mqtt.payload import Events, decode
from drivers.simulator.days import US
from drivers.simulator.tellings import Tellings, event_payload

AT = 1_795_412_460 * US


def event(kind: EventKind, at_s: float = 0.0, **more: object) -> DeviceEvent:
    """One event so long after AT."""
    return msgspec.convert({"kind": kind, "instant_us": AT + round(at_s * US), **more}, DeviceEvent)


def heard(tellings: Tellings, until_s: int) -> list[tuple[int, str]]:
    """(second, kind) of what is told when somebody looks every second."""
    found = []
    for second in range(until_s):
        for telling in tellings.due(AT + second * US):
            tellings.told(telling, AT + second * US)
            found.append((second, telling.event.kind.value))
    return found


def always(_meter: int, _instant_us: int) -> bool:
    """Power is there."""
    return True


def test_told_at_once_and_again_after_growing_rests() -> None:
    opened = event(EventKind.COVER_OPENED, 3)
    tellings = Tellings([(0, opened)], tellings=4, again_s=2, powered=always)
    assert tellings.next_us() == AT + 3 * US
    assert heard(tellings, 100) == [(s, "cover_opened") for s in (3, 5, 9, 17)]
    assert tellings.next_us() is None


def test_what_is_not_handed_over_stays_due() -> None:
    tellings = Tellings([(0, event(EventKind.COVER_OPENED))], tellings=1, again_s=2, powered=always)
    assert len(tellings.due(AT)) == len(tellings.due(AT + 50 * US)) == 1


def test_the_oldest_is_told_first() -> None:
    events = [(0, event(EventKind.COVER_CLOSED, 2)), (1, event(EventKind.COVER_OPENED, 1))]
    due = Tellings(events, tellings=1, again_s=2, powered=always).due(AT + 9 * US)
    assert [t.event.kind for t in due] == [EventKind.COVER_OPENED, EventKind.COVER_CLOSED]


def test_a_last_gasp_then_silence_then_a_word_of_the_return() -> None:
    events = [(0, event(EventKind.POWER_FAILED, 1)), (0, event(EventKind.POWER_RESTORED, 10))]
    powered = lambda _, at: not AT + 1 * US <= at < AT + 10 * US  # noqa: E731
    told = heard(Tellings(events, tellings=2, again_s=1, powered=powered), 30)
    assert told == [(1, "power_failed"), (10, "power_failed"), (10, "power_restored"), (11, "power_restored")]


def test_the_head_end_understands_it() -> None:
    over = event(EventKind.OVER_VOLTAGE, 0.7, phase=2, detail="high")
    topic = "p/q/meter/Acme/1/event"
    payload = event_payload(over, lead_us=3 * US)
    decoded = decode(topic, payload, prefix="p/q", received_us=AT)
    assert isinstance(decoded, Events)
    (told,) = decoded.events
    assert (told.kind, told.phase, told.detail) == (EventKind.OVER_VOLTAGE, 2, "high")
    assert told.instant_us == AT + 3 * US, "whole seconds of its own clock"
    assert event_payload(over, lead_us=3 * US) == payload
