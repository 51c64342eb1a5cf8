"""Meter models as data: all that is known of one type of meter.

A model says where each quantity stands and how it is written there. It never says what the installation decides
(sign, current transformer): a register is delivered as the meter shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from drivers.base import Quantity
from drivers.modbus.features import NO_FEATURES, Features
from drivers.modbus.register_map import Limits, RegisterSpec, TransformerRatio


@dataclass(frozen=True, slots=True, kw_only=True)
class Manual:
    """The document that a map is taken from."""

    title: str
    """Title and version as printed."""
    where: str
    """Section, table or page of the register list."""


@dataclass(frozen=True, kw_only=True)
class MeterModel:
    """One type of meter, complete and checked; made by `load_models`."""

    id: str
    """What configuration calls it, e.g. `eastron-sdm630`."""
    manufacturer: str
    name: str
    phases: int
    """1 or 3."""
    transformer_ratio: TransformerRatio
    manual: Manual
    sources: tuple[str, ...]
    """What the map was compared with beside the manual."""
    firmware_notes: str
    """Which firmware it holds for and what is known to differ."""
    limits: Limits
    registers: tuple[RegisterSpec, ...]
    """By table and address."""
    features: Features = NO_FEATURES
    """What it can do beside being measured."""

    @cached_property
    def by_quantity(self) -> Mapping[Quantity, RegisterSpec]:
        """The register of each quantity that this model has."""
        return {spec.quantity: spec for spec in self.registers}

    @property
    def quantities(self) -> frozenset[Quantity]:
        """What this model can deliver."""
        return frozenset(self.by_quantity)

    def specs(self, quantities: frozenset[Quantity] | None = None) -> tuple[RegisterSpec, ...]:
        """Registers of the wanted quantities that this model has (all of them for None), by table and address."""
        return tuple(s for s in self.registers if quantities is None or s.quantity in quantities)
