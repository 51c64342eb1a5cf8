"""A meter model that can do everything, and a small world in which one hangs on a bus."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from drivers.modbus.map_file import parse_model
from drivers.modbus.model import MeterModel
from drivers.simulator.fleet import INSTALLED
from drivers.simulator.world import World

ALL: Final[MeterModel] = parse_model(
    """
id = "acme-all"
manufacturer = "Acme"
name = "All"
phases = 1
transformer_ratio = "none"
firmware_notes = "none"
sources = ["made for tests"]
manual = { title = "none", where = "none" }
limits = { max_registers = 40, max_gap = 2 }

[defaults]
table = "holding"

[[registers]]
quantity = "import_wh"
address = 0
type = "u32"
unit = "Wh"

[[registers]]
quantity = "voltage_l1_v"
address = 4
type = "u16"
unit = "V"
scale = 0.1

[clock]
table = "holding"
address = 0x3C
encoding = "byte_fields"
fields = ["year", "month", "day", "hour", "minute", "second"]
year_base = 2000
write = { function = 16, address = 0x3C }

[relay]
table = "holding"
address = 0x40
mask = 0x0003
states = { open = [1], closed = [2, 3] }
writes = { open = [0x0000], closed = [0xFF00] }
write = { function = 5, address = 0x41 }

[tariff]
table = "input"
address = 0x42
write = { function = 6, address = 0x43, unlock = [{ address = 0x30, words = [0x1234, 0x5678] }] }
states = { 1 = [1], 2 = [2] }
writes = { 1 = [1], 2 = [2] }

[[status]]
table = "holding"
address = 0x44
bits = [
  { bit = 0, set = "cover_opened", cleared = "cover_closed" },
  { bit = 3, set = "over_voltage", cleared = "over_voltage_ended" },
]

[profile]
table = "holding"
address = 0x6000
stride = 8
records = 3
period = "day"
order = "newest_first"
stamp = { encoding = "byte_fields", fields = ["year", "month", "day", "hour"], year_base = 2000 }

[[profile.registers]]
quantity = "import_wh"
address = 4
type = "u32"
unit = "Wh"
""",
    file="all.toml",
)


def hang(world: World, area: int = 0, model: MeterModel = ALL) -> int:
    """Put a meter of this model in the place of the area's first sound single-phase one on Modbus; its index."""
    taken = set(world.fleet.planted.values())
    meter = next(
        i
        for i, m in enumerate(world.fleet.meters)
        if (m.area, m.phases, m.role) == (area, 1, INSTALLED) and m.unit is not None and i not in taken
    )
    meters = list(world.fleet.meters)
    meters[meter] = replace(meters[meter], model=model.id, manufacturer=model.manufacturer)
    world.fleet = replace(world.fleet, meters=tuple(meters))
    return meter
