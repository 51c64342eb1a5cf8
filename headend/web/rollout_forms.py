"""The evidence each rollout step asks for, as data: forms are drawn from it, and what was entered is read by it.

Only the shape is read here (a number, an instant, kWh to Wh); whether the evidence suffices, the rollout stage decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from headend.rollout.checklist import Step
from headend.web.forms import CATEGORY, Field, value_of
from headend.web.text import humanise, instant, register


@dataclass(frozen=True, kw_only=True, slots=True)
class StepForm:
    """One step as a crew sees it."""

    step: Step
    title: str
    chinese: str
    explanation: str
    button: str
    fields: tuple[Field, ...]


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
            Field(name="people", label="People", chinese="人口", kind="whole", hint="who live or work here"),
            CATEGORY,
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


def read(step: Step, entered: Mapping[str, str], zone: ZoneInfo) -> tuple[dict[str, Any], dict[str, str]]:
    """(evidence, faults by field) of a form. What was left empty is in neither: the rollout says that it is missing."""
    evidence: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for field in FORMS[step].fields:
        text = entered.get(field.name, "").strip()
        if not text:
            continue
        try:
            evidence[field.name] = value_of(field, text, zone)
        except ValueError as wrong:
            faults[field.name] = str(wrong)
    return evidence, faults


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
