"""Kinds of alerts to operators in words: English and the Chinese term; one that is not here is shown as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headend.web import text

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "read_success": ("Read success", "采集成功率"),
    "spool_full": ("Spool full", "缓存已满"),
    "spool_failed": ("Spool failed", "缓存故障"),
    "quarantine_full": ("Quarantine full", "隔离区已满"),
    "storage": ("Storage", "存储"),
}


def word(kind: str) -> str:
    """What it is called."""
    return KINDS[kind][0] if kind in KINDS else text.humanise(kind)


def term(kind: str) -> str:
    """The Chinese term."""
    return KINDS[kind][1] if kind in KINDS else ""
