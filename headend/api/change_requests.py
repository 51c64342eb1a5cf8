"""What a change or a correction is asked for with: one form a kind, told apart by `kind`."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from headend.api.deps import Instant, Text
from headend.api.errors import Problem
from headend.domain import changes as wanted
from headend.domain.changes import LARGEST_REGISTER_WH, MOST_NAME, MOST_REASON, ChangeKind, ChangeOrder

Line = Annotated[Text, Field(min_length=1, max_length=MOST_NAME)]
Reason = Annotated[Text, Field(min_length=1, max_length=MOST_REASON)]
RegisterWh = Annotated[int, Field(ge=0, le=LARGEST_REGISTER_WH, description="raw, as the display shows it")]
Multiplier = Annotated[Decimal, Field(gt=0, le=wanted.LARGEST_MULTIPLIER, decimal_places=4)]
Sign = Annotated[Literal[1, -1], Field(description="-1: wired the other way round")]
Category = Literal["residential", "production", "commercial", "irrigation", "public_lighting", "temporary"]


class _Asked(BaseModel):
    """What every change says."""

    model_config = ConfigDict(extra="forbid")

    change_id: UUID = Field(description="made by the caller: sending the same change again changes nothing")
    by: Line = Field(description="who answers for it")
    reason: Reason


class _AtPoint(_Asked):
    usage_point: Line = Field(description="its code")


class _FromInstant(_AtPoint):
    at: Instant = Field(description="the instant from which it holds, with offset")


class SwapMeter(_FromInstant):
    """One meter goes, another comes."""

    kind: Literal[ChangeKind.SWAP_METER]
    manufacturer: Line = Field(description="of the meter that comes")
    serial: Line
    end_import_wh: RegisterWh | None = Field(None, description="of the meter that goes")
    end_export_wh: RegisterWh | None = None
    start_import_wh: RegisterWh | None = Field(None, description="of the meter that comes")
    start_export_wh: RegisterWh | None = None
    multiplier: Multiplier | None = Field(None, description="null: as before")
    sign: Sign | None = Field(None, description="null: as before")
    seal: Line | None = None


class Move(_FromInstant):
    """A usage point hangs on another area, or behind (or no longer behind) a shared usage point.

    Those who are supplied behind a shared usage point move along with it.
    """

    kind: Literal[ChangeKind.MOVE]
    area: Line
    behind: Line | None = Field(None, description="the shared usage point; null: supplied directly")


class ChangeMultiplier(_FromInstant):
    """The same meter goes on with another multiplier: its current transformers were exchanged."""

    kind: Literal[ChangeKind.CHANGE_MULTIPLIER]
    multiplier: Multiplier
    import_wh: RegisterWh | None = Field(None, description="register at that instant")
    export_wh: RegisterWh | None = None


class ChangeSign(_FromInstant):
    """The same meter goes on wired the other way round."""

    kind: Literal[ChangeKind.CHANGE_SIGN]
    sign: Sign
    import_wh: RegisterWh | None = Field(None, description="register at that instant")
    export_wh: RegisterWh | None = None


class ChangeCategory(_FromInstant):
    """A usage point is billed as another category; a day counts as the category of its first instant."""

    kind: Literal[ChangeKind.CHANGE_CATEGORY]
    category: Category


class RemoveSharedMeter(_FromInstant):
    """The shared meter goes, and everybody behind it counts for himself from then on."""

    kind: Literal[ChangeKind.REMOVE_SHARED_METER]
    end_import_wh: RegisterWh | None = None
    end_export_wh: RegisterWh | None = None


class InstallationFields(BaseModel):
    """What an installation should have said; what is left out stays, null means without end or not noted."""

    model_config = ConfigDict(extra="forbid")

    valid_from: Instant | None = None
    valid_to: Instant | None = None
    multiplier: Multiplier | None = None
    sign: Sign | None = None
    start_import_wh: RegisterWh | None = None
    start_export_wh: RegisterWh | None = None
    end_import_wh: RegisterWh | None = None
    end_export_wh: RegisterWh | None = None
    seal: Line | None = None
    manufacturer: Line | None = Field(None, description="where the wrong meter was scanned; with its serial")
    serial: Line | None = None


class MembershipFields(BaseModel):
    """What a membership should have said."""

    model_config = ConfigDict(extra="forbid")

    valid_from: Instant | None = None
    valid_to: Instant | None = None
    area: Line | None = None
    behind: Line | None = Field(None, description="null: supplied directly")


class CategoryFields(BaseModel):
    """What a category should have said."""

    model_config = ConfigDict(extra="forbid")

    valid_from: Instant | None = None
    valid_to: Instant | None = None
    category: Category | None = None


class _OfRow(_AtPoint):
    since: Instant = Field(description="when the row begins, as it is stored")


class CorrectInstallation(_OfRow):
    """An installation was recorded wrongly; neighbours that touch it move along, so does a shared meter's removal."""

    kind: Literal[ChangeKind.CORRECT_INSTALLATION]
    set: InstallationFields


