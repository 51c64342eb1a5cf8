"""Roll-ups and unmetered loads in words: as people on a page read them, and the Chinese term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SCOPES: Final[Mapping[str, tuple[str, str]]] = {
    "station": ("Supply station", "供电所"),
    "feeder": ("Feeder", "馈线"),
    "area": ("Transformer area", "台区"),
}
"""What is rolled up → its word, and the Chinese term."""

COLUMNS: Final[Mapping[str, tuple[str, str]]] = {
    "supplied": ("Supplied kWh", "供电量"),
    "delivered": ("Delivered kWh", "售电量"),
    "unmetered": ("Unmetered kWh", "未装表电量"),
    "loss": ("Loss kWh", "线损电量"),
    "sigma": ("± 2 σ", "不确定度"),
    "loss_rate": ("Loss rate", "线损率"),
    "technical": ("Technical kWh", "技术线损"),
    "unexplained": ("Unexplained kWh", "管理线损"),
    "coverage": ("Area-days", "台区日覆盖"),
    "estimated": ("Estimated", "估算占比"),
    "states": ("Days by state", "状态"),
}
"""Columns of a roll-up."""

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "street_light": ("Street light", "路灯"),
    "traffic_light": ("Traffic light", "信号灯"),
    "cabinet": ("Cabinet", "配电柜自用"),
    "cctv": ("Cameras", "监控"),
    "telecom": ("Telecom", "通信设备"),
    "advertising": ("Advertising", "广告牌"),
    "other": ("Other", "其他"),
}
"""Kinds of loads without a meter."""

SOURCES: Final[Mapping[str, tuple[str, str]]] = {
    "report": ("by the engine’s window with this day in it", "分析窗口"),
    "model": ("by the model of the last report", "模型"),
}
"""Where a day's technical loss came from."""


def kind(word: str) -> tuple[str, str]:
    """A kind of load; one that is not here as it is."""
    return KINDS.get(word, (word, ""))
