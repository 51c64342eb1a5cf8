"""The numbers of a finding's evidence as people read them: a name in both languages, a value with its unit.

What the sentences say already is not said again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headend.web import text
from headend.web.told import Told

NAMES: Final[Mapping[str, Told]] = {
    "log_evidence": Told("Log evidence", "证据（对数）"),
    "replicated_evidence": Told("… of its days against each other", "逐日重复的证据"),
    "margin_over_next_meter": Told("Margin over the next meter", "领先次可能表计"),
    "explained_share": Told("Share of the irregularity explained", "已解释的异常份额"),
    "registered_share": Told("Counted of what flows", "计量占实际用电"),
    "factor_true_to_read": Told("True over read", "实际与读数之比"),
    "ratio_read_to_true": Told("Read over true", "读数与实际之比"),
    "daily_technical_wh": Told("Technical loss a day", "日技术线损"),
    "daily_loss_before_wh": Told("Unexplained loss a day, as measured", "日不明损耗（实测）"),
    "daily_loss_after_wh": Told("… if this finding is right", "日不明损耗（更正后）"),
    "daily_hidden_wh": Told("Not counted a day", "日漏计电量"),
    "daily_reading_wh": Told("Its reading a day", "该表日电量"),
    "daily_reading_before_wh": Told("Its reading a day, before", "此前该表日电量"),
    "daily_missing_l1_wh": Told("Missing a day on L1", "L1 相日缺电量"),
    "daily_missing_l2_wh": Told("Missing a day on L2", "L2 相日缺电量"),
    "daily_missing_l3_wh": Told("Missing a day on L3", "L3 相日缺电量"),
    "daily_correct_area_before_wh": Told("The other area’s unexplained loss a day", "另一台区日不明损耗"),
    "daily_correct_area_after_wh": Told("… with this meter", "计入该表后"),
    "evidence_listed_balance": Told("Log evidence of the listed area’s balance", "所列台区平衡的证据"),
    "evidence_correct_balance": Told("Log evidence of the other area’s balance", "另一台区平衡的证据"),
    "evidence_voltage": Told("Log evidence of the voltages", "电压的证据"),
    "place_evidence_nat": Told("Log evidence of its place by voltages", "电压位置证据"),
    "place_margin_nat": Told("Likeliest place over the next", "最可能位置领先次位"),
    "place_rank": Told("Its rank among the places", "该表在位置排序中的名次"),
    "correlation_listed": Told("Voltage with the listed busbar", "与所列台区母线电压相关"),
    "correlation_correct": Told("Voltage with the other busbar", "与另一台区母线电压相关"),
    "correlation_recorded": Told("Voltages with the recorded phase", "与记录相别的电压相关"),
    "correlation_right": Told("Voltages with the phase put right", "与更正相别的电压相关"),
    "standing_still_share": Told("Standing still, share of the window", "停走时间占比"),
    "missing_share": Told("Missing", "缺失比例"),
    "measured_share": Told("Measured", "实测比例"),
    "days_without": Told("Days without any reading", "全天无读数的天数"),
    "hours_dead": Told("Hours without the phase", "缺相小时数"),
    "intervals": Told("Intervals", "时段数"),
    "absent_intervals": Told("… without any value", "无值时段"),
    "estimated_intervals": Told("… estimated", "估算时段"),
    "longest_gap_h": Told("Longest gap, hours", "最长空缺（小时）"),
    "longest_gap_intervals": Told("Longest gap, intervals", "最长空缺（时段）"),
    "longest_estimate_h": Told("Longest estimate, hours", "最长连续估算（小时）"),
    "longest_estimate_intervals": Told("Longest estimate, intervals", "最长连续估算（时段）"),
    "meters_lacking_data": Told("Meters that lack data", "缺数表计数"),
    "meters": Told("Meters", "表计数"),
}
UNSAID: Final = frozenset({
    "days", "days_active", "days_told", "days_following", "phase", "largest_on_phase", "peak_from_h", "peak_to_h",
    "peak_share", "place_meters", "times_dead", "back_again", "phases_dead", "voltage_of_phase_1", "voltage_of_phase_2",
    "voltage_of_phase_3",
})  # fmt: skip
"""What only the sentences need."""


def rows(numbers: Mapping[str, float]) -> list[tuple[Told, str]]:
    """Name and value, in the order of NAMES; one that is not known here stands as it is named."""
    known = [(told, _value(name, numbers[name])) for name, told in NAMES.items() if name in numbers]
    others = [
        (Told(label, ""), value)
        for name, number in numbers.items()
        if name not in NAMES and name not in UNSAID
        for label, value in [text.quantity(name, number)]
    ]
    return known + others


def _value(name: str, number: float) -> str:
    """With its unit; a plain one as a count, or with as many decimals as its size deserves."""
    if name.endswith(("_wh", "_nat", "_share")):
        return text.quantity(name, number)[1]
    return f"{number:,.0f}" if number.is_integer() else text.number(number)
