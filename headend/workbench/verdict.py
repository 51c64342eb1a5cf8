"""What a report comes to, in one sentence for people; both languages say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from headend.web import cause_texts, finding_texts, text

_SHOWN: Final = 6
_SAID: Final[Mapping[str, frozenset[str]]] = {
    "meter": frozenset({"under_registering", "stuck", "wrong_multiplier"}),
    "mapping": frozenset({"wrong_area"}),
    "unmetered": frozenset({"direct_tap"}),
    "area_meter": frozenset({"area_meter_ratio", "area_meter_phase", "reversed_polarity"}),
}
"""Kinds of findings of an area as a whole that a cause already says."""


def verdict(report: Mapping[str, Any]) -> tuple[str, str]:
    """(English, Chinese) of a report as JSON has it."""
    cause = str(report["cause"])
    words = cause_texts.of(cause)
    accused = [str(name) for name in report["accused"]]
    english, chinese = words.says or f"{words.title}.", words.says_chinese or words.title
    if cause == "not_computable":
        english, chinese = (
            f"Not computable: {report.get('reason') or words.says}.",
            f"{words.says_chinese or words.chinese}",
        )
    elif cause == "mapping" and report["misplaced"]:
        moved = report["misplaced"]
        here = [_move(meter, area, "not from here") for meter, area in moved]
        english = f"Listed here, but hanging elsewhere: {_named(here)}."
        here = [_move(meter, area, "不属本台区") for meter, area in moved]
        chinese = f"列在本台区，实际接在他处：{_named(here, '、')}。"
    elif cause == "mapping":
        english, chinese = (
            "A meter that is listed elsewhere hangs here: see its own area.",
            "有列在他处的表实际接在本台区：见其所列台区。",
        )  # fmt: skip
    elif cause == "meter" and not accused:
        english, chinese = (
            "Some meter’s reading is wrong, but not clearly enough whose: nobody is accused.",
            "有表计量异常，但不足以断定是哪一块：不指认任何人。",
        )
    elif cause == "meter":
        english = f"{'One meter explains' if len(accused) == 1 else 'Meters explain'} the loss: {_named(accused)}."
        chinese = f"损耗可由以下表计解释：{_named(accused, '、')}。"
    found = {f["meter"] for f in report["findings"] if f["kind"] == "wrong_area"}
    moved = [pair for pair in report["misplaced"] if pair[0] in found and cause != "mapping"]
    if moved:
        english += f" Listed here, but hanging elsewhere: {_named([_move(m, a, 'not from here') for m, a in moved])}."
        chinese += f"列在本台区而实际接在他处：{_named([_move(m, a, '不属本台区') for m, a in moved], '、')}。"
    besides = _besides(report, cause)
    if besides:
        english += f" Found besides: {', '.join(f'{words.title.lower()} ({sure})' for words, sure in besides)}."
        chinese += f"另发现：{'、'.join(f'{words.chinese}（{sure}）' for words, sure in besides)}。"
    if accused and cause != "meter":
        english += f" To visit besides: {_named(accused)}."
        chinese += f"另需核查：{_named(accused, '、')}。"
    silent = sum(1 for found in report["findings"] if found["kind"] == "missing_data" and found["meter"] is not None)
    if silent:
        english += f" {silent} {'meter was' if silent == 1 else 'meters were'} hardly read."
        chinese += f"{silent} 块表几乎没有读数。"
    return english, chinese


def _besides(report: Mapping[str, Any], cause: str) -> list[tuple[finding_texts.FindingText, str]]:
    """What was found of the area as a whole besides its most probable cause, each kind once, with its confidence."""
    said = _SAID.get(cause, frozenset()) | {"missing_data"}
    kinds = {str(f["kind"]): text.likelihood(f["confidence"]) for f in report["findings"] if f["meter"] is None}
    return [(finding_texts.of(kind), sure) for kind, sure in kinds.items() if kind not in said]


def _move(meter: str, area: str | None, nowhere: str) -> str:
    """A meter and where it belongs, as far as that is known."""
    return f"{meter} → {area}" if area is not None else f"{meter} ({nowhere})"


def _named(names: Sequence[str], joined: str = ", ") -> str:
    shown = joined.join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} + {len(names) - _SHOWN}"
