"""The evidence each rollout step asks for, as data: forms are drawn from it, and what was entered is read by it.

Only the shape is read here (a number, an instant, kWh to Wh); whether the evidence suffices, the rollout stage decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal
from zoneinfo import ZoneInfo

from headend.rollout.checklist import Step
from headend.web.text import humanise, instant, register

FieldKind = Literal["text", "note", "integer", "kwh", "instant", "choice"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One thing to enter."""

    name: str
    """Key in the evidence."""
    label: str
    chinese: str
    kind: FieldKind = "text"
    required: bool = True
    hint: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    group: str = ""
    """What a run of fields is entered for, where that is not always so; empty: always."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepForm:
    """One step as a crew sees it."""

    step: Step
    title: str
    chinese: str
    explanation: str
    button: str
    fields: tuple[Field, ...]


_CATEGORIES = (
    ("residential", "Residential 居民"), ("production", "Production 生产"), ("commercial", "Commercial 商业"),
    ("irrigation", "Irrigation 农灌"), ("public_lighting", "Public lighting 路灯"), ("temporary", "Temporary 临时"),
)  # fmt: skip
_PHASES = (("L1", "L1 (A)"), ("L2", "L2 (B)"), ("L3", "L3 (C)"), ("L123", "Three-phase 三相"))

_PRODUCTION_METER = "Production got a usage point and a meter of its own"
_NOTE = Field(name="note", label="Note", chinese="备注", kind="note", required=False)
_METER = (
    Field(name="serial", label="Serial", chinese="表号", hint="as on the name plate"),
    Field(name="seal", label="Seal number", chinese="封印号"),
    Field(name="start_import_wh", label="Start register", chinese="起码", kind="kwh", hint="as displayed"),
    Field(name="installed_at", label="Installed at", chinese="装表时间", kind="instant"),
    Field(
        name="manufacturer", label="Manufacturer", chinese="厂家", required=False, hint="if the serial is not unique"
    ),
)

_FORMS = (
    StepForm(
        step=Step.SURVEY,
        title="Survey",
        chinese="勘查",
        explanation="Who lives behind the shared meter here, and how are they supplied?",
        button="Close survey",
        fields=(
            Field(name="people", label="People", chinese="人口", kind="integer", hint="who live or work here"),
            Field(name="category", label="Category", chinese="用电类别", kind="choice", choices=_CATEGORIES),
            Field(name="phase", label="Phase", chinese="相别", kind="choice", choices=_PHASES),
            _NOTE,
        ),
    ),
    StepForm(
        step=Step.HOUSEHOLD_METER_INSTALLED,
        title="Household meter installed",
        chinese="装表",
        explanation="The household's own meter hangs in its sealed box.",
        button="Close installation",
        fields=(*_METER, _NOTE),
    ),
    StepForm(
        step=Step.PRODUCTION_SEPARATED,
        title="Production and living separated",
        chinese="两电分离",
        explanation="Production has a supply of its own; living no longer hangs on it.",
        button="Close separation",
        fields=(
            Field(name="note", label="What was separated, and how", chinese="说明", kind="note"),
            Field(
                name="production_usage_point",
                label="Usage point",
                chinese="生产户号",
                required=False,
                group=_PRODUCTION_METER,
            ),
            *(
                replace(
                    field, required=False, label=f"Its meter: {field.label.lower()}", hint="", group=_PRODUCTION_METER
                )
                for field in _METER
            ),
        ),
    ),
    StepForm(
        step=Step.COMMISSIONED,
        title="Commissioned",
        chinese="投运验收",
        explanation="The head-end now reads the meter itself: serial, register and voltage have to agree "
        "with what you note here.",
        button="Read the meter now",
        fields=(
            Field(name="noted_import_wh", label="Register now", chinese="当前示值", kind="kwh", hint="as displayed"),
            _NOTE,
        ),
    ),
    StepForm(
        step=Step.SHARED_METER_REMOVED,
        title="Shared meter removed",
        chinese="拆除总表",
        explanation="Once for all premises behind this shared meter, and only when each of them is commissioned.",
        button="Close removal",
        fields=(
            Field(name="final_import_wh", label="Final register", chinese="止码", kind="kwh", hint="as displayed"),
            Field(name="removed_at", label="Removed at", chinese="拆表时间", kind="instant"),
            Field(name="seal", label="Seal number", chinese="封印号", hint="of the removed meter's bag"),
            _NOTE,
        ),
    ),
)
FORMS: Mapping[Step, StepForm] = {form.step: form for form in _FORMS}

_LARGEST_KWH = Decimal(10) ** 12


def read(step: Step, entered: Mapping[str, str], zone: ZoneInfo) -> tuple[dict[str, Any], dict[str, str]]:
    """(evidence, faults by field) of a form. What was left empty is in neither: the rollout says that it is missing."""
    evidence: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for field in FORMS[step].fields:
        text = entered.get(field.name, "").strip()
        if not text:
            continue
        try:
            evidence[field.name] = _read(field, text, zone)
        except ValueError as wrong:
            faults[field.name] = str(wrong)
    return evidence, faults


def _read(field: Field, text: str, zone: ZoneInfo) -> Any:
    match field.kind:
        case "integer":
            if not (text.isascii() and text.isdigit() and len(text) < 10):
                raise ValueError(f"{text!r} is not a whole number")
            return int(text)
        case "kwh":
            return wh_of_kwh(text)
        case "instant":
            try:
                given = datetime.fromisoformat(text)
            except ValueError as wrong:
                raise ValueError(f"{text!r} is not a date and time such as 2026-11-23T14:05") from wrong
            local = given if given.tzinfo is not None else given.replace(tzinfo=zone)
            return local.astimezone(UTC).isoformat()
        case "choice":
            if text not in dict(field.choices):
                raise ValueError(f"{text!r} is not one of the choices")
    return text


def wh_of_kwh(text: str) -> int:
    """A register entered in kWh, in Wh. Raises ValueError."""
    try:
        kwh = Decimal(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except InvalidOperation as wrong:
        raise ValueError(f"{text!r} is not a register in kWh such as 1234.56") from wrong
    if not kwh.is_finite() or not 0 <= kwh < _LARGEST_KWH:
        raise ValueError(f"{text!r} is not a register in kWh such as 1234.56")
    wh = kwh * 1000
    if wh != wh.to_integral_value():
        raise ValueError(f"{text!r} has more than three decimals; a register is read to the Wh")
    return int(wh)


def shown(step: Step, evidence: Mapping[str, Any], zone: ZoneInfo) -> list[tuple[str, str]]:
    """Stored evidence as (label, text): registers in kWh to the Wh, instants local, what is absent left out."""
    fields = {field.name: field for field in FORMS[step].fields}
    lines = []
    for name, value in evidence.items():
        if value is None or value == "":
            continue
        field = fields.get(name)
        label = field.label if field is not None else humanise(name)
        if name.endswith("_wh") and isinstance(value, int):
            lines.append((humanise(name.removesuffix("_wh")) if field is None else label, f"{register(value)} kWh"))
        elif field is not None and field.kind == "instant" and isinstance(value, str):
            lines.append((label, instant(datetime.fromisoformat(value), zone)))
        elif field is not None and field.kind == "choice":
            lines.append((label, dict(field.choices).get(str(value), str(value))))
        else:
            lines.append((label, str(value)))
    return lines
