"""Which meter each planted fault sits on, and where meters of other makes hang.

The rule it keeps: planting draws nothing and shifts nothing; whoever is picked would have been the same without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.simulator.faults import (
    AreaMeterRatio,
    CoverOpened,
    HouseholdFault,
    MeterClock,
    OverVoltage,
    PickedFault,
    PowerFailure,
)
from drivers.simulator.fleet import INSTALLED, Fleet, Meter
from drivers.simulator.scenario import Scenario, ScenarioError


def plant(scenario: Scenario, fleet: Fleet) -> Fleet:
    """The fleet with every fault on its meter, and meters of other makes. Raises `ScenarioError` where none fits."""
    return _Planter(scenario, fleet).planted()


def beside(fleet: Fleet, area: int) -> int:
    """Whose line a stranger in an area measures as well: its first three-phase household's, if it has one."""
    three = [i for i, m in enumerate(fleet.meters) if m.area == area and m.role == INSTALLED and m.phases == 3]
    return three[0] if three else fleet.area_meter[area]


@dataclass(frozen=True, slots=True)
class _Fits:
    """What kind of meter is wanted, in words and as a test."""

    told: str
    test: Callable[[Meter], bool]


def _on_modbus(phases: int | None = None) -> _Fits:
    if phases is None:
        return _Fits("one on Modbus", lambda m: m.unit is not None)
    return _Fits(f"a {phases}-phase one on Modbus", lambda m: m.unit is not None and m.phases == phases)


class _Planter:
    """Finds a place for one thing after the other."""

    def __init__(self, scenario: Scenario, fleet: Fleet) -> None:
        self._scenario, self._fleet = scenario, fleet
        self._codes = [a.code for a in scenario.areas]
        other_makes = any(isinstance(f, MeterClock) for f in scenario.faults) or any(a.makes for a in scenario.areas)
        self._models: Mapping[str, MeterModel] = load_models() if other_makes else {}
        self._taken: set[int] = set()

    def planted(self) -> Fleet:
        """See `plant`."""
        faults, on = self._scenario.faults, {}
        for k, fault in enumerate(faults):
            if isinstance(fault, HouseholdFault):
                on[k] = self._fleet.household(self._codes.index(fault.area), fault.household)
            elif isinstance(fault, AreaMeterRatio):
                on[k] = self._fleet.area_meter[self._codes.index(fault.area)]
        self._taken |= set(on.values())
        for k, fault in enumerate(faults):
            if isinstance(fault, PickedFault):
                on[k] = self._pick(f"faults[{k}]", fault)
        meters = list(self._fleet.meters)
        for k, fault in enumerate(faults):
            if isinstance(fault, MeterClock):
                meters[on[k]] = _exchanged(meters[on[k]], self._models[fault.model])
        for number, area in enumerate(self._scenario.areas):
            for name in area.makes:
                place = self._place_of(f"areas[{number}].makes", name, area.code)
                meters[place] = _exchanged(meters[place], self._models[name])
        return replace(self._fleet, meters=tuple(meters), planted=on)

    def _pick(self, where: str, fault: PickedFault) -> int:
        models = self._models
        if isinstance(fault, MeterClock) and (fault.model not in models or models[fault.model].features.clock is None):
            known = ", ".join(m.id for m in models.values() if m.features.clock is not None)
            raise ScenarioError(f"{where}.model: {fault.model!r} is no model with a clock; known: {known}")
        fits = _wanted(fault, models)
        if fault.household is None:
            return self._first(f"{where}.household", fault.area, fits)
        meter = self._fleet.household(self._codes.index(fault.area), fault.household)
        if not fits.test(self._fleet.meters[meter]):
            raise ScenarioError(f"{where}.household: {fault.household} of {fault.area} is not {fits.told}")
        self._taken.add(meter)
        return meter

    def _place_of(self, where: str, name: str, area: str) -> int:
        if name not in self._models:
            raise ScenarioError(f"{where}: {name!r} is no model; known: {', '.join(self._models)}")
        return self._first(f"{where}: {name}", area, _on_modbus(self._models[name].phases))

    def _first(self, where: str, area: str, fits: _Fits) -> int:
        """The first household of an area that is free and fits, free no more."""
        number = self._codes.index(area)
        for i, m in enumerate(self._fleet.meters):
            if m.area == number and m.role == INSTALLED and i not in self._taken and fits.test(m):
                self._taken.add(i)
                return i
        raise ScenarioError(f"{where}: no household of {area} is {fits.told} and free of other faults")


def _wanted(fault: PickedFault, models: Mapping[str, MeterModel]) -> _Fits:
    match fault:
        case CoverOpened() | PowerFailure():
            return _Fits("one that publishes for itself", lambda m: m.single_mqtt)
        case OverVoltage():
            return _on_modbus(3)
        case MeterClock(model=model):
            return _on_modbus(models[model].phases)
    return _on_modbus()


def _exchanged(meter: Meter, model: MeterModel) -> Meter:
    """The meter of another make that hangs there."""
    return replace(meter, manufacturer=model.manufacturer, model=model.id)
