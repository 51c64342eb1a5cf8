"""Rebirths: each node of whom an alias is unknown is asked, and not again for a while."""

from __future__ import annotations

from drivers.mqtt.sparkplug import Payload
from headend.ingest.item import Item, QuarantineEntry
from headend.ingest.rebirths import EVERY_S, Rebirths

NOW_US = 1_795_000_000_000_000


class Line:
    """A connection that may be away."""

    def __init__(self) -> None:
        self.up = True
        self.sent: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes) -> bool:
        if self.up:
            self.sent.append((topic, payload))
        return self.up

    def topics(self) -> list[str]:
        topics = [topic for topic, _ in self.sent]
        self.sent.clear()
        return topics


def item(topic: str, reason: str | None = "unknown_alias") -> Item:
    quarantine = () if reason is None else (QuarantineEntry(reason, "detail"),)
    return Item(channel="mqtt", origin=topic, received_us=NOW_US, payload=b"", quarantine=quarantine)


def test_the_nodes_of_unknown_aliases_are_asked_once_so_long() -> None:
    line = Line()
    rebirths = Rebirths(line.publish)
    items = [
        item("spBv1.0/North/DDATA/gw1/m1"),
        item("spBv1.0/North/DDATA/gw1/m2"),
        item("spBv1.0/North/DDATA/gw2/m1"),
        item("spBv1.0/North/DDATA/gw3/m1", None),
        item("tele/plug/SENSOR", "not_json"),
    ]
    rebirths.ask(items, now_s=100.0, now_us=NOW_US)
    (command,) = Payload.FromString(line.sent[0][1]).metrics
    assert (command.name, command.boolean_value) == ("Node Control/Rebirth", True)
    assert line.topics() == ["spBv1.0/North/NCMD/gw1", "spBv1.0/North/NCMD/gw2"]
    rebirths.ask(items, now_s=100.0 + EVERY_S - 1, now_us=NOW_US)
    assert line.topics() == []
    rebirths.ask(items[:1], now_s=100.0 + EVERY_S, now_us=NOW_US)
    assert line.topics() == ["spBv1.0/North/NCMD/gw1"]
    assert len(rebirths._asked_s) == 1  # who has not been asked lately is forgotten


def test_who_could_not_be_asked_is_asked_with_the_next_message() -> None:
    line = Line()
    rebirths = Rebirths(line.publish)
    line.up = False
    rebirths.ask([item("spBv1.0/North/DDATA/gw1/m1")], now_s=100.0, now_us=NOW_US)
    line.up = True
    rebirths.ask([item("spBv1.0/North/DDATA/gw1/m1")], now_s=101.0, now_us=NOW_US)
    assert line.topics() == ["spBv1.0/North/NCMD/gw1"]
