"""What validation said of an interval, as people read it: a word and what it means, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headend.domain.quality import FAULTS, Quality, ValidationFlag


@dataclass(frozen=True, slots=True)
class FlagWords:
    """One flag."""

    flag: ValidationFlag
    word: str
    chinese: str
    means: str
    means_chinese: str

    @property
    def fault(self) -> bool:
        """Whether something failed; else the flag only says how the value came to be."""
        return bool(self.flag & FAULTS)


_ALL: Final = (
    FlagWords(
        ValidationFlag.REGISTER_DECREASED, "Register fell", "示值下降",
        "a register lower than the one before by more than its step and the clocks explain: not believed",
        "示值低于前一读数，超出分辨力和时钟误差；该读数不采信",
    ),
    FlagWords(
        ValidationFlag.ROLLOVER, "Rolled over", "示值翻转",
        "the register passed its last digit and began at zero again",
        "示值超过满度后从零开始",
    ),
    FlagWords(
        ValidationFlag.RESET, "Register reset", "示值复位",
        "the register began anew where no rollover explains it: reset, or another meter",
        "示值重新开始且无法用翻转解释：表计复位或已换表",
    ),
    FlagWords(
        ValidationFlag.ABOVE_CAPACITY, "Above capacity", "超容量",
        "more energy than rated current × voltage × time carries",
        "电量超过额定电流×电压×时间所能承载",
    ),
    FlagWords(
        ValidationFlag.MISSING, "Reading missing", "缺数",
        "a meter served here and a reading of it is missing",
        "有表计在运行，但缺少读数",
    ),
    FlagWords(
        ValidationFlag.DUPLICATE_OTHER_VALUE, "Another value", "重复且不一致",
        "two readings of one instant say different things; what was stored first stays",
        "同一时刻收到两个不同的读数；保留先存入的",
    ),
    FlagWords(
        ValidationFlag.IN_FUTURE, "From the future", "时标超前",
        "a reading was stamped with an instant that had not come yet; it was not taken",
        "读数时标晚于接收时刻；未采用",
    ),
    FlagWords(
        ValidationFlag.BEFORE_INSTALLATION, "Before installation", "早于装表时间",
        "the meter was read before it is said to have been installed here",
        "读数早于登记的装表时间",
    ),
    FlagWords(
        ValidationFlag.VOLTAGE_BAND, "Voltage outside band", "电压越限",
        "the mean voltage of the interval lies outside its band",
        "区间平均电压超出允许范围",
    ),
    FlagWords(
        ValidationFlag.METER_SWAP, "Meter swapped", "换表",
        "two meters served in this interval",
        "该区间内更换了表计",
    ),
    FlagWords(
        ValidationFlag.SPIKE, "Spike", "突增",
        "far above the third-highest interval of its day",
        "远高于当日第三高的区间电量",
    ),
    FlagWords(
        ValidationFlag.ZERO_DAYS, "Zero for days", "连续零电量",
        "no energy at all for several whole days: vacant, disconnected, or the meter stands still",
        "连续多日无电量：空置、停电或表计停走",
    ),
    FlagWords(
        ValidationFlag.CONSTANT, "Constant", "电量恒定",
        "the same energy, not zero, in interval after interval",
        "连续多个区间电量相同且不为零",
    ),
    FlagWords(
        ValidationFlag.CLOCK_DRIFT, "Clock drifted", "时钟超差",
        "the device’s clock is off by more than its limit",
        "设备时钟偏差超过限值",
    ),
    FlagWords(
        ValidationFlag.PHASE_MISSING, "Phase missing", "断相或失流",
        "a phase without voltage, or without current, while the others carry both",
        "某相失压或失流，而其他相正常",
    ),
    FlagWords(
        ValidationFlag.REVERSED_FLOW, "Reversed flow", "反向潮流",
        "energy flowed back where nothing is known to feed in",
        "无并网电源处出现反向电量",
    ),
    FlagWords(
        ValidationFlag.TARIFF_SUM, "Tariff sum", "费率电量和不符",
        "the tariff registers do not add up to the total register",
        "各费率示值之和与总示值不符",
    ),
    FlagWords(
        ValidationFlag.EDIT_REFUSED, "Edit does not hold", "编辑不成立",
        "an edit would break the difference of two registers that were read; it is not applied",
        "编辑与实读示值之差矛盾；未采用",
    ),
    FlagWords(
        ValidationFlag.BY_LINE, "By straight line", "线性估算",
        "estimated: a short gap, spread by a straight line between two registers",
        "估算：短时缺数，按两侧示值线性分摊",
    ),
    FlagWords(
        ValidationFlag.BY_REFERENCE_DAYS, "By reference days", "参考日估算",
        "estimated: a long gap, spread by the shape of the most recent good days of its kind",
        "估算：长时缺数，按最近同类型正常日曲线分摊",
    ),
    FlagWords(
        ValidationFlag.EVENLY, "Spread evenly", "平均分摊",
        "estimated: a long gap without a reference day, spread evenly",
        "估算：长时缺数且无参考日，平均分摊",
    ),
    FlagWords(
        ValidationFlag.SET_ASIDE, "Reading set aside", "读数已剔除",
        "a person set aside a reading that ended here; it counts as not read",
        "人工剔除了该处的读数；视为未读",
    ),
)  # fmt: skip
FLAGS: Final[Mapping[ValidationFlag, FlagWords]] = {one.flag: one for one in _ALL}
"""Every flag, in the order of its bit."""

QUALITIES: Final[Mapping[Quality, tuple[str, str]]] = {
    Quality.ABSENT: ("Absent", "缺失"),
    Quality.MEASURED: ("Measured", "实测"),
    Quality.INTERPOLATED: ("Interpolated", "插值"),
    Quality.ESTIMATED: ("Estimated", "估算"),
    Quality.EDITED: ("Edited", "人工编辑"),
    Quality.ZERO_BY_EVENT: ("Zero by event", "停电为零"),
}
"""How an interval's energy came to be: its word, and the Chinese term."""


def words(bits: int) -> list[FlagWords]:
    """What an interval's flags say; a bit that nobody knows says nothing."""
    return [one for flag, one in FLAGS.items() if bits & flag]
