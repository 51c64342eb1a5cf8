"""What the engine says of an area as a whole, in a word and a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from headend.web.text import humanise


@dataclass(frozen=True, slots=True)
class CauseText:
    """One cause for people."""

    title: str
    chinese: str
    says: str
    says_chinese: str


_TEXTS = {
    "clean": CauseText(
        "Nothing stands out", "未见异常",
        "What is lost is what conductors and meters use themselves.",
        "损耗为导线发热和表计自身用电。",
    ),
    "meter": CauseText(
        "A household meter", "用户表计量异常",
        "A meter’s reading does not tell what flows through it; the rest appears as the area’s loss.",
        "某块用户表的读数与实际用电不符，差额成为台区损耗。",
    ),
    "mapping": CauseText(
        "A meter listed on the wrong area", "户变关系错误",
        "A meter hangs on another transformer than the one it is listed on.",
        "有表计实际接在另一台变压器下。",
    ),
    "area_meter": CauseText(
        "The area’s own meter", "台区总表异常",
        "The transformer’s own meter is wrong; the households are not to blame.",
        "台区总表有误，与用户无关。",
    ),
    "unmetered": CauseText(
        "Unmetered consumption", "无表用电",
        "Energy leaves the area past every meter; no meter’s error explains it.",
        "电量绕过所有表计流出，任何表计误差都不能解释。",
    ),
    "not_computable": CauseText(
        "Not computable", "不可计算",
        "The data do not suffice to tell anything.",
        "数据不足，无法判断。",
    ),
}  # fmt: skip


def of(cause: str) -> CauseText:
    """The text of a cause; one that is not known here is shown by its own name."""
    known = _TEXTS.get(cause)
    return CauseText(humanise(cause), "", "", "") if known is None else known
