"""What an area's data could not tell, in words: which input lacks, how much of it, and what therefore stays open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final

from headend.web.text import humanise, share


@dataclass(frozen=True, slots=True)
class LimitText:
    """One code for people; the sentences take the limit's numbers."""

    title: str
    says: str
    chinese: str


@dataclass(frozen=True, slots=True)
class LimitSaid:
    """One limit of one area."""

    english: str
    chinese: str


_TEXTS: Final[Mapping[str, LimitText]] = {
    "no_meters": LimitText("no meters", "No meter is listed in this area.", "本台区没有在册表计。"),
    "too_few_days": LimitText(
        "too few days",
        "{days:.1f} days of data; at least {days_needed:.0f} are needed to tell a habit from a fault.",
        "数据仅 {days:.1f} 天，至少需要 {days_needed:.0f} 天。",
    ),
    "area_meter_hardly_read": LimitText(
        "area meter hardly read",
        "The area meter was read in {intervals_read:,.0f} of {intervals:,.0f} intervals: too few to balance against.",
        "台区总表在 {intervals:,.0f} 个间隔中有 {intervals_read:,.0f} 个有读数，数量不足，无从平衡。",
    ),
    "meters_hardly_read": LimitText(
        "meters hardly read",
        "{meters_hardly_read:,.0f} of {meters:,.0f} meters were hardly read: their share of the loss cannot be told.",
        "{meters:,.0f} 块表中有 {meters_hardly_read:,.0f} 块几乎没有读数，无法判断其电量。",
    ),
    "no_household_voltage": LimitText(
        "no household voltages",
        "No usable voltages of households: the technical loss comes from a load model, an empty reading may be an "
        "empty flat, and a meter’s place cannot be seen by voltage.",
        "无可用的用户电压：技术线损由负荷模型推算，零读数难辨空置，不能按电压核对户变关系。",
    ),
    "no_busbar_voltage": LimitText(
        "no busbar voltage",
        "No busbar voltage: voltage drops have no reference, so the technical loss comes from a load model.",
        "无母线电压：压降无参照，技术线损由负荷模型推算。",
    ),
    "voltage_hardly_read": LimitText(
        "few voltages",
        "{meters_with_voltage:,.0f} of {meters:,.0f} meters have usable voltages, the busbar in {busbar_share} of "
        "intervals: the technical loss comes from a load model.",
        "{meters:,.0f} 块表中 {meters_with_voltage:,.0f} 块有可用电压，母线电压覆盖 {busbar_share} 的间隔："
        "技术线损由负荷模型推算。",
    ),
    "no_phase_energy": LimitText(
        "no energies by phase",
        "No energies by phase: the total alone is balanced; phases of meters, a dead phase or one wrong CT of the area "
        "meter cannot be told.",
        "无分相电量：只做总量平衡，不能判断表计相别、总表断相或单相互感器错误。",
    ),
    "coarse_phase_energy": LimitText(
        "coarse energies by phase",
        "The phases carry less than the step that their energies are rounded to: the total alone is balanced.",
        "分相电量小于其分辨率：只做总量平衡。",
    ),
    "phase_missing": LimitText(
        "a phase missing",
        "No energies of {phases_missing:.0f} of 3 phases: the total alone is balanced.",
        "三相中有 {phases_missing:.0f} 相无电量：只做总量平衡。",
    ),
    "long_intervals": LimitText(
        "long intervals",
        "Intervals of {interval_min:,.0f} min: shorter faults, and clocks, cannot be told.",
        "间隔长 {interval_min:,.0f} 分钟：更短的异常和时钟偏差无法判断。",
    ),
    "few_days": LimitText(
        "few days",
        "{days:.1f} days of data: only the clearest fault is told; {days_wanted:.0f} show each weekday twice.",
        "数据 {days:.1f} 天：只能判断最明显的异常，建议 {days_wanted:.0f} 天。",
    ),
    "few_meters": LimitText(
        "few meters",
        "{meters:.0f} meters only: a load without a meter resembles one of the households too often.",
        "仅 {meters:.0f} 块表：无表负荷容易与某户相似。",
    ),
    "missing_readings": LimitText(
        "readings missing",
        "{missing_share} of the meters’ readings are missing (meters that lack most of theirs: "
        "{meters_hardly_read:,.0f}): small faults stay hidden.",
        "缺 {missing_share} 的用户读数，其中 {meters_hardly_read:,.0f} 块表缺失过半：小的异常看不出。",
    ),
    "area_meter_gaps": LimitText(
        "gaps of the area meter",
        "The area meter was not read in {missing_share} of intervals: what happened then is not seen.",
        "台区总表在 {missing_share} 的间隔无读数：其间情况不可见。",
    ),
    "no_neighbours": LimitText(
        "no neighbours",
        "No neighbouring area was looked at: where a meter that is not from here belongs cannot be told.",
        "没有相邻台区数据：不属于本台区的表，无法判断应属何处。",
    ),
}


def title(code: str) -> str:
    """A code in a few words, for counts; one that is not known here by its own name."""
    known = _TEXTS.get(code)
    return humanise(code).lower() if known is None else known.title


def of(limit: Mapping[str, Any]) -> LimitSaid:
    """One limit as a report holds it ({"code", "numbers"}); what is not known here, or lacks a number, as it stands."""
    code = str(limit["code"])
    given = {name: value for name, value in (limit.get("numbers") or {}).items() if value is not None}
    numbers = {name: share(value) if name.endswith("_share") else value for name, value in given.items()}
    if "interval_s" in given:
        numbers["interval_min"] = given["interval_s"] / 60
    known = _TEXTS.get(code)
    if known is None or not _names(known.says) <= numbers.keys():
        told = ", ".join(f"{humanise(name).lower()} {value:g}" for name, value in given.items())
        return LimitSaid(f"{humanise(code)}{f' ({told})' if told else ''}.", "")
    return LimitSaid(known.says.format(**numbers), known.chinese.format(**numbers))


def _names(sentence: str) -> set[str]:
    """Numbers that a sentence takes."""
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}
