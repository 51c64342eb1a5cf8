"""Validation rules: each a small pure function on arrays that says which values fail it, with its thresholds and units.

A rule changes nothing: it flags. `Flag` has the same bits as the flags that the store keeps; `RULES` names every rule
with version, thresholds and the reason for their defaults.
"""

from __future__ import annotations

from reconciliation.validation.catalogue import RULES
from reconciliation.validation.energy import (
    NOMINAL_V,
    above_capacity,
    capacity_w,
    constant,
    missing,
    spike,
    zero_days,
)
from reconciliation.validation.flags import Flag
from reconciliation.validation.limits import Limit
from reconciliation.validation.readings import (
    before_installation,
    clock_off,
    other_value,
    register_decreased,
    tariff_sum,
)
from reconciliation.validation.rule import Rule, Threshold
from reconciliation.validation.supply import (
    current_gone,
    energy_back,
    feeds_in,
    power_back,
    voltage_band,
    voltage_gone,
)

__all__ = [
    "NOMINAL_V",
    "RULES",
    "Flag",
    "Limit",
    "Rule",
    "Threshold",
    "above_capacity",
    "before_installation",
    "capacity_w",
    "clock_off",
    "constant",
    "current_gone",
    "energy_back",
    "feeds_in",
    "missing",
    "other_value",
    "power_back",
    "register_decreased",
    "spike",
    "tariff_sum",
    "voltage_band",
    "voltage_gone",
    "zero_days",
]
