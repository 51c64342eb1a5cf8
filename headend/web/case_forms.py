"""The forms that move a case, as data, and how what came back becomes the request that the API takes.

The rule it keeps: pages and API ask for the same and refuse the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from headend.api.case_requests import AssignRequest, InspectRequest, JudgeRequest, RepairRequest
from headend.domain.cases import Move, MoveOrder
from headend.web import case_words
from headend.web.forms import Field, value_of


@dataclass(frozen=True, kw_only=True, slots=True)
class MoveForm:
    """One move as a person sees it."""

    move: Move
    title: str
    chinese: str
    explanation: str
    button: str
    request: type[AssignRequest | InspectRequest | JudgeRequest | RepairRequest]
    fields: tuple[Field, ...]


_REASON: Final = Field(name="note", label="Reason", chinese="理由")
_NOTE: Final = Field(name="note", label="Note", chinese="备注", required=False)
_SAW: Final = (
    Field(
        name="cause", label="What was found", chinese="核查结果", kind="choice",
        choices=tuple((cause.value, f"{told.english} {told.chinese}") for cause, told in case_words.CAUSES.items()),
    ),
    Field(name="visited_at", label="When", chinese="核查时间", kind="instant"),
    Field(
        name="register_wh", label="Register, kWh", chinese="现场示值", kind="kwh", required=False, hint="as displayed",
    ),
    Field(name="seal", label="Seal", chinese="封印", required=False, hint="its number, and whether it was whole"),
    Field(
        name="photos", label="Photos", chinese="照片", required=False,
        hint="their numbers or where they are kept, separated by commas",
    ),
    Field(name="text", label="What was seen", chinese="现场情况", kind="note", required=False),
)  # fmt: skip

FORMS: Final[Mapping[Move, MoveForm]] = {
    form.move: form
    for form in (
        MoveForm(
            move=Move.ASSIGN, title="Give it to a crew", chinese="派工",
            explanation="Who goes there? It can be given to somebody else later.", button="Assign",
            request=AssignRequest,
            fields=(Field(name="assigned_to", label="To whom", chinese="派给", suggests="holders"), _NOTE),
        ),
        MoveForm(
            move=Move.INSPECT, title="Say what was seen", chinese="登记核查结果",
            explanation="From then on the engine does not close the case by itself. Where nobody let you in, it stays "
            "as it is.",
            button="Keep what was seen",
            request=InspectRequest, fields=_SAW,
        ),
        MoveForm(
            move=Move.CONFIRM, title="Confirm", chinese="确认属实",
            explanation="It is what it claims. It teaches the engine that findings of this kind are right.",
            button="Confirm", request=JudgeRequest, fields=(_REASON,),
        ),
        MoveForm(
            move=Move.REJECT, title="Reject", chinese="判定不属实",
            explanation="It is not what it claims. It comes back only with clearly stronger evidence.",
            button="Reject", request=JudgeRequest, fields=(_REASON,),
        ),
        MoveForm(
            move=Move.REPAIR, title="Note the repair", chinese="登记整改",
            explanation="The case closes once a whole window from after that day is without it.", button="Keep repair",
            request=RepairRequest,
            fields=(Field(name="repaired_on", label="Right from", chinese="整改日期", kind="day"), _NOTE),
        ),
        MoveForm(
            move=Move.REOPEN, title="Reopen", chinese="重新打开",
            explanation="Takes its verdict back, if it has one. The history stays.", button="Reopen",
            request=JudgeRequest, fields=(_REASON,),
        ),
    )
}  # fmt: skip
"""In the order in which a page offers them."""

_OF_SAW: Final = {field.name for field in _SAW}
_SEPARATOR: Final = re.compile(r"[,;，；\n]+")


class Faults(Exception):
    """What is wrong with a form, by field."""

    def __init__(self, by_field: Mapping[str, str]) -> None:
        super().__init__(str(by_field))
        self.by_field = by_field


def order_of(form: MoveForm, entered: Mapping[str, str], zone: ZoneInfo) -> MoveOrder:
    """The order that a form came back with. Raises Faults, and Problem 422 as the API does."""
    said: dict[str, Any] = {"event_id": entered.get("event_id"), "by": entered.get("by", "").strip()}
    faults = {} if said["by"] else {"by": "who answers for it?"}
    own: dict[str, Any] = {}
    for field in form.fields:
        typed = entered.get(field.name, "").strip()
        if not typed:
            if field.required:
                faults[field.name] = "is required"
            continue
        try:
            own[field.name] = value_of(field, typed, zone)
        except ValueError as wrong:
            faults[field.name] = str(wrong)
    if faults:
        raise Faults(faults)
    if form.move is Move.INSPECT:
        if "photos" in own:
            own["photos"] = [one.strip() for one in _SEPARATOR.split(own["photos"]) if one.strip()]
        said["saw"] = own
    else:
        said |= own
    try:
        return form.request.model_validate(said).order(form.move)
    except ValidationError as wrong:
        raise Faults({_name(error["loc"]): error["msg"] for error in wrong.errors()}) from wrong


def field_of(pointer: str) -> str:
    """The field that a problem's pointer is about."""
    return pointer.removeprefix("#/").removeprefix("saw/")


def _name(place: tuple[int | str, ...]) -> str:
    names = [str(part) for part in place]
    return names[1] if names[0] == "saw" and len(names) > 1 and names[1] in _OF_SAW else names[0]