class WithdrawInstallation(_OfRow):
    """A meter never served there; the one before went on."""

    kind: Literal[ChangeKind.WITHDRAW_INSTALLATION]


class CorrectMembership(_OfRow):
    """A membership was recorded wrongly; neighbours and those supplied behind it move along."""

    kind: Literal[ChangeKind.CORRECT_MEMBERSHIP]
    set: MembershipFields


class WithdrawMembership(_OfRow):
    """A usage point never hung there; where it hung before, it went on."""

    kind: Literal[ChangeKind.WITHDRAW_MEMBERSHIP]


class CorrectCategory(_AtPoint):
    """A category was recorded wrongly."""

    kind: Literal[ChangeKind.CORRECT_CATEGORY]
    since: Instant | None = Field(description="when it begins, as it is stored; null: since ever")
    set: CategoryFields


class WithdrawCategory(_AtPoint):
    """A usage point never changed to that category."""

    kind: Literal[ChangeKind.WITHDRAW_CATEGORY]
    since: Instant | None = Field(description="when it begins, as it is stored; null: since ever")


class CorrectMeter(_Asked):
    """What a device is was recorded wrongly: so it is whenever it served."""

    kind: Literal[ChangeKind.CORRECT_METER]
    manufacturer: Line
    serial: Line
    phases: Literal[1, 3] | None = None
    digits: int | None = Field(None, ge=4, le=12, description="the register rolls over at 10^digits * resolution_wh")
    resolution_wh: int | None = Field(None, ge=1, le=1_000_000)


class Undo(_Asked):
    """An earlier change is taken back: all that it changed is again as it was, if nothing of it was changed since."""

    kind: Literal[ChangeKind.UNDO]
    undoes: UUID


AnyChange = (
    SwapMeter | Move | ChangeMultiplier | ChangeSign | ChangeCategory | RemoveSharedMeter
    | CorrectInstallation | WithdrawInstallation | CorrectMembership | WithdrawMembership
    | CorrectCategory | WithdrawCategory | CorrectMeter | Undo
)  # fmt: skip
ChangeRequest = Annotated[AnyChange, Field(discriminator="kind")]
_KINDS: Mapping[ChangeKind, type[wanted.Change]] = {
    kind.kind: kind
    for kind in (
        wanted.SwapMeter, wanted.Move, wanted.ChangeMultiplier, wanted.ChangeSign, wanted.ChangeCategory,
        wanted.RemoveSharedMeter, wanted.CorrectInstallation, wanted.WithdrawInstallation, wanted.CorrectMembership,
        wanted.WithdrawMembership, wanted.CorrectCategory, wanted.WithdrawCategory, wanted.CorrectMeter, wanted.Undo,
    )
}  # fmt: skip

_ID = "0d9c3b0e-7a5e-4d6e-9a3e-6f2a3c1b5d47"
EXAMPLES: dict[str, Any] = {
    name: {"summary": summary, "value": {"change_id": _ID, "by": "Wang Fang", "reason": reason} | value}
    for name, summary, reason, value in (
        (
            "swap", "A meter is swapped", "display dead",
            {
                "kind": "swap_meter", "usage_point": "A01-001", "at": "2026-11-20T10:30:00+08:00",
                "manufacturer": "Chint", "serial": "21060077", "end_import_wh": 4123450, "start_import_wh": 0,
            },
        ),
        (
            "ct", "Current transformers were noted wrongly", "name plate says 200/5",
            {
                "kind": "correct_installation", "usage_point": "A01-T", "since": "2026-01-01T00:00:00+08:00",
                "set": {"multiplier": "40"},
            },
        ),
        (
            "move", "A usage point hangs on another area from an instant on", "line rebuilt",
            {"kind": "move", "usage_point": "A01-001", "at": "2026-11-20T00:00:00+08:00", "area": "A02"},
        ),
    )
}  # fmt: skip


def order_of(request: AnyChange) -> ChangeOrder:
    """The order that a request is. Raises Problem 422 naming the field that is wrong."""
    head = ("change_id", "by", "reason", "kind", "set")
    given = {name: getattr(request, name) for name in type(request).model_fields if name not in head}
    if (values := getattr(request, "set", None)) is not None:
        given["given"] = values.model_dump(exclude_unset=True)
    try:
        what = _KINDS[request.kind](**given)
        return ChangeOrder(change_id=request.change_id, by=request.by, reason=request.reason, what=what)
    except ValueError as wrong:
        name, _, detail = str(wrong).partition(": ")
        raise problem_of(name, detail, given, status=422, code="invalid-request") from wrong


def problem_of(name: str | None, detail: str, given: Mapping[str, Any], *, status: int, code: str) -> Problem:
    """A refusal that points to the field that it is about."""
    if name is None:
        return Problem(status=status, code=code, detail=detail)
    pointer = f"#/set/{name}" if name in given.get("given", {}) else f"#/{name}"
    return Problem(
        status=status, code=code, detail=f"{name}: {detail}", errors=[{"pointer": pointer, "detail": detail}]
    )
