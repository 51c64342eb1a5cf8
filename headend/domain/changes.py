"""Changes and corrections of what hangs where: what somebody may want, by whom and why, checked when it is made.

A *change* happened in the field at an instant and holds from it on. A *correction* says that something was recorded
wrongly, and what was true. Either names what it is about by the codes that people use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

from headend.domain.timeline import plain
from headend.domain.topology import CATEGORIES, MeterId

MOST_NAME: Final = 100
MOST_REASON: Final = 500
LARGEST_MULTIPLIER: Final = Decimal(99_999_999)
LARGEST_REGISTER_WH: Final = 10**15
CUSTOMER_CATEGORIES: Final = tuple(category for category in CATEGORIES if category != "none")

_INSTANTS: Final = ("at", "since", "valid_from", "valid_to")
_REQUIRED: Final = ("at", "area", "category")
_MAY_LACK: Final = (
    "valid_to", "behind", "seal", "start_import_wh", "start_export_wh", "end_import_wh", "end_export_wh",
)  # fmt: skip
"""Of what can be corrected: without end, directly, or not noted."""
_ONE_OF: Final[Mapping[str, tuple[Any, ...]]] = {
    "sign": (1, -1),
    "phases": (1, 3),
    "category": CUSTOMER_CATEGORIES,
}
_REGISTERS: Final = (
    "import_wh", "export_wh", "start_import_wh", "start_export_wh", "end_import_wh", "end_export_wh",
)  # fmt: skip
_WHOLE: Final[Mapping[str, tuple[int, int]]] = {
    "digits": (4, 12),
    "resolution_wh": (1, 1_000_000),
    **dict.fromkeys(_REGISTERS, (0, LARGEST_REGISTER_WH)),
}


class ChangeKind(StrEnum):
    """What is done."""

    SWAP_METER = "swap_meter"
    MOVE = "move"
    CHANGE_MULTIPLIER = "change_multiplier"
    CHANGE_SIGN = "change_sign"
    CHANGE_CATEGORY = "change_category"
    REMOVE_SHARED_METER = "remove_shared_meter"
    CORRECT_INSTALLATION = "correct_installation"
    WITHDRAW_INSTALLATION = "withdraw_installation"
    CORRECT_MEMBERSHIP = "correct_membership"
    WITHDRAW_MEMBERSHIP = "withdraw_membership"
    CORRECT_CATEGORY = "correct_category"
    WITHDRAW_CATEGORY = "withdraw_category"
    CORRECT_METER = "correct_meter"
    UNDO = "undo"

    @property
    def corrects(self) -> bool:
        """Whether it says that something was recorded wrongly, rather than that something happened."""
        return self not in _HAPPENED


_HAPPENED: Final = frozenset(
    {
        ChangeKind.SWAP_METER,
        ChangeKind.MOVE,
        ChangeKind.CHANGE_MULTIPLIER,
        ChangeKind.CHANGE_SIGN,
        ChangeKind.CHANGE_CATEGORY,
        ChangeKind.REMOVE_SHARED_METER,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapMeter:
    """At an instant one meter goes and another comes."""

    kind: ClassVar = ChangeKind.SWAP_METER
    usage_point: str
    at: datetime
    manufacturer: str
    """Of the meter that comes; the same for the next."""
    serial: str
    end_import_wh: int | None = None
    """Of the meter that goes, as its display shows; the same for the next."""
    end_export_wh: int | None = None
    start_import_wh: int | None = None
    start_export_wh: int | None = None
    multiplier: Decimal | None = None
    """None: as before; the same for the sign."""
    sign: int | None = None
    seal: str | None = None

    def __post_init__(self) -> None:
        _checked(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """From an instant a usage point hangs on another area, or behind (or no longer behind) a shared usage point.

    Those who are supplied behind a shared usage point move along with it.
    """

    kind: ClassVar = ChangeKind.MOVE
    usage_point: str
    at: datetime
    area: str
    behind: str | None = None

    def __post_init__(self) -> None:
        _checked(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeMultiplier:
    """From an instant the same meter counts with another multiplier: its current transformers were exchanged."""

    kind: ClassVar = ChangeKind.CHANGE_MULTIPLIER
    usage_point: str
    at: datetime
    multiplier: Decimal
    import_wh: int | None = None
    """Register at that instant, as the display shows; the same for the next."""
    export_wh: int | None = None

    def __post_init__(self) -> None:
        _checked(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSign:
    """From an instant the same meter is wired the other way round: its polarity was mended, or spoilt."""

    kind: ClassVar = ChangeKind.CHANGE_SIGN
    usage_point: str
    at: datetime
    sign: int
    import_wh: int | None = None
    export_wh: int | None = None

    def __post_init__(self) -> None:
        _checked(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeCategory:
    """From an instant a usage point is billed as another category."""

    kind: ClassVar = ChangeKind.CHANGE_CATEGORY
    usage_point: str
    at: datetime
    category: str

    def __post_init__(self) -> None:
        _checked(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSharedMeter:
    """At an instant the shared meter goes, and everybody behind it counts for himself from then on."""

    kind: ClassVar = ChangeKind.REMOVE_SHARED_METER
    usage_point: str
    at: datetime
    end_import_wh: int | None = None
    end_export_wh: int | None = None

    def __post_init__(self) -> None:
        _checked(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Something that was recorded wrongly: the row that begins at `since`, and what it should say."""

    keys: ClassVar[tuple[str, ...]] = ()
    """What can be set."""
    usage_point: str
    since: datetime | None
    """As it is stored; None: the category that holds since ever."""
    given: Mapping[str, Any]
    """What shall be otherwise, by name; None is a value: without end, or not noted."""

    def __post_init__(self) -> None:
        _checked(self)
        unknown = sorted(set(self.given) - set(self.keys))
        if unknown:
            raise ValueError(f"set: {', '.join(unknown)} cannot be set; {', '.join(self.keys)} can")
        if not self.given:
            raise ValueError(f"set: says nothing; {', '.join(self.keys)} can be set")
        for name in self.given:
            if self.given[name] is None and name not in _MAY_LACK:
                raise ValueError(f"{name}: is required")
        object.__setattr__(self, "given", {name: _value(name, value) for name, value in self.given.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectInstallation(Correction):
    """Another instant, multiplier, sign, register, seal or meter of an installation, past or present."""

    kind: ClassVar = ChangeKind.CORRECT_INSTALLATION
    keys: ClassVar = (
        "valid_from", "valid_to", "multiplier", "sign", "start_import_wh", "start_export_wh", "end_import_wh",
        "end_export_wh", "seal", "manufacturer", "serial",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectMembership(Correction):
    """Another instant or place of a membership, past or present."""

    kind: ClassVar = ChangeKind.CORRECT_MEMBERSHIP
    keys: ClassVar = ("valid_from", "valid_to", "area", "behind")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectCategory(Correction):
    """Another instant of a category, or another category."""

    kind: ClassVar = ChangeKind.CORRECT_CATEGORY
    keys: ClassVar = ("valid_from", "valid_to", "category")


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What begins at `since` never was so; what was before it goes on in its place."""

    usage_point: str
    since: datetime | None

    def __post_init__(self) -> None:
        _checked(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawInstallation(Withdrawal):
    """A meter never served there from that instant."""

    kind: ClassVar = ChangeKind.WITHDRAW_INSTALLATION


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawMembership(Withdrawal):
    """A usage point never hung there from that instant."""

    kind: ClassVar = ChangeKind.WITHDRAW_MEMBERSHIP


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawCategory(Withdrawal):
    """A usage point never changed to that category."""

    kind: ClassVar = ChangeKind.WITHDRAW_CATEGORY


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectMeter:
    """What a device is was recorded wrongly: so it is whenever it served. None: as stored."""

    kind: ClassVar = ChangeKind.CORRECT_METER
    manufacturer: str
    serial: str
    phases: int | None = None
    digits: int | None = None
    resolution_wh: int | None = None

    def __post_init__(self) -> None:
        _checked(self)
        if self.phases is None and self.digits is None and self.resolution_wh is None:
            raise ValueError("digits: says nothing; phases, digits or resolution_wh can be corrected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """An earlier change or correction is taken back: everything that it changed is again as it was before it."""

    kind: ClassVar = ChangeKind.UNDO
    undoes: UUID


Change = (
    SwapMeter | Move | ChangeMultiplier | ChangeSign | ChangeCategory | RemoveSharedMeter
    | CorrectInstallation | WithdrawInstallation | CorrectMembership | WithdrawMembership
    | CorrectCategory | WithdrawCategory | CorrectMeter | Undo
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOrder:
    """What somebody wants changed. Raises ValueError naming the field that is wrong."""

    change_id: UUID
    """Made by the caller: the same order sent again changes nothing."""
    by: str
    reason: str
    what: Change

    def __post_init__(self) -> None:
        for name, most in (("by", MOST_NAME), ("reason", MOST_REASON)):
            text = getattr(self, name).strip()
            if not text:
                raise ValueError(f"{name}: is required")
            if len(text) > most or not text.isprintable():
                raise ValueError(f"{name}: wanted at most {most} printable characters on one line")
            object.__setattr__(self, name, text)

    def as_json(self) -> dict[str, Any]:
        """What was asked for, the same for the same order."""
        asked = {f.name: _plain(getattr(self.what, f.name)) for f in fields(self.what)}
        return {"kind": self.what.kind.value, "by": self.by, "reason": self.reason} | asked


def usage_point_of(what: Change) -> str | None:
    """The usage point that a change names; None: it names a device, or another change."""
    return getattr(what, "usage_point", None)


def meter_of(what: Change) -> MeterId | None:
    """The meter that a change names."""
    if isinstance(what, CorrectInstallation):
        given = what.given
        return (given["manufacturer"], given["serial"]) if "serial" in given and "manufacturer" in given else None
    return (what.manufacturer, what.serial) if isinstance(what, SwapMeter | CorrectMeter) else None


def _checked(what: Any) -> None:
    """Bring every field into its own form. Raises ValueError naming one that is wrong."""
    for field in fields(what):
        if field.name != "given":
            object.__setattr__(what, field.name, _value(field.name, getattr(what, field.name)))


def _value(name: str, value: Any) -> Any:
    """One value by its name. Raises ValueError naming it."""
    if value is None:
        if name in _REQUIRED:
            raise ValueError(f"{name}: is required")
        return None
    if name in _INSTANTS:
        return _instant(name, value)
    if name == "multiplier":
        return _multiplier(value)
    if name in _WHOLE:
        least, most = _WHOLE[name]
        if not least <= value <= most:
            raise ValueError(f"{name}: {value} is not within {least} to {most}")
    elif name in _ONE_OF:
        if value not in _ONE_OF[name]:
            raise ValueError(f"{name}: {value!r} is none of {', '.join(map(str, _ONE_OF[name]))}")
    elif isinstance(value, str) and (not value.strip() or len(value) > MOST_NAME or not value.isprintable()):
        raise ValueError(f"{name}: wanted 1 to {MOST_NAME} printable characters")
    return value


def _instant(name: str, value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"{name}: {value.isoformat()} has no offset from UTC")
    if not 1970 <= value.year < 2200:
        raise ValueError(f"{name}: wanted a year from 1970 to 2199")
    return value.astimezone(UTC)


def _multiplier(value: Decimal) -> Decimal:
    if not value.is_finite() or not 0 < value <= LARGEST_MULTIPLIER:
        raise ValueError(f"multiplier: {value} is not above 0 and at most {LARGEST_MULTIPLIER}")
    if value != round(value, 4):
        raise ValueError(f"multiplier: {value} has more than four decimals")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return str(value) if isinstance(value, UUID) else plain(value)
