"""Forms of changes and corrections as data: what each asks for, what stands in it beforehand, and the request it makes.

The rule it keeps: of a correction only what was changed in the form is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from headend.domain.changes import ChangeKind
from headend.web.forms import CATEGORY, Field, local_instant, value_of


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeForm:
    """One kind of change as a person sees it."""

    kind: ChangeKind
    title: str
    chinese: str
    question: str
    fields: tuple[Field, ...] = ()
    table: str = ""
    """Of a correction: the table of its row."""


_AT = Field(name="at", label="At", chinese="时间", kind="instant", hint="local time")
_SIGN = Field(
    name="sign", label="Wired", chinese="接线方向", kind="choice",
    choices=(("1", "the right way 正接"), ("-1", "the other way round 反接")),
)  # fmt: skip
_MULTIPLIER = Field(
    name="multiplier", label="Multiplier", chinese="倍率", kind="multiplier",
    hint="current × voltage transformer ratio, such as 40 for 200/5",
)  # fmt: skip
_AREA = Field(name="area", label="Area", chinese="台区", suggests="areas")
_BEHIND = Field(
    name="behind", label="Behind the shared meter of", chinese="总表户号", hint="empty: supplied directly",
    required=False, suggests="shared",
)  # fmt: skip
_METER = (
    Field(name="manufacturer", label="Manufacturer", chinese="厂家"),
    Field(name="serial", label="Serial", chinese="表号", hint="as on the name plate", suggests="meters"),
)
_FROM = Field(name="valid_from", label="From", chinese="起", kind="instant")
_TO = Field(name="valid_to", label="Until", chinese="止", kind="instant", required=False, hint="empty: it still holds")
_SEAL = Field(name="seal", label="Seal number", chinese="封印号", required=False)


def _register(name: str, label: str, chinese: str) -> Field:
    hint = "as displayed; empty: not noted"
    return Field(name=name, label=f"{label}, kWh", chinese=chinese, kind="kwh", required=False, hint=hint)


_START = (
    _register("start_import_wh", "Start register", "起码"),
    _register("start_export_wh", "Start register, export", "反向起码"),
)
_END = (
    _register("end_import_wh", "Final register", "止码"),
    _register("end_export_wh", "Final register, export", "反向止码"),
)
_THEN = (
    _register("import_wh", "Register at that instant", "当时示值"),
    _register("export_wh", "Register at that instant, export", "当时反向示值"),
)

_FORMS = (
    ChangeForm(
        kind=ChangeKind.SWAP_METER,
        title="Swap the meter",
        chinese="换表",
        question="When did the one meter go and the other come, and what did their displays show?",
        fields=(
            _AT, *_END, *_METER, *_START,
            Field(
                name="multiplier", label="Multiplier", chinese="倍率", kind="multiplier", required=False,
                hint="empty: as before",
            ),
            _SEAL,
        ),
    ),
    ChangeForm(
        kind=ChangeKind.MOVE,
        title="Move it",
        chinese="户变关系变更",
        question="Where does it hang from then on? Who is supplied behind it moves along.",
        fields=(_AT, _AREA, _BEHIND),
    ),
    ChangeForm(
        kind=ChangeKind.CHANGE_MULTIPLIER,
        title="Change the multiplier",
        chinese="倍率变更",
        question="The transformers were exchanged, and the same meter goes on. When?",
        fields=(_AT, _MULTIPLIER, *_THEN),
    ),
    ChangeForm(
        kind=ChangeKind.CHANGE_SIGN,
        title="Change the polarity",
        chinese="极性变更",
        question="The wires were exchanged, and the same meter goes on. When?",
        fields=(_AT, _SIGN, *_THEN),
    ),
    ChangeForm(
        kind=ChangeKind.CHANGE_CATEGORY,
        title="Change the category",
        chinese="用电类别变更",
        question="What is it billed as from then on? A day counts as the category of its first instant.",
        fields=(_AT, CATEGORY),
    ),
    ChangeForm(
        kind=ChangeKind.REMOVE_SHARED_METER,
        title="Remove the shared meter",
        chinese="拆除总表",
        question="From then on everybody behind it counts for himself. When was it taken out?",
        fields=(_AT, *_END),
    ),
    ChangeForm(
        kind=ChangeKind.CORRECT_INSTALLATION,
        title="Correct an installation",
        chinese="更正装拆记录",
        question="Enter what was true. What touches it moves along; what you leave stays.",
        fields=(_FROM, _TO, *_METER, _MULTIPLIER, _SIGN, *_START, *_END, _SEAL),
        table="installations",
    ),
    ChangeForm(
        kind=ChangeKind.WITHDRAW_INSTALLATION,
        title="It never served there",
        chinese="撤销装拆记录",
        question="The meter that served before goes on in its place.",
        table="installations",
    ),
    ChangeForm(
        kind=ChangeKind.CORRECT_MEMBERSHIP,
        title="Correct where it hung",
        chinese="更正户变关系",
        question="Enter what was true. What touches it moves along, and so does who is supplied behind it.",
        fields=(_FROM, _TO, _AREA, _BEHIND),
        table="memberships",
    ),
    ChangeForm(
        kind=ChangeKind.WITHDRAW_MEMBERSHIP,
        title="It never hung there",
        chinese="撤销户变关系",
        question="Where it hung before, it went on hanging. Without a before, it hung nowhere.",
        table="memberships",
    ),
    ChangeForm(
        kind=ChangeKind.CORRECT_CATEGORY,
        title="Correct a category",
        chinese="更正用电类别",
        question="Enter what was true. The category before or after moves along.",
        fields=(
            Field(
                name="valid_from", label="From", chinese="起", kind="instant", required=False, hint="empty: since ever"
            ),
            _TO,
            CATEGORY,
        ),
        table="categories",
    ),
    ChangeForm(
        kind=ChangeKind.WITHDRAW_CATEGORY,
        title="It never was of that category",
        chinese="撤销用电类别",
        question="The category before goes on in its place.",
        table="categories",
    ),
    ChangeForm(
        kind=ChangeKind.CORRECT_METER,
        title="Correct what the meter is",
        chinese="更正电能表参数",
        question="So it is whenever it served: all of its past is settled again.",
        fields=(
            Field(name="digits", label="Digits of the register", chinese="位数", kind="whole"),
            Field(
                name="resolution_wh", label="Step of the register, Wh", chinese="最小分度", kind="whole",
                hint="10 where the display shows two decimals of a kWh",
            ),
            Field(
                name="phases", label="Phases", chinese="相数", kind="choice",
                choices=(("1", "single-phase 单相"), ("3", "three-phase 三相")),
            ),
        ),
    ),
    ChangeForm(
        kind=ChangeKind.UNDO,
        title="Take a change back",
        chinese="撤回变更",
        question="All that it changed is again as it was, unless it was changed since.",
    ),
)  # fmt: skip
FORMS: Final[Mapping[ChangeKind, ChangeForm]] = {form.kind: form for form in _FORMS}
HAPPENED: Final = tuple(form for form in _FORMS if not form.kind.corrects)
_NUMBERS: Final = ("phases", "sign")
"""Choices that are numbers in the request."""


def prefilled(form: ChangeForm, row: Mapping[str, Any], zone: ZoneInfo) -> dict[str, str]:
    """What stands in the form beforehand: of a correction, what is stored."""
    return {field.name: _text(field, row.get(field.name), zone) for field in form.fields if field.name in row}


def read(
    form: ChangeForm, entered: Mapping[str, str], stored: Mapping[str, Any] | None, zone: ZoneInfo
) -> tuple[dict[str, Any], dict[str, str]]:
    """(members of the request, faults by field). `stored`: of a correction of a row, the row; None: no such."""
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    before = {} if stored is None else prefilled(form, stored, zone)
    for field in form.fields:
        text = entered.get(field.name, "").strip()
        if stored is not None and _same(field, text, before.get(field.name, ""), zone):
            continue
        if not text:
            if field.required:
                faults[field.name] = "is needed"
            elif stored is not None:
                values[field.name] = None
            continue
        try:
            value = value_of(field, text, zone)
            values[field.name] = int(value) if field.name in _NUMBERS else value
        except ValueError as wrong:
            faults[field.name] = str(wrong)
    if stored is None or not form.fields:
        return values, faults
    if {"manufacturer", "serial"} & values.keys():
        values |= {name: entered.get(name, "").strip() for name in ("manufacturer", "serial")}
    return {"set": values}, faults


def _same(field: Field, text: str, before: str, zone: ZoneInfo) -> bool:
    """Whether nothing was entered anew; a browser writes an instant shorter than it was given it."""
    if text == before or field.kind != "instant" or not text or not before:
        return text == before
    try:
        return local_instant(text, zone) == local_instant(before, zone)
    except ValueError:
        return False


def _text(field: Field, value: Any, zone: ZoneInfo) -> str:
    """A stored value as it is entered."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        local = value.astimezone(zone)
        unique = local.utcoffset() == local.replace(fold=1 - local.fold).utcoffset()
        return (local.replace(tzinfo=None) if unique else local).isoformat(timespec="seconds")
    if field.kind == "kwh":
        return f"{Decimal(value) / 1000:f}"
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
