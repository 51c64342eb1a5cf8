"""A meter at a usage point as settlement knows it, with nothing special about it but what is said."""

from __future__ import annotations

from typing import Any

from headend.settlement.topology import FOREVER_US, Installed


def installed(meter: int, from_us: int, to_us: int = FOREVER_US, **special: Any) -> Installed:
    """Single-phase, eight digits of 1 Wh, multiplier 1, no registers noted; the meter serves nowhere else."""
    values: dict[str, Any] = {
        "meter_id": meter, "identity": f"Acme/{meter}", "from_us": from_us, "to_us": to_us, "scope_from_us": from_us,
        "scope_to_us": to_us, "multiplier_e4": 10_000, "sign": 1, "start_import_wh": None, "start_export_wh": None,
        "end_import_wh": None, "end_export_wh": None, "phases": 1, "digits": 8, "resolution_wh": 1,
    }  # fmt: skip
    return Installed(**(values | special))
