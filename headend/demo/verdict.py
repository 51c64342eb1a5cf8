"""Holds what the head-end found against the simulator's ground truth: pure, and the only place that knows both."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ACCUSING = frozenset({"under_registering", "stuck", "wrong_multiplier", "wrong_area", "reversed_polarity"})
"""Kinds of finding that send a crew to one household's door."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What was planted, and which readings the neighbourhood has produced."""

    planted: tuple[Mapping[str, Any], ...]
    history_until: datetime
    history_readings: Mapping[str, int]
    """Readings up to `history_until` per meter that concentrators keep for us."""
    modbus_meters: frozenset[str]
    seed: int

    @classmethod
    def load(cls, path: Path) -> Truth:
        """Read the simulator's truth.json."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            planted=tuple(data["planted"]),
            history_until=datetime.fromisoformat(data["history"]["until"]),
            history_readings=data["history"]["readings"],
            modbus_meters=frozenset(data["modbus_meters"]),
            seed=data["seed"],
        )


@dataclass(frozen=True, slots=True)
class Heard:
    """What the head-end knows of the field beside readings and findings."""

    events: Collection[tuple[str, str]] = ()
    """(meter, kind of event)."""
    discovered: Collection[str] = ()
    """Devices that nobody has imported."""
    not_read: Collection[str] = ()
    """Polled meters that do not answer."""


def judge(
    truth: Truth, findings: Sequence[Mapping[str, Any]], heard: Heard = Heard(), now: datetime | None = None
) -> dict[str, Any]:
    """Each planted fault as found or missed, and who was accused although nothing was planted there.

    A fault is *found* when an open finding points at its meter (its area, where no meter is at fault), and *named* when
    the finding says the right cause as well (and the right area, for a meter on the wrong one). What tells of itself
    otherwise is *seen*, once it has happened by `now` (None: all of it has).
    """
    planted = [_verdict(fault, findings) | _sight(fault, heard, now) for fault in truth.planted]
    spoilt = [fault for fault in truth.planted if not _tells(fault)]
    faulty_meters = {fault["meter"] for fault in spoilt if fault["meter"]}
    faulty_areas = {area for fault in spoilt for area in (fault["area"], fault.get("correct_area"))}
    to_see = [verdict for verdict in planted if verdict["seen"] is not None]
    counted = [verdict for verdict in planted if verdict["counted"]]
    return {
        "planted": planted,
        "found": sum(verdict["found"] for verdict in counted),
        "named": sum(verdict["named"] for verdict in counted),
        "of": len(counted),
        "seen": sum(verdict["seen"] for verdict in to_see),
        "to_see": len(to_see),
        "wrongly_accused": [
            f["meter"]
            for f in findings
            if f["kind"] in ACCUSING and f["meter"] is not None and f["meter"] not in faulty_meters
        ],
        "false_alarms": [
            f"{f['area']}: {f['kind']}" for f in findings if f["meter"] is None and f["area"] not in faulty_areas
        ],
    }


def _tells(fault: Mapping[str, Any]) -> bool:
    """Whether it leaves the readings as they are, and is to be seen in some other way."""
    return bool(fault.get("events") or fault.get("sign"))


def _sight(fault: Mapping[str, Any], heard: Heard, now: datetime | None) -> dict[str, Any]:
    """Whether it was seen, and how; None where there is nothing to be seen, or not yet."""
    begins = fault.get("begins")
    if not _tells(fault) or (now is not None and begins and datetime.fromisoformat(begins) > now):
        return {"seen": None, "seen_as": []}
    ways = [kind for kind in fault.get("events", ()) if (fault["meter"], kind) in heard.events]
    if fault.get("sign") and fault["meter"] in getattr(heard, fault["sign"]):
        ways.append(fault["sign"])
    return {"seen": bool(ways), "seen_as": ways}


def _verdict(fault: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    pointing = [
        f
        for f in findings
        if f["meter"] == fault["meter"] and (fault["meter"] is not None or f["area"] == fault["area"])
    ]
    named = [
        f
        for f in pointing
        if f["kind"] == fault["fault"]
        and (fault["fault"] != "wrong_area" or f["correct_area"] == fault["correct_area"])
    ]
    best = max(named or pointing, key=lambda f: f["confidence"], default=None)
    return {
        "fault": fault["fault"],
        "area": fault["area"],
        "meter": fault["meter"],
        "correct_area": fault.get("correct_area"),
        "onset": fault.get("onset"),
        "energy_wh": fault.get("energy_wh"),
        "counted": fault["counted"],
        "found": bool(pointing),
        "named": bool(named),
        "as": None if best is None else best["kind"],
        "confidence": None if best is None else round(best["confidence"], 3),
        "estimated_wh": None if best is None else round(best["energy_wh"]),
    }


def missing_readings(truth: Truth, stored: Mapping[str, int]) -> dict[str, int]:
    """Readings of the history that are not stored, per meter; empty when all arrived."""
    return {
        meter: wanted - stored.get(meter, 0)
        for meter, wanted in truth.history_readings.items()
        if stored.get(meter, 0) < wanted
    }
