"""Topics of the own format, read and written: `PREFIX/meter/{manufacturer}/{serial}/…`, `PREFIX/concentrator/{code}/…`.

Pure. A name in a topic is one level: no slash, no wildcard, no control character, at most 64 characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from drivers.base import MeterIdentity
from drivers.errors import PayloadError

MAX_NAME: Final = 64
_FORBIDDEN: Final = frozenset("/+#")

MeterKind = Literal["reading", "batch", "columns", "event"]
ConcentratorKind = Literal["profile", "state", "event"]


@dataclass(frozen=True, slots=True)
class MeterTopic:
    """A meter that publishes for itself."""

    meter: MeterIdentity
    kind: MeterKind


@dataclass(frozen=True, slots=True)
class ConcentratorTopic:
    """A concentrator that uploads stored profiles, tells events, or says whether it is online."""

    code: str
    kind: ConcentratorKind


def subscriptions(prefix: str) -> tuple[str, ...]:
    """What an ingest listens to. Everything below `meter/` is taken, so that a misspelt topic is seen, not lost."""
    return (f"{prefix}/meter/#", *(f"{prefix}/concentrator/+/{kind}" for kind in ("profile", "state", "event")))


def confirm_topic(prefix: str, code: str) -> str:
    """Where a concentrator hears which of its uploads are committed."""
    return f"{prefix}/concentrator/{code}/confirm"


def parse(topic: str, prefix: str) -> MeterTopic | ConcentratorTopic:
    """Who speaks, and what kind of message it is. Raises PayloadError `unknown_topic` or `bad_name`."""
    head = prefix + "/"
    levels = topic[len(head) :].split("/") if topic.startswith(head) else []
    match levels:
        case ["meter", manufacturer, serial, ("reading" | "batch" | "columns" | "event") as kind]:
            identity = MeterIdentity(check_name(manufacturer, topic), check_name(serial, topic))
            return MeterTopic(identity, kind)
        case ["concentrator", code, ("profile" | "state" | "event") as kind]:
            return ConcentratorTopic(check_name(code, topic), kind)
    raise PayloadError(
        f"no topic of ours; known below {prefix}/ are meter/MANUFACTURER/SERIAL/reading, …/batch, …/columns, …/event, "
        "concentrator/CODE/profile, …/state, …/event",
        peer=topic,
        reason="unknown_topic",
    )


def check_name(name: str, topic: str, where: str = "topic") -> str:
    """A manufacturer, serial or code as given, when it can be one. Raises PayloadError `bad_name`."""
    if not name or len(name) > MAX_NAME or not name.isprintable() or not _FORBIDDEN.isdisjoint(name):
        raise PayloadError(
            f"{where}: {name[:80]!r} is no name: 1 to {MAX_NAME} printable characters without / + #",
            peer=topic,
            reason="bad_name",
        )
    return name


def parse_identity(text: str, topic: str, where: str) -> MeterIdentity:
    """`MANUFACTURER/SERIAL` within a payload. Raises PayloadError `bad_name`."""
    manufacturer, slash, serial = text.partition("/")
    if not slash:
        raise PayloadError(f"{where}: {text[:80]!r} is not MANUFACTURER/SERIAL", peer=topic, reason="bad_name")
    return MeterIdentity(check_name(manufacturer, topic, where), check_name(serial, topic, where))
