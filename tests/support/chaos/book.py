"""The publishers' book: what was sent, and when it was acknowledged; one JSON line a fact, in a file that outlives all.

Its writer is never killed. Its reader, the harness, reads on where it stopped.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

PLAIN: Final = ("reading", "batch")
"""Sent by meters that publish for themselves: PUBACK acknowledges."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message as it was made; sent again it is the same message."""

    message: int
    kind: str
    """reading, batch, profile, other (a profile with another value for a stored reading), spoilt, stranger."""
    sender: str
    readings: tuple[tuple[int, int], ...] = ()
    """(meter, number)."""
    topic: str = ""
    payload: str = ""
    """Of what has to be in the quarantine, whole."""
    seq: int | None = None
    """Of an upload."""


class Writer:
    """Appends; whoever reads sees whole lines only."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def made(self, entry: Entry) -> None:
        """Put down before it is sent for the first time."""
        self._put(
            {
                "m": entry.message,
                "k": entry.kind,
                "by": entry.sender,
                "r": entry.readings,
                "topic": entry.topic,
                "payload": entry.payload,
                "seq": entry.seq,
            }
        )

    def acknowledged(self, message: int, at_ns: int) -> None:
        """PUBACK (plain) or the head-end's own confirmation (uploads) was read at this instant."""
        self._put({"a": message, "t": at_ns})

    def _put(self, fact: dict[str, Any]) -> None:
        self._file.write(json.dumps(fact, separators=(",", ":")) + "\n")
        self._file.flush()


@dataclass
class Book:
    """All that the publishers put down so far, and the broker's kills, which put PUBACKs into doubt."""

    path: Path
    entries: dict[int, Entry] = field(default_factory=dict)
    acks: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Message → wall clocks [ns since 1970] of its acknowledgements."""
    doubts: list[tuple[int, int]] = field(default_factory=list)
    """(from when PUBACKs may not have been saved, kill of the broker) [wall clock, ns since 1970]."""
    sent: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Meter → numbers sent."""
    certain: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Meter → numbers acknowledged beyond doubt, as of the last `settle`."""
    _offset: int = 0
    _rest: bytes = b""
    _open: set[int] = field(default_factory=set)

    def read_on(self) -> None:
        """Take what was added."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            added = file.read()
        self._offset += len(added)
        *lines, self._rest = (self._rest + added).split(b"\n")
        for line in lines:
            fact = json.loads(line)
            if "a" in fact:
                self.acks[fact["a"]].append(fact["t"])
            else:
                entry = Entry(
                    fact["m"],
                    fact["k"],
                    fact["by"],
                    tuple((meter, number) for meter, number in fact["r"]),
                    fact["topic"],
                    fact["payload"],
                    fact["seq"],
                )
                self.entries[entry.message] = entry
                self._open.add(entry.message)
                if entry.kind != "other":
                    for meter, number in entry.readings:
                        self.sent[meter].add(number)

    def settle(self) -> None:
        """Book the readings of every message that is acknowledged beyond doubt. All kills so far must be known."""
        for message in [m for m in self._open if self.is_certain(m)]:
            self._open.discard(message)
            entry = self.entries[message]
            if entry.kind != "other":
                for meter, number in entry.readings:
                    self.certain[meter].add(number)

    def is_certain(self, message: int) -> bool:
        """Acknowledged by the head-end; or by PUBACK, and it had to be in the broker's store when that was killed."""
        acks = self.acks.get(message, ())
        if self.entries[message].seq is not None:
            return bool(acks)
        return any(not any(since <= at <= killed for since, killed in self.doubts) for at in acks)

    def in_doubt(self) -> list[Entry]:
        """Messages with PUBACKs that a kill of the broker put into doubt, and no other acknowledgement."""
        return [self.entries[m] for m in sorted(self._open) if self.acks.get(m)]

    def quarantined(self) -> dict[tuple[str, bytes], bool]:
        """(topic, payload) of what belongs into the quarantine → whether it must be there (else: it may)."""
        return {
            (entry.topic, entry.payload.encode()): self.is_certain(message)
            for message, entry in self.entries.items()
            if entry.kind in ("spoilt", "stranger")
        }

    def others(self) -> dict[tuple[int, int], bool]:
        """(meter, number) of readings that were sent with another value too → whether that was confirmed."""
        return {
            entry.readings[0]: self.is_certain(message)
            for message, entry in self.entries.items()
            if entry.kind == "other"
        }

    def confirmed_seq(self) -> dict[str, tuple[int, int]]:
        """Concentrator → (highest number confirmed, highest number sent)."""
        found: dict[str, tuple[int, int]] = {}
        for message, entry in self.entries.items():
            if entry.seq is not None:
                confirmed, sent = found.get(entry.sender, (0, 0))
                found[entry.sender] = (
                    max(confirmed, entry.seq if self.acks.get(message) else 0),
                    max(sent, entry.seq),
                )
        return found
