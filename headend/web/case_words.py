"""Cases as people read them: states, moves, what was found on site, and what the engine did, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headend.domain.cases import CaseState, EngineMove, Move, SeenCause
from headend.web import finding_texts, text
from headend.web.told import Told

STATES: Final[Mapping[CaseState, Told]] = {
    CaseState.OPEN: Told("Open", "待处理"),
    CaseState.ASSIGNED: Told("Assigned", "已派工"),
    CaseState.INSPECTED: Told("Inspected", "已核查"),
    CaseState.CONFIRMED: Told("Confirmed", "属实"),
    CaseState.REJECTED: Told("Rejected", "不属实"),
    CaseState.CLOSED: Told("Closed", "已关闭"),
}

CAUSES: Final[Mapping[SeenCause, Told]] = {
    SeenCause.BYPASS: Told("Bypass around the meter", "绕越计量"),
    SeenCause.METER_TAMPERED: Told("Meter or seal tampered with", "私动电能表或封印"),
    SeenCause.METER_STOPPED: Told("Meter stands still or is dead", "电能表停走或损坏"),
    SeenCause.METER_INACCURATE: Told("Meter measures wrongly", "电能表误差超差"),
    SeenCause.PHASE_MISSING: Told("A phase is missing at the meter", "电能表缺相"),
    SeenCause.WRONG_RATIO: Told("Ratio or multiplier is another one", "互感器变比或倍率不符"),
    SeenCause.WRONG_WIRING: Told("Wired wrongly or reversed", "接线错误或极性反接"),
    SeenCause.OTHER_AREA: Told("Hangs on another transformer", "实属其他台区"),
    SeenCause.DIRECT_TAP: Told("Connected past every meter", "无表直接用电"),
    SeenCause.UNMETERED_LOAD: Told("Known load without a meter", "已知无表负荷"),
    SeenCause.AREA_METER: Told("The area meter is wrong", "台区总表故障"),
    SeenCause.CLOCK_WRONG: Told("Meter’s clock is wrong", "电能表时钟错误"),
    SeenCause.COMMUNICATION: Told("Communication is broken", "通信故障"),
    SeenCause.VACANT: Told("Vacant: truly uses nothing", "空置户"),
    SeenCause.NOTHING_FOUND: Told("Nothing is wrong", "未发现异常"),
    SeenCause.NO_ACCESS: Told("Nobody let us in", "无法进入"),
    SeenCause.OTHER: Told("Something else", "其他"),
}
"""What a crew found."""

MOVES: Final[Mapping[Move, Told]] = {
    Move.ASSIGN: Told("Assigned", "派工"),
    Move.INSPECT: Told("Inspected", "现场核查"),
    Move.CONFIRM: Told("Confirmed", "确认属实"),
    Move.REJECT: Told("Rejected", "判定不属实"),
    Move.REPAIR: Told("Repaired", "已整改"),
    Move.REOPEN: Told("Reopened", "重新打开"),
}
"""What somebody did."""

_ENGINE: Final[Mapping[EngineMove, Told]] = {
    EngineMove.OPENED: Told("Found", "系统发现"),
    EngineMove.RETURNED: Told("Seen again: not closed any more", "再次出现，恢复处理"),
    EngineMove.KIND_CHANGED: Told("Taken for something else", "原因判断改变"),
    EngineMove.CLOSED: Told("Closed: no run sees it any more", "已消失，系统关闭"),
    EngineMove.MERGED: Told("Merged with another case about the same", "与同因疑点合并"),
}

_DEEDS: Final[Mapping[str, Told]] = {deed.value: told for deed, told in (*MOVES.items(), *_ENGINE.items())}

_OPENED_WHY: Final[Mapping[str, Told]] = {
    "stronger": Told("was rejected; the evidence is clearly stronger now", "曾判定不属实，现证据明显增强"),
    "returned": Told("was confirmed and gone; it has come back", "曾属实并已消除，现再次出现"),
    "later": Told("was rejected; this rests on later days only", "曾判定不属实，现依据其后日期的数据"),
}
"""Why a case was opened although there had been one about the same."""


def move(name: str) -> Told:
    """What was done, by a person or by the engine."""
    return _DEEDS[name]


def cause(name: str) -> Told:
    """What was found on site."""
    return CAUSES[SeenCause(name)]


def detail(event: Mapping[str, Any]) -> Told | None:
    """What the engine has to say of its step; None: nothing more."""
    held: Mapping[str, Any] = event["detail"]
    if event["move"] == EngineMove.KIND_CHANGED:
        was, now = finding_texts.of(held["from"]), finding_texts.of(held["to"])
        return Told(f"{was.title} → {now.title}", f"{was.chinese} → {now.chinese}")
    why = _OPENED_WHY.get(held.get("why", ""))
    if event["move"] != EngineMove.OPENED or why is None:
        return None
    odds = ""
    if held["why"] == "stronger":
        odds = f": {text.share(held['confidence_then'])} → {text.share(held['confidence'])}"
    return Told(f"{why.english}{odds}", why.chinese)


def before(event: Mapping[str, Any]) -> int | None:
    """The case that an opened or merged one refers to."""
    found = event["detail"].get("follows", event["detail"].get("into"))
    return None if found is None else int(found)
