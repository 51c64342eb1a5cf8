"""What the rollout says, as a crew reads it: steps and fields by the names on the page, kWh, local time."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

from headend.web import text
from headend.web.rollout_forms import FORMS

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


def plainly(said: str, zone: ZoneInfo) -> str:
    """A refusal or an answer with its machine words, Wh and UTC instants as the page shows them elsewhere."""
    said = text.plainly(said, zone)
    said = _FIELD.sub(lambda field: f"{_LABELS.get(field[1], field[1])}: ", said)
    return _WORD.sub(lambda word: _WORDS.get(word[0], word[0]), said)
