"""What each kind of finding claims, why it is believed, and what a crew checks on site."""

from __future__ import annotations

from dataclasses import dataclass

from headend.web.text import humanise


@dataclass(frozen=True, slots=True)
class FindingText:
    """One kind of finding for people."""

    title: str
    chinese: str
    claim: str
    evidence: str
    """How to read the plot."""
    checks: tuple[str, ...]
    """On site, in this order."""
    of_a_meter: bool = False
    """It lies with one meter, also where the data do not tell which."""


_TEXTS = {
    "under_registering": FindingText(
        "Under-registering meter", "计量偏少",
        "This meter counts less than what flows through it; the rest appears as the area's loss.",
        "The area's loss follows this meter's own pattern. If the missing energy is put back, "
        "the loss falls to what the conductors explain.",
        (
            "Seals on meter, terminal cover and box: whole, and with the recorded numbers?",
            "Clamp the current in front of the meter and compare with its display, each phase: a bypass shows.",
            "Voltage at the meter's terminals, each phase: a missing phase counts nothing.",
            "Where there are current transformers: ratio plate, polarity, shorting links.",
            "Test the meter's error with a portable standard; photograph before touching anything.",
        ),
        of_a_meter=True,
    ),
    "stuck": FindingText(
        "Stuck or dead meter", "停走表",
        "The register stands still, or nearly, although the premises are supplied.",
        "The reading is flat while the area's loss has grown by what this household used to draw.",
        (
            "Is the premises lived in and supplied? A vacant one may truly use nothing.",
            "Does the display live, and the pulse LED blink with a known load switched on?",
            "Read the register twice, ten minutes apart, under that load.",
            "If it stands still: replace the meter, note the end register, and keep the old one sealed.",
        ),
        of_a_meter=True,
    ),
    "wrong_multiplier": FindingText(
        "Wrong multiplier", "倍率错误",
        "The multiplier on record is not the one of the current transformers installed.",
        "The missing energy is a constant multiple of this meter's reading, day and night.",
        (
            "Read the ratio on each current transformer's plate, and count the primary turns.",
            "Compare with the record (the installation's multiplier); is it the same on all phases?",
            "Measure primary and secondary current at the same time.",
            "Correct the installation from the day of its change: past days are then computed again.",
        ),
        of_a_meter=True,
    ),
    "wrong_area": FindingText(
        "Meter listed on the wrong area", "户变关系错误",
        "This meter hangs on another transformer than the one it is listed on.",
        "Taken out of this area the balance closes; put into the other one, that balance closes too. "
        "Its voltage follows the other transformer.",
        (
            "Trace the service cable to its pole or cabinet, or use a phase and transformer identifier.",
            "Compare the voltage with both transformers' at the same minute.",
            "Correct the area membership from the right date: past days are then computed again.",
        ),
        of_a_meter=True,
    ),
    "direct_tap": FindingText(
        "Unmetered consumption (direct tap)", "无表用电",
        "Energy leaves the area past every meter; no meter's error explains it.",
        "The loss has a shape of its own that no household's reading follows.",
        (
            "Walk the line from the transformer: look for connections in front of meters, at poles, in cabinets.",
            "Clamp each feeder and branch, and compare with the sum of its meters, to halve the stretch each time.",
            "Look for known loads without a meter: street lights, cameras, a building site.",
            "Note the hours of the loss (plot) and come in those hours.",
        ),
    ),
    "area_meter_ratio": FindingText(
        "Area meter: wrong ratio", "台区总表倍率错误",
        "The transformer's own meter shows a fixed share too much or too little; the households are not to blame.",
        "Loss is proportional to what is supplied at every hour, and no household's pattern explains it.",
        (
            "Ratio plates of the area meter's current transformers, on every phase, against the record.",
            "Primary against secondary current at the same time.",
            "Wiring: loose terminals, a shorted secondary, accuracy under low load.",
        ),
    ),
    "area_meter_phase": FindingText(
        "Area meter: a phase is missing", "台区总表缺相",
        "One phase of the transformer's own meter is not counted, or counted in part.",
        "The loss is negative by about what the households of that phase use.",
        (
            "Voltage and current of each phase on the area meter's display.",
            "Voltage fuse and terminal of the missing phase; secondary of its current transformer.",
        ),
    ),
    "reversed_polarity": FindingText(
        "Reversed polarity", "极性接反",
        "The meter counts the wrong way round, on all or on one phase.",
        "What should be import appears as export, and moves against the household's habits.",
        (
            "Is there production behind the meter? Then export may be right.",
            "Direction of each current transformer (P1 towards the supply) and order of line and load terminals.",
            "Correct the wiring, or record the sign with its date.",
        ),
    ),
    "missing_data": FindingText(
        "Data missing", "数据缺失",
        "Too many readings are missing to judge: a fault of reading, not of consumption.",
        "Gaps are where nothing was read; they are not zeros.",
        (
            "Is the concentrator or gateway powered and online, and its antenna whole?",
            "Read the meter locally; check its address and line parameters.",
            "See whether the neighbours on the same bus are read.",
        ),
    ),
    "clock_skew": FindingText(
        "Clock wrong", "时钟偏差",
        "The meter's clock runs ahead or behind: its energy lands in the wrong interval.",
        "Loss swings up and down around each change of load, and sums to nothing over the day.",
        (
            "Compare the meter's clock with a true one, note the difference.",
            "Set the clock; if it drifts again, its battery or the meter is due.",
        ),
        of_a_meter=True,
    ),
    "prolonged_estimation": FindingText(
        "Estimated for too long", "长期估算",
        "This meter has been estimated instead of read for longer than can be defended.",
        "The curve is an estimate wherever no reading lies behind it.",
        ("Read the meter on site and enter the register.", "Repair its communication."),
        of_a_meter=True,
    ),
}  # fmt: skip


def of(kind: str) -> FindingText:
    """The text of a kind; one that is not known here is shown by its own name."""
    known = _TEXTS.get(kind)
    if known is not None:
        return known
    return FindingText(
        humanise(kind), "", "The reconciliation names this cause; there is no description of it here yet.",
        "The curves behind the finding.", ("Look at the numbers and decide with the station what to check.",),
    )  # fmt: skip


def kinds() -> tuple[str, ...]:
    """Every kind that has a text, for filters."""
    return tuple(_TEXTS)
