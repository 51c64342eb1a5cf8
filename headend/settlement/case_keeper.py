"""What a run found becomes cases: the same cause on the same meter is one, however often it is seen.

The rule it keeps: an area is locked while its cases are decided, so that a person's move comes before or after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from headend.domain import cases
from headend.domain.cases import LIVE, CaseState, EngineMove
from headend.domain.sightings import KnownCase, Meaning, Sighting, Strength, is_over, meaning_of
from headend.log import get_logger
from headend.store import findings
from headend.store.pool import Connection

_log = get_logger(__name__)


@dataclass(slots=True)
class Kept:
    """What became of the cases of an area in a run."""

    opened: list[str] = field(default_factory=list)
    """Kinds of the new cases."""
    closed: list[str] = field(default_factory=list)
    """Kinds of the cases that the engine took back."""


def keep(
    connection: Connection,
    area_id: int,
    rows: Sequence[Mapping[str, Any]],
    *,
    first: date,
    last: date,
    now: datetime,
    kinds: Sequence[str] | None = None,
) -> Kept:
    """Keep what a run on the local days `first` to `last` found, strongest first.

    `kinds`: the only ones that the run could judge; None: all.
    """
    findings.lock_area(connection, area_id)
    seen: list[int] = []
    kept = Kept()
    told: set[tuple[int | None, str]] = set()
    for row in rows:
        about = (row["meter_id"], cases.concern(row["kind"], of_a_meter=row["meter_id"] is not None))
        if about in told:
            _log.warning("weaker finding about the same left out", area_id=area_id, meter_id=about[0], kind=row["kind"])
            continue
        told.add(about)
        seen.append(_keep_one(connection, row, about[1], kept))
    kept.closed += _look_after(connection, area_id, seen, first=first, last=last, now=now, kinds=kinds)
    return kept


def _keep_one(connection: Connection, row: Mapping[str, Any], concern: str, kept: Kept) -> int:
    """The case that a finding belongs to; a new one, and one that it takes the place of, are noted in `kept`."""
    now: datetime = row["now"]
    known = findings.known(connection, row["area_id"], row["meter_id"], concern)
    strength = Strength(
        confidence=row["confidence"], energy_low_wh=row["energy_low_wh"], energy_high_wh=row["energy_high_wh"]
    )
    answer = meaning_of(Sighting(kind=row["kind"], strength=strength, first=row["first"]), known)
    case = answer.case
    if answer.meaning is Meaning.NEW or case is None:
        if case is not None and case.state in LIVE:
            _close(connection, case, now)
            kept.closed.append(case.kind)
        finding_id = findings.open_case(connection, row, follows=None if case is None else case.finding_id)
        detail = {"kind": row["kind"], "confidence": row["confidence"], "why": answer.why}
        if case is not None:
            detail |= {"follows": case.finding_id, "confidence_then": case.strength.confidence}
        findings.note(
            connection, finding_id, EngineMove.OPENED, before=None, after=CaseState.OPEN, now=now, detail=detail
        )
        findings.seen_in(connection, finding_id, row)
        kept.opened.append(row["kind"])
        return finding_id
    findings.seen_in(connection, case.finding_id, row)
    if answer.meaning is Meaning.STAYS_REJECTED:
        return case.finding_id
    state = case.state
    if answer.meaning is Meaning.RETURNED:
        state = findings.revive(connection, case.finding_id)
        findings.note(connection, case.finding_id, EngineMove.RETURNED, before=case.state, after=state, now=now)
    if case.kind != row["kind"] and state is not CaseState.CONFIRMED:
        detail = {"from": case.kind, "to": row["kind"]}
        findings.note(
            connection, case.finding_id, EngineMove.KIND_CHANGED, before=state, after=state, now=now, detail=detail
        )
    findings.see(connection, case.finding_id, row)
    return case.finding_id


def _look_after(
    connection: Connection,
    area_id: int,
    seen: Sequence[int],
    *,
    first: date,
    last: date,
    now: datetime,
    kinds: Sequence[str] | None,
) -> list[str]:
    """What a run looked for and did not see fades; what is over is closed: the kinds of it."""
    missed = findings.looked_for(connection, area_id, seen, first, kinds)
    findings.not_seen_in(connection, [case.finding_id for case in missed], first, last, now)
    over = [case for case in missed if is_over(case, first)]
    for case in over:
        _close(connection, case, now)
    return [case.kind for case in over]


def _close(connection: Connection, case: KnownCase, now: datetime) -> None:
    findings.close(connection, case.finding_id, now)
    findings.note(connection, case.finding_id, EngineMove.CLOSED, before=case.state, after=CaseState.CLOSED, now=now)
