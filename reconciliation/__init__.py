"""Explains the losses of transformer areas: pure functions on arrays, no I/O, no clock."""

from reconciliation.engine import analyse, explain
from reconciliation.priors import Priors
from reconciliation.report import (
    AreaReport,
    Cause,
    Evidence,
    EvidencePicture,
    EvidenceSeries,
    Explanation,
    Finding,
    FindingKind,
    Limit,
    LimitCode,
    TechnicalLossModel,
    Untold,
)
from reconciliation.screening import Screening, screen
from reconciliation.window import AreaWindow

__all__ = [
    "AreaReport",
    "AreaWindow",
    "Cause",
    "Evidence",
    "EvidencePicture",
    "EvidenceSeries",
    "Explanation",
    "Finding",
    "FindingKind",
    "Limit",
    "LimitCode",
    "Priors",
    "Screening",
    "TechnicalLossModel",
    "Untold",
    "analyse",
    "explain",
    "screen",
]
