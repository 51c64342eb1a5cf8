"""What the evidence of a finding says, in sentences made of its own numbers, in English and Chinese.

The rule it keeps: nothing is said that the evidence does not hold; a number that is not known leaves its sentence out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from headend.web import text
from headend.web.told import Told

METER_PREFIX: Final = "meter:"
"""Before a meter's name among the explanations."""
FEW_HOURS: Final = 8
"""Longest stretch of the day that is worth naming as the hours of a loss."""
UNEVEN: Final = 0.5
"""Missing on another phase, as a share of what is missing on the one named: from here on they do not agree."""
PLACED_NAT: Final = 3.0
"""From which the voltages say where: odds of 20 : 1."""

PATTERNS: Final[Mapping[str, Told]] = {
    "scaled": Told(
        "The missing part is a fixed share of what flows, at all hours.", "缺失部分全天均为用电量的固定比例。"
    ),
    "multiplier": Told("What is missing is a fixed multiple of the reading.", "缺失电量为读数的固定倍数。"),
    "random": Told("A changing share is missing: the fault comes and goes.", "缺失比例时大时小：故障时有时无。"),
    "floor": Told("A constant piece is missing, whatever is used.", "无论用多少电，总缺固定的一块。"),
    "plateau": Told(
        "Energy is missing only while the reading sits at its highest level: it is capped.",
        "仅当读数停在最高水平时缺电量：读数被封顶。",
    ),
    "idle": Told(
        "Energy is missing in hours in which the register stands still and otherwise does not.",
        "缺失发生在表计停走而平时会走的时段。",
    ),
    "stuck": Told("Energy is missing while the register stands still.", "表计停走期间有电量缺失。"),
    "dead": Told("Energy is missing while the register stands still.", "表计停走期间有电量缺失。"),
    "replaced": Told("The reading says nothing about what flows.", "读数与实际用电毫无关系。"),
    "reversed": Told("The intervals of each day are stored in reverse order.", "每天的时段按相反顺序存储。"),
}
"""Ways in which a meter is wrong, by the engine's names."""

UNTOLD: Final[Mapping[str, Told]] = {
    "whose": Told("Which meter it is: several explain the loss about as well.", "是哪一块表：有几块的解释力相近。"),
    "what": Told("What it is: no cause that is known here explains it.", "是什么原因：已知的原因都不能解释。"),
    "manner": Told(
        "How: a bypass, a missing phase and a defect look alike in the balance.",
        "方式：绕越、缺相与故障在平衡中看起来一样。",
    ),
    "since": Told("Since when: it was there as the window began, or its beginning does not show.",
                  "起始时间：窗口开始时已存在，或起点不明显。"),
    "phase": Told("On which phase: the area meter gives the total only.", "在哪一相：台区总表只有合计电量。"),
    "place_no_voltage": Told("Where on the line: no voltages tell it.", "在线路何处：没有可用的电压数据。"),
    "place_alike": Told("Where on the line: the voltages do not tell one place from another.",
                        "在线路何处：电压不足以区分位置。"),
    "correct_area": Told("On which area it hangs: none that is known here.", "实属哪个台区：已知台区中没有。"),
    "loss_model": Told("How large exactly: without voltages the technical loss is a model's.",
                       "确切数量：没有电压，技术线损来自模型。"),
}  # fmt: skip
"""What the evidence leaves open."""

EXPLANATIONS: Final[Mapping[str, Told]] = {
    "this_finding": Told("This finding", "本疑点"),
    "other_meter": Told("Another meter", "另一块表"),
    "some_meter": Told("Some meter", "某块表"),
    "unmetered": Told("Load without a meter", "无表负荷"),
    "area_meter": Told("The area meter", "台区总表"),
    "listed_area": Told("It hangs where it is listed", "确在所列台区"),
    "nothing": Told("Nothing is wrong", "并无异常"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What there is to be said of one finding."""

    kind: str
    evidence: Mapping[str, Any]
    energy_wh: float | None
    since: date | None = None
    """Local day of the onset."""
    meter: str | None = None
    area: str = ""
    correct_area: str | None = None
    numbers: Mapping[str, float] = field(init=False)
    """Those of the evidence that are known."""

    def __post_init__(self) -> None:
        held = self.evidence.get("numbers")
        known = held.items() if isinstance(held, Mapping) else ()
        object.__setattr__(self, "numbers", {
            name: float(v) for name, v in known if isinstance(v, int | float) and not isinstance(v, bool)
        })  # fmt: skip

    def kwh(self, *names: str) -> str | None:
        """The sum of some numbers [Wh] in kWh; None where one is not known."""
        if any(name not in self.numbers for name in names):
            return None
        return text.kwh(sum(self.numbers[name] for name in names))

    def count(self, name: str) -> str | None:
        """A number as a count."""
        value = self.numbers.get(name)
        return None if value is None else f"{value:,.0f}"

    def share(self, name: str) -> str | None:
        """A number in per cent."""
        value = self.numbers.get(name)
        return None if value is None else text.share(value)

    @property
    def phase(self) -> int:
        """1, 2 or 3; 0: not one, or not known."""
        return int(self.numbers.get("phase") or 0)

    @property
    def phases_disagree(self) -> bool:
        """Whether a phase besides the one that is named has much that is missing, or too much."""
        daily = [abs(self.numbers.get(f"daily_missing_l{k}_wh", 0.0)) for k in (1, 2, 3)]
        others = [wh for k, wh in enumerate(daily, 1) if k != self.phase]
        return bool(self.phase) and max(others) > UNEVEN * daily[self.phase - 1]

    @property
    def hours(self) -> tuple[int, int] | None:
        """Few hours that hold half of what is missing, first and end."""
        first, end = self.numbers.get("peak_from_h"), self.numbers.get("peak_to_h")
        if first is None or end is None or not 0 < (end - first) % 24 <= FEW_HOURS:
            return None
        return int(first), int(end) or 24

    @property
    def nearest(self) -> str | None:
        """The meter at whose place the voltages put it, where they do."""
        if self.numbers.get("place_margin_nat", 0.0) < PLACED_NAT:
            return None
        pictures = self.evidence.get("pictures") or []
        names = next((p.get("meters") for p in pictures if isinstance(p, Mapping) and p.get("name") == "place"), None)
        return str(names[0]) if names else None


def pattern(seen: Seen) -> Told | None:
    """In which way the meter is wrong."""
    return PATTERNS.get(str(seen.evidence.get("pattern") or ""))


def untold(seen: Seen) -> tuple[Told, ...]:
    """What could not be told; a word that is not known here stands as it is."""
    words = seen.evidence.get("untold") or []
    return tuple(UNTOLD.get(str(word)) or Told(text.humanise(str(word)), "") for word in words)


def explanations(seen: Seen) -> list[tuple[Told, float]]:
    """What else it may be, with its odds, the likeliest first."""
    held = seen.evidence.get("alternatives")
    found = [
        (explanation(str(name)), float(p))
        for name, p in (held.items() if isinstance(held, Mapping) else ())
        if isinstance(p, int | float) and not isinstance(p, bool) and 0 <= p <= 1
    ]
    return sorted(found, key=lambda pair: -pair[1])


def explanation(name: str) -> Told:
    """One explanation; a meter by its own name."""
    if name.startswith(METER_PREFIX):
        return Told(name.removeprefix(METER_PREFIX), "")
    return EXPLANATIONS.get(name) or Told(name if "/" in name or not name.islower() else text.humanise(name), "")
