"""What a meter shows at this very moment, in its own registers' units."""

from __future__ import annotations

from typing import Final

import numpy as np

from drivers.base import Quantity
from drivers.modbus.codec import Value
from drivers.simulator.days import STEP_US
from drivers.simulator.world import World

PHASED: Final = {
    "import": (Quantity.IMPORT_L1_WH, Quantity.IMPORT_L2_WH, Quantity.IMPORT_L3_WH),
    "export": (Quantity.EXPORT_L1_WH, Quantity.EXPORT_L2_WH, Quantity.EXPORT_L3_WH),
    "voltage": (Quantity.VOLTAGE_L1_V, Quantity.VOLTAGE_L2_V, Quantity.VOLTAGE_L3_V),
    "current": (Quantity.CURRENT_L1_A, Quantity.CURRENT_L2_A, Quantity.CURRENT_L3_A),
    "power": (Quantity.POWER_L1_W, Quantity.POWER_L2_W, Quantity.POWER_L3_W),
}
"""Quantities of L1, L2, L3."""
_FIRMWARE: Final = "100"
"""Of every simulated meter; a number, because most models tell it as one."""
_PHASE_ENERGY: Final = frozenset(PHASED["import"] + PHASED["export"])


class LiveMeters:
    """Reads any meter of a world at any instant."""

    def __init__(self, world: World) -> None:
        self._world = world

    def values(self, meter: int, instant_us: int, wanted: frozenset[Quantity]) -> dict[Quantity, Value]:
        """What `meter` shows at a true instant; quantities that it does not measure are left out."""
        world = self._world
        device, at = world.fleet.meters[meter], np.array([instant_us])
        day = world.day(world.days.of(instant_us))
        k = (instant_us - int(day.grid_us[0])) // STEP_US
        m, place = day.metered, int(world.instruments.place3[meter])
        one = np.array([meter])
        imported, exported = world.true_cumulative(one, at[None])
        watts = float(m.power_w[meter, k])
        apparent: float
        values: dict[Quantity, Value] = {
            Quantity.IMPORT_WH: int(world.shown(one, imported)[0, 0]),
            Quantity.EXPORT_WH: int(world.shown(one, exported)[0, 0]),
            Quantity.POWER_W: watts,
            Quantity.FREQUENCY_HZ: 50.0,
            Quantity.SERIAL: device.serial,
            Quantity.FIRMWARE: _FIRMWARE,
            Quantity.CT_RATIO: device.multiplier,
        }
        if device.phases == 3:
            volts, amps = m.phase_voltage_v[place, :, k], m.phase_current_a[place, :, k]
            if meter in world.incidents.of:
                raised = volts + np.array(world.incidents.rise_v(meter, instant_us))
                volts, amps = raised, amps * volts / raised  # power stays what it was
            rows = {"voltage": np.round(volts, 1), "current": amps, "power": m.phase_power_w[place, :, k]}
            for name, row in rows.items():
                values.update(zip(PHASED[name], (float(x) for x in row), strict=True))
            if wanted & _PHASE_ENERGY:
                same = np.full(3, meter)
                for name, row in zip(("import", "export"), world.true_phase_cumulative(meter, at), strict=True):
                    values.update(zip(PHASED[name], (int(x) for x in world.shown(same, row)[:, 0]), strict=True))
            apparent = float(np.sum(volts * amps))
        else:
            values[Quantity.VOLTAGE_L1_V] = round(float(m.voltage_v[meter, k]), 1)
            values[Quantity.CURRENT_L1_A] = float(m.current_a[meter, k])
            apparent = float(m.voltage_v[meter, k] * m.current_a[meter, k])
        values[Quantity.POWER_FACTOR] = min(1.0, abs(watts) / apparent) if apparent > 0 else 1.0
        return values
