"""Frames of meter models as data: tests/unit/drivers_modbus/frames/<model-id>.toml, described in README.md there.

The rule it keeps: a file of frames is read as strictly as a register map: a misspelt key cannot pass for a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from drivers.data_file import DataFile, Part

FRAMES_DIR: Final = Path(__file__).parents[1] / "unit" / "drivers_modbus" / "frames"
_FRAME_KEYS: Final = {"function", "address", "words", "origin", "values", "absent"}
_CLOCK_KEYS: Final = {"words", "origin", "instant"}
_STATE_KEYS: Final = {"word", "origin", "state"}
_STATUS_KEYS: Final = {"address", "word", "origin", "events"}
_PROFILE_KEYS: Final = {"words", "origin", "instant", "values", "absent"}


@dataclass(frozen=True, slots=True)
class Frame:
    """One answer, and what it says."""

    function: int
    address: int
    """0-based, of the first word."""
    words: tuple[int, ...]
    values: dict[str, Any]
    """Quantity → value in the quantity's own unit."""
    absent: tuple[str, ...]
    """Quantities that the words say have no value."""
    origin: str
    """`recorded: …` or `computed: …`, and how."""


@dataclass(frozen=True, slots=True)
class ClockFrame:
    """The registers of a clock; `instant` None: they name none."""

    words: tuple[int, ...]
    instant: datetime | None


@dataclass(frozen=True, slots=True)
class StateFrame:
    """A state register of a relay or a tariff, and the state that it names (None: none that is known)."""

    word: int
    state: str | None


@dataclass(frozen=True, slots=True)
class StatusFrame:
    """A status register, and the events whose bits are set in it."""

    address: int
    word: int
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordFrame:
    """One record of a stored profile; `instant` None: it has no stamp, or was never filled."""

    words: tuple[int, ...]
    instant: datetime | None
    values: dict[str, Any]
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelFrames:
    """All frames of one model."""

    frames: tuple[Frame, ...]
    clock: tuple[ClockFrame, ...]
    relay: tuple[StateFrame, ...]
    tariff: tuple[StateFrame, ...]
    status: tuple[StatusFrame, ...]
    profile: tuple[RecordFrame, ...]
    lacks: dict[str, str]
    """Quantities that a head-end wants and this meter cannot deliver → why."""


def load_frames(path: Path) -> ModelFrames:
    """One file of frames. Raises `DataFileError` naming line and key."""
    file = DataFile(path.read_text(encoding="utf-8"), file=path.name)
    top = file.top({"frames", "clock", "relay", "tariff", "status", "profile", "lacks"})
    lacks = file.data.get("lacks", {})
    if any(not isinstance(why, str) or not why.strip() for why in lacks.values()):
        top.fail("lacks", "wanted quantity = the reason")
    return ModelFrames(
        frames=tuple(_frame(*entry) for entry in _entries(file, "frames", _FRAME_KEYS)),
        clock=tuple(ClockFrame(_words(p), _instant(p, raw)) for p, raw in _entries(file, "clock", _CLOCK_KEYS)),
        relay=tuple(_state(p) for p, _ in _entries(file, "relay", _STATE_KEYS)),
        tariff=tuple(_state(p) for p, _ in _entries(file, "tariff", _STATE_KEYS)),
        status=tuple(
            StatusFrame(p.integer("address", 0, 0xFFFF), p.integer("word", 0, 0xFFFF), tuple(p.items("events")))
            for p, _ in _entries(file, "status", _STATUS_KEYS)
        ),
        profile=tuple(
            RecordFrame(_words(p), _instant(p, raw), _values(raw), tuple(p.items("absent")))
            for p, raw in _entries(file, "profile", _PROFILE_KEYS)
        ),
        lacks=lacks,
    )


def _entries(file: DataFile, table: str, keys: set[str]) -> Iterator[tuple[Part, dict[str, Any]]]:
    for part, raw in zip(file.parts(table, keys), file.data.get(table, []), strict=True):
        _origin(part)
        yield part, raw


def _frame(part: Part, raw: dict[str, Any]) -> Frame:
    values, absent = _values(raw), tuple(part.items("absent"))
    if not values and not absent:
        part.fail("values", "a frame that says nothing tests nothing")
    function, address = part.one_of("function", (3, 4)), part.integer("address", 0, 0xFFFF)
    return Frame(function, address, _words(part), values, absent, _origin(part))


def _words(part: Part) -> tuple[int, ...]:
    digits = part.text("words").replace(" ", "").replace("\n", "")
    if len(digits) % 4 or any(d not in "0123456789abcdefABCDEF" for d in digits):
        part.fail("words", "wanted registers of four hexadecimal digits each, as on the wire")
    return tuple(int(digits[i : i + 4], 16) for i in range(0, len(digits), 4))


def _origin(part: Part) -> str:
    return part.matching(
        "origin", lambda s: s.startswith(("recorded: ", "computed: ")), "a text `recorded: …` or `computed: …`"
    )


def _values(raw: dict[str, Any]) -> dict[str, Any]:
    return {k: v if isinstance(v, (int, str)) else float(v) for k, v in raw.get("values", {}).items()}


def _instant(part: Part, raw: dict[str, Any]) -> datetime | None:
    instant = raw.get("instant")
    if instant is not None and (not isinstance(instant, datetime) or instant.tzinfo is None):
        part.fail("instant", f"{instant!r}: wanted a date and time with its offset")
    return instant


def _state(part: Part) -> StateFrame:
    return StateFrame(part.integer("word", 0, 0xFFFF), part.text("state") if part.given("state") else None)
