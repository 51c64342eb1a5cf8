"""What the rollout says, as a crew reads it: steps and fields by the names on the page, kWh, local time."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from headend.web.rollout_forms import FORMS
from headend.web.text import instant, register

_WORD = re.compile(r"[a-z]+(?:_[a-z]+)+")
_WORDS = {
    field.name: f"“{field.label}”"
    for form in FORMS.values()
    for field in form.fields
    if field.required or field.name == "production_usage_point"
} | {form.step.value: f"“{form.title}”" for form in FORMS.values()}
_FIELD = re.compile(r"^([a-z_]+): ")
"""What a fault is about stands in front of it."""
_LABELS = {field.name: field.label for form in FORMS.values() for field in form.fields if not field.group}
_ENERGY = re.compile(r"\b(\d+)(?: to (\d+))? Wh\b")
_INSTANT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:[+-]\d\d:\d\d|Z)")


def plainly(said: str, zone: ZoneInfo) -> str:
    """A refusal or an answer with its machine words, Wh and UTC instants as the page shows them elsewhere."""
    said = _ENERGY.sub(_energy, said)
    said = _INSTANT.sub(lambda found: _local(datetime.fromisoformat(found[0]), zone), said)
    said = _FIELD.sub(lambda field: f"{_LABELS.get(field[1], field[1])}: ", said)
    return _WORD.sub(lambda word: _WORDS.get(word[0], word[0]), said)


def _local(at: datetime, zone: ZoneInfo) -> str:
    """To the second where there are seconds: one minute is not before itself."""
    return instant(at, zone) + (f":{at.second:02d}" if at.second else "")


def _energy(found: re.Match[str]) -> str:
    return " to ".join(register(int(wh)) for wh in found.groups() if wh is not None) + " kWh"
