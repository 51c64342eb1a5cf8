"""What the page of a finding shows of its case: how it stands, what can be done, its history and its strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from fastapi import Request

from headend.api.deps import Parts
from headend.api.errors import Problem
from headend.domain.cases import CaseState, Inspection, Move, moves_from
from headend.store import cases
from headend.store.pool import Connection, Row
from headend.web import case_plots, case_words, text
from headend.web.case_forms import FORMS, MoveForm
from headend.web.sent_forms import OPERATOR, name_of
from headend.web.told import Told


@dataclass(slots=True)
class Answer:
    """What came of a form that was sent, where it was not done."""

    about: Move | None = None
    entered: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    refusal: Problem | None = None

    @property
    def spent(self) -> bool:
        """Whether the form needs another id: it had none that is one, or something else was sent under it before (a
        page from before the browser's back button).
        """
        taken = self.refusal is not None and self.refusal.code == "event-id-taken"
        return taken or "event_id" in self.faults or not self.entered.get("event_id")

    def refused(self, zone: ZoneInfo) -> Told | None:
        """Why it was not done; None: it was not refused."""
        if self.refusal is None:
            return None
        said = text.plainly(self.refusal.detail, zone)
        if self.refusal.code != "event-id-taken":
            return Told(said, "")
        return Told(
            "Something else was sent from this page before (the history has it), and this one only now. If it is still "
            "meant, send it once more.",
            "此页面此前已提交过其他内容（见处理记录）。如仍需提交，请再次提交。",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the history as it is shown."""

    event: Row
    what: Told
    detail: Told | None
    before: int | None
    saw: Inspection | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePanel:
    """All that the template part asks for."""

    state: Told
    forms: Sequence[MoveForm]
    steps: Sequence[Step]
    """Newest first."""
    plot: Mapping[str, Any] | None
    holders: Sequence[str]
    follower: int | None
    """The case that came after this one."""
    answer: Answer
    refused: Told | None
    """Why what was sent was not done."""
    event_id: str
    by: str
    words: Any = case_words

    def entered(self, form: MoveForm, name: str) -> str:
        """What was typed into a form that came back."""
        return self.answer.entered.get(name, "") if self.answer.about is form.move else ""

    def fault(self, form: MoveForm, name: str) -> str | None:
        """What was wrong with it."""
        return self.answer.faults.get(name) if self.answer.about is form.move else None

    @staticmethod
    def kwh(energy_wh: int | None) -> str:
        """A register as displays show it."""
        return text.register(energy_wh)


def panel(
    request: Request, connection: Connection, parts: Parts, finding: Row, answer: Answer | None = None
) -> CasePanel:
    """The case of a finding, with what came of a form."""
    state = CaseState(finding["state"])
    events = cases.events(connection, finding["finding_id"])
    runs = cases.runs(connection, finding["finding_id"])
    answer = answer or Answer()
    return CasePanel(
        state=case_words.STATES[state],
        forms=[FORMS[move] for move in FORMS if move in moves_from(state)],
        steps=[_step(event) for event in reversed(events)],
        plot=case_plots.strength(runs, events, parts.calendar.zone),
        holders=cases.holders(connection),
        follower=cases.follower(connection, finding["finding_id"]),
        answer=answer,
        refused=answer.refused(parts.calendar.zone),
        event_id=str(uuid4()) if answer.spent else answer.entered["event_id"],
        by=answer.entered.get("by") or name_of(request, OPERATOR),
    )


def _step(event: Row) -> Step:
    return Step(
        event=event,
        what=case_words.move(event["move"]),
        detail=case_words.detail(event),
        before=case_words.before(event),
        saw=None if event["saw"] is None else Inspection.of_json(event["saw"]),
    )
