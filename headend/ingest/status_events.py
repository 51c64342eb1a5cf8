"""From a meter's status registers to events: a bit that changed since the register was read last. Pure.

The rule it keeps: only a newer word than the last known one says anything, so the same one read or written twice, or a
late one, tells nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.base import MeterIdentity
from drivers.events import DeviceEvent, EventKind
from drivers.modbus.features import StatusSpec

Bits = Mapping[int, tuple[EventKind, EventKind | None]]
"""Bit (0 = lowest) → event when it is set, event when it is cleared again (None: not told)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusWord:
    """A status register as it was read, with what its bits mean: it can be kept and understood later."""

    meter: MeterIdentity
    register: str
    """Table and address."""
    word: int
    bits: Bits
    instant_us: int
    """UTC, µs since 1970."""
    uncertainty_ms: int = 0


def status_word(
    meter: MeterIdentity, spec: StatusSpec, words: Sequence[int], *, instant_us: int, uncertainty_ms: int
) -> StatusWord:
    """What a read of the register that `spec` describes brought; `words`: the one register."""
    (word,) = words
    return StatusWord(
        meter=meter,
        register=f"{spec.table.value} {spec.address}",
        word=word,
        bits=spec.bits,
        instant_us=instant_us,
        uncertainty_ms=uncertainty_ms,
    )


def events_of(now: StatusWord, previous: int | None, previous_us: int | None) -> tuple[DeviceEvent, ...]:
    """What happened between the previous word (None: the register was never read) and this one.

    Seen at `now.instant_us`; it happened somewhere since the last poll, and the uncertainty says how long ago that was.
    A bit that is set when the register is read for the first time began before anybody looked.
    """
    if previous_us is not None and previous_us >= now.instant_us:
        return ()
    since_ms = 0 if previous_us is None else -((previous_us - now.instant_us) // 1000)
    said: dict[EventKind, list[str]] = {}
    for bit, (when_set, when_cleared) in sorted(now.bits.items()):
        is_set, was_set = bool(now.word >> bit & 1), bool((previous or 0) >> bit & 1)
        kind = when_set if is_set else when_cleared
        if is_set != was_set and kind is not None:
            said.setdefault(kind, []).append(f"bit {bit} {'set' if is_set else 'cleared'}")
    first = "" if previous_us is not None else "; it stood so when the register was first read"
    return tuple(
        DeviceEvent(
            kind=kind,
            instant_us=now.instant_us,
            uncertainty_ms=since_ms + now.uncertainty_ms,
            detail=f"{now.register}: {', '.join(bits)}{first}",
        )
        for kind, bits in said.items()
    )
