"""Turns verdicts into findings with the curves, pictures, numbers and odds a page needs to show why, kind by kind."""

from reconciliation.evidence_area import area_meter_finding, tap_finding
from reconciliation.evidence_grounds import Grounds, probability
from reconciliation.evidence_meter import dead_findings, meter_findings, unclear_finding
from reconciliation.evidence_record import missing_finding, move_finding

__all__ = [
    "Grounds",
    "area_meter_finding",
    "dead_findings",
    "meter_findings",
    "missing_finding",
    "move_finding",
    "probability",
    "tap_finding",
    "unclear_finding",
]
