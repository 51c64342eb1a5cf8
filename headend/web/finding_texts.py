"""What each kind of finding claims, why it is believed, and what a crew checks on site, in English and Chinese."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headend.web.text import humanise
from headend.web.told import Told


@dataclass(frozen=True, slots=True)
class FindingText:
    """One kind of finding for people."""

    title: str
    chinese: str
    claim: str
    claim_chinese: str
    evidence: str
    """How to read the plot."""
    evidence_chinese: str
    checks: tuple[Told, ...]
    """On site, in this order."""
    of_a_meter: bool = False
    """It lies with one meter, also where the data do not tell which."""


_TEXTS: Final = {
    "under_registering": FindingText(
        "Under-registering meter", "计量偏少",
        "This meter counts less than what flows through it; the rest appears as the area's loss.",
        "该表计量少于实际用电，差额成为台区损耗。",
        "The area's loss follows this meter's own pattern. Put back, the missing energy takes the loss down towards "
        "the technical one; what stays above it has another cause.",
        "台区损耗随该表自身的用电规律变化。补回缺失电量后，损耗应降向技术线损；仍高出的部分另有原因。",
        (
            Told("Seals on meter, terminal cover and box: whole, and with the recorded numbers?",
                 "表计、端子盖、表箱封印是否完好，编号是否与记录一致？"),
            Told("Clamp the current in front of the meter and compare with its display, each phase: a bypass shows.",
                 "逐相用钳表测量表前电流并与表计显示比对：可查出绕越。"),
            Told("Voltage at the meter's terminals, each phase: a missing phase counts nothing.",
                 "逐相测量表计端子电压：缺相则该相不计量。"),
            Told("Where there are current transformers: ratio plate, polarity, shorting links.",
                 "有互感器时：核对变比铭牌、极性、短接片。"),
            Told("Test the meter's error with a portable standard; photograph before touching anything.",
                 "用便携式校验仪测误差；动手前先拍照。"),
        ),
        of_a_meter=True,
    ),
    "stuck": FindingText(
        "Stuck or dead meter", "停走表",
        "The register stands still, or nearly, although the premises are supplied.",
        "用户有供电，但表计示值不走或几乎不走。",
        "The reading is flat while the area's loss has grown by what this household used to draw.",
        "示值不变，而台区损耗增加了该户以往的用电量。",
        (
            Told("Is the premises lived in and supplied? A vacant one may truly use nothing.",
                 "该处是否有人居住、是否供电？空置户可能确实不用电。"),
            Told("Does the display live, and the pulse LED blink with a known load switched on?",
                 "显示屏是否正常？接入已知负荷后脉冲灯是否闪烁？"),
            Told("Read the register twice, ten minutes apart, under that load.",
                 "在该负荷下相隔十分钟抄读两次示值。"),
            Told("If it stands still: replace the meter, note the end register, and keep the old one sealed.",
                 "若不走：换表，记录止码，封存旧表。"),
        ),
        of_a_meter=True,
    ),
    "wrong_multiplier": FindingText(
        "Wrong multiplier", "倍率错误",
        "The multiplier on record is not the one of the current transformers installed.",
        "档案倍率与实装互感器不符。",
        "The missing energy is a constant multiple of this meter's reading, day and night.",
        "缺失电量昼夜均为该表读数的固定倍数。",
        (
            Told("Read the ratio on each current transformer's plate, and count the primary turns.",
                 "查看每只互感器铭牌变比，数清一次侧穿芯匝数。"),
            Told("Compare with the record (the installation's multiplier); is it the same on all phases?",
                 "与档案倍率核对；各相是否一致？"),
            Told("Measure primary and secondary current at the same time.", "同时测量一次、二次电流。"),
            Told("Correct the installation from the day of its change: past days are then computed again.",
                 "自变更之日起更正装拆记录：以往日期将重新计算。"),
        ),
        of_a_meter=True,
    ),
    "wrong_area": FindingText(
        "Meter listed on the wrong area", "户变关系错误",
        "This meter hangs on another transformer than the one it is listed on.",
        "该表实际接在另一台变压器下。",
        "Taken out, this area's loss moves towards its technical loss; put into the right area, that one's does too, "
        "and its voltage follows that transformer. What stays above has another cause.",
        "移出后，本台区损耗应趋近技术线损；计入实属台区后，那里亦然，其电压随那台变压器变化。仍高出的部分另有原因。",
        (
            Told("Trace the service cable to its pole or cabinet, or use a phase and transformer identifier.",
                 "沿进户线查至电杆或分支箱，或使用台区识别仪。"),
            Told("Compare the voltage with both transformers' at the same minute.",
                 "同一分钟比对该表与两台变压器的电压。"),
            Told("Correct the area membership from the right date: past days are then computed again.",
                 "自正确日期起更正户变关系：以往日期将重新计算。"),
        ),
        of_a_meter=True,
    ),
    "direct_tap": FindingText(
        "Unmetered consumption (direct tap)", "无表用电",
        "Energy leaves the area past every meter; no meter's error explains it.",
        "电量绕过所有表计流出，任何表计误差都不能解释。",
        "The loss has a shape of its own that no household's reading follows.",
        "损耗有自己的曲线形状，与任何用户的读数都不一致。",
        (
            Told("Walk the line from the transformer: look for connections in front of meters, at poles, in cabinets.",
                 "自变压器起沿线巡查：表前、电杆、分支箱有无私接。"),
            Told("Clamp each feeder and branch, and compare with the sum of its meters, to halve the stretch each "
                 "time.", "逐条测量出线和分支电流，与所带表计之和比对，逐段减半排查。"),
            Told("Look for known loads without a meter: street lights, cameras, a building site.",
                 "查找已知的无表负荷：路灯、摄像头、工地。"),
            Told("Note the hours of the loss (plot) and come in those hours.",
                 "记下损耗出现的时段（见图），在该时段到场。"),
        ),
    ),
    "unexplained": FindingText(
        "Irregularity nobody explains", "原因不明的异常",
        "The balance moves in a way that no meter, no mapping and no unmetered load explains; no energy is missing.",
        "平衡的变化无法由任何表计、户变关系或无表负荷解释；并无电量缺失。",
        "What is left over swings about zero: more than honest instruments would, without a loss.",
        "余量围绕零摆动：大于正常仪表误差，但并无损失。",
        (
            Told("Clocks and reading times of the area meter and its households: the same instant?",
                 "台区总表与用户表的时钟、抄读时刻是否一致？"),
            Told("Feed-in or generation behind a meter that is not recorded?", "表后是否有未登记的发电或上网？"),
            Told("Nothing is urgent: wait for more days before somebody is sent.",
                 "并不紧急：派人之前先等更多天的数据。"),
        ),
    ),
    "area_meter_ratio": FindingText(
        "Area meter: wrong ratio", "台区总表倍率错误",
        "The transformer's own meter shows a fixed share too much or too little; the households are not to blame.",
        "台区总表按固定比例多计或少计，与用户无关。",
        "Loss is proportional to what is supplied at every hour, and no household's pattern explains it.",
        "每个时段的损耗都与供电量成比例，任何用户的规律都不能解释。",
        (
            Told("Ratio plates of the area meter's current transformers, on every phase, against the record.",
                 "逐相核对台区总表互感器铭牌变比与档案。"),
            Told("Primary against secondary current at the same time.", "同时比对一次、二次电流。"),
            Told("Wiring: loose terminals, a shorted secondary, accuracy under low load.",
                 "接线：端子松动、二次短接、轻载误差。"),
        ),
    ),
    "area_meter_phase": FindingText(
        "Area meter: a phase is missing or swapped", "台区总表缺相或错相",
        "One phase of the transformer's own meter is not counted, or phases are connected to the wrong elements.",
        "台区总表某相未计量，或各相电压电流接错元件。",
        "A missing phase: the loss is negative by about what its households use. Swapped: the households' voltages "
        "follow another phase than the one recorded.",
        "缺相：损耗为负，约等于该相用户的用电量。错相：用户电压随另一相变化，与记录不符。",
        (
            Told("Voltage and current of each phase on the area meter's display.", "查看台区总表各相电压、电流显示。"),
            Told("Voltage fuse and terminal of the missing phase; secondary of its current transformer.",
                 "检查缺相的电压熔丝、端子及其互感器二次回路。"),
            Told("Which phase's voltage and current meet in each element: wires by colour and by phase sequence meter.",
                 "各元件的电压与电流是否同相：按线色并用相序表核对。"),
        ),
    ),
    "reversed_polarity": FindingText(
        "Reversed polarity", "极性接反",
        "The meter counts the wrong way round, on all or on one phase.",
        "表计全部或某一相反向计量。",
        "What should be import appears as export, and moves against the household's habits.",
        "应为正向的电量显示为反向，与用电规律相反。",
        (
            Told("Is there production behind the meter? Then export may be right.",
                 "表后是否有发电？若有，反向可能正确。"),
            Told("Direction of each current transformer (P1 towards the supply) and order of line and load terminals.",
                 "每只互感器方向（P1 朝电源侧）及进出线端子顺序。"),
            Told("Correct the wiring, or record the sign with its date.", "更正接线，或登记符号及其日期。"),
        ),
    ),
    "missing_data": FindingText(
        "Data missing", "数据缺失",
        "Too many readings are missing to judge: a fault of reading, not of consumption.",
        "缺失读数过多，无法判断：是抄表问题，不是用电问题。",
        "Gaps are where nothing was read; they are not zeros.",
        "空缺处是没有抄到，不是零。",
        (
            Told("Is the concentrator or gateway powered and online, and its antenna whole?",
                 "集中器或网关是否有电、在线，天线是否完好？"),
            Told("Read the meter locally; check its address and line parameters.", "就地抄读；核对表地址和通信参数。"),
            Told("See whether the neighbours on the same bus are read.", "查看同一总线上的相邻表是否能抄到。"),
        ),
    ),
    "clock_skew": FindingText(
        "Clock wrong", "时钟偏差",
        "The meter's clock runs ahead or behind, or its intervals are stored in the wrong order: "
        "its energy lands in the wrong interval.",
        "表计时钟超前或滞后，或时段存储顺序错误：电量落入错误的时段。",
        "Loss swings up and down around each change of load, and sums to nothing over the day.",
        "损耗在每次负荷变化前后上下摆动，全天合计为零。",
        (
            Told("Compare the meter's clock with a true one, note the difference.",
                 "将表计时钟与标准时间比对，记录偏差。"),
            Told("Set the clock; if it drifts again, its battery or the meter is due.",
                 "校时；若再次偏移，应更换电池或表计。"),
        ),
        of_a_meter=True,
    ),
    "prolonged_estimation": FindingText(
        "Estimated for too long", "长期估算",
        "This meter has been estimated instead of read for longer than can be defended.",
        "该表以估算代替抄读的时间过长，难以成立。",
        "The curve is an estimate wherever no reading lies behind it.",
        "没有读数支撑之处，曲线均为估算。",
        (
            Told("Read the meter on site and enter the register.", "现场抄表并录入示值。"),
            Told("Repair its communication.", "修复通信。"),
        ),
        of_a_meter=True,
    ),
}  # fmt: skip


def of(kind: str) -> FindingText:
    """The text of a kind; one that is not known here is shown by its own name."""
    known = _TEXTS.get(kind)
    if known is not None:
        return known
    return FindingText(
        humanise(kind), "", "The reconciliation names this cause; there is no description of it here yet.", "",
        "The curves behind the finding.", "",
        (Told("Look at the numbers and decide with the station what to check.", "查看数据，与供电所商定核查内容。"),),
    )  # fmt: skip


def kinds() -> tuple[str, ...]:
    """Every kind that has a text, for filters."""
    return tuple(_TEXTS)
