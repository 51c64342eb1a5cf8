"""What was put right, left out or assumed while files were read: nothing of it is silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that was done to the data."""

    code: str
    """One of the keys of TEXTS."""
    count: int
    area: str | None = None
    meters: tuple[str, ...] = ()
    """Whose, the first few."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What was measured beside the count, units in the names: keys of NUMBERS."""

    @property
    def english(self) -> str:
        """In words."""
        return self._said(0)

    @property
    def chinese(self) -> str:
        """The same."""
        return self._said(1)

    def _said(self, language: int) -> str:
        text = TEXTS[self.code][language].format(n=f"{self.count:,}")
        besides = [NUMBERS[name][language].format(_rounded(value, name)) for name, value in self.numbers.items()]
        if self.meters:
            besides.append(f"{', '.join(self.meters)}{' …' if self.count > len(self.meters) else ''}")
        return f"{text} ({', '.join(besides)})" if besides else text


def _rounded(value: float, name: str) -> str:
    """Three significant digits; energies and powers in thousands."""
    shown = value / 1000 if name.endswith(("_wh", "_w")) else value
    return f"{shown:,.0f}" if abs(shown) >= 100 else f"{shown:.3g}"


TEXTS = {
    "repeated": ("rows that stand twice with the same value, counted once: {n}", "重复且数值相同、只计一次的行：{n}"),
    "contradicting": (
        "instants with two different values, of which neither was used: {n}", "有两个不同值、均未采用的时刻：{n}",
    ),
    "refused": (
        "registers that cannot be (a leap between readings that agree), left out: {n}",
        "不可信、已剔除的示值（前后一致而中间跳变）：{n}",
    ),
    "impossible": (
        "energies above what a low-voltage network carries (5 MW), left out: {n}",
        "超出低压台区可能承载功率（5 MW）、已剔除的电量：{n}",
    ),
    "no_voltage": (
        "voltages of 0 V, as unused inputs show, taken for not measured: {n}",
        "为 0 V（如未接入的通道）、按未测处理的电压：{n}",
    ),
    "reset": (
        "falls of a register that are no rollover, across which the energy is not known: {n}",
        "非翻转的示值下降（其间电量未知）：{n}",
    ),
    "rollover": ("rollovers of a register that were unwrapped: {n}", "已还原的示值翻转：{n}"),
    "too_coarse": (
        "meters read less often than the grid, whose energies were not used: {n}",
        "读数间隔大于计算间隔、未采用的表：{n}",
    ),
    "summed": (
        "meters read more often than the grid, whose intervals were summed: {n}",
        "读数间隔小于计算间隔、已合计的表：{n}",
    ),
    "no_rows": ("listed meters without any reading: {n}", "列出而没有任何读数的表：{n}"),
    "not_listed": (
        "meters that are not in the meters’ file, taken for single-phase and primary: {n}",
        "不在表计文件中、按单相一次值处理的表：{n}",
    ),
    "elsewhere": (
        "listed meters of areas without readings, left out: {n}", "所列台区没有读数、已略去的表：{n}",
    ),
    "in_several_areas": (
        "meters’ names that stand in several areas, taken for a meter of each: {n}",
        "在多个台区出现、按各台区一块处理的表名：{n}",
    ),
    "local_time": (
        "files with local time without an offset, read as the zone’s: {n}",
        "时间没有时区偏移、按所选时区读取的文件：{n}",
    ),
    "phases_apart": (
        "intervals in which the phases do not add up to the total and no export by phase is given, not balanced by "
        "phase: {n}",
        "三相之和与总量不符且无分相反向电量、不作分相平衡的间隔：{n}",
    ),
    "no_area_meter": (
        "no area meter is given (role `area`, or --area-meter): nothing can be balanced", "没有台区总表：无法平衡",
    ),
    "units_apart": (
        "suspicious: the households’ energy and the area’s are hundreds of times apart, most likely by the factor of "
        "1,000 between Wh and kWh (else by a multiplier); intervals compared: {n}",
        "可疑：各户电量之和与台区电量相差数百倍以上，很可能是 Wh 与 kWh 之间的 1,000 倍（否则为倍率）；"
        "所比较的间隔：{n}",
    ),
    "households_too_large": (
        "suspicious: the typical household takes more than 30 kW on average, most likely by the factor of 1,000 "
        "between Wh and kWh; households: {n}",
        "可疑：典型用户平均功率超过 30 kW，很可能是 Wh 与 kWh 之间的 1,000 倍；户数：{n}",
    ),
}  # fmt: skip
"""Code → English, Chinese."""

NUMBERS = {
    "households_wh": ("households {} kWh", "各户 {} kWh"),
    "area_wh": ("area {} kWh", "台区 {} kWh"),
    "factor": ("factor {}", "倍数 {}"),
    "typical_household_w": ("typical household {} kW", "典型用户 {} kW"),
}
"""Name → English, Chinese."""
