"""Explains the losses of transformer areas: pure functions on arrays, no I/O, no clock."""

from reconciliation.engine import analyse, explain
from reconciliation.priors import Priors
from reconciliation.report import (
    AreaReport,
    Cause,
    Evidence,
    EvidenceSeries,
    Finding,
    FindingKind,
    Limit,
    LimitCode,
    TechnicalLossModel,
)
from reconciliation.screening import Screening, screen
from reconciliation.window import AreaWindow

__all__ = [
    "AreaReport",
    "AreaWindow",
    "Cause",
    "Evidence",
    "EvidenceSeries",
    "Finding",
    "FindingKind",
    "Limit",
    "LimitCode",
    "Priors",
    "Screening",
    "TechnicalLossModel",
    "analyse",
    "explain",
    "screen",
]
