"""Plans once made, and what each meter is known to refuse: a plan keeps clear of that."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from drivers.base import Quantity
from drivers.modbus.meters import KnownMeter
from drivers.modbus.model import MeterModel
from drivers.modbus.plan import Block, cover, plan
from drivers.modbus.refusals import FirmwareKey, MeterKey, Refusal, RefusalKey, RefusalMemory
from drivers.modbus.register_map import AddressRange

_PLANS_KEPT: Final = 1000
_PlanKey = tuple[str, frozenset[Quantity], tuple[AddressRange, ...]]


class PlanBook:
    """What a bus asks its meters for."""

    def __init__(self, peer: str, memory: RefusalMemory) -> None:
        self._peer = peer
        self._memory = memory
        self._plans: dict[_PlanKey, tuple[MeterModel, tuple[Block, ...]]] = {}

    def key(self, meter: KnownMeter, model: MeterModel) -> RefusalKey:
        """Whom a refusal of this meter speaks for: all of its firmware, where it has told that."""
        firmware = meter.firmware.get(model.id)
        return self.found_by(meter, model) if firmware is None else FirmwareKey(model.id, firmware)

    def found_by(self, meter: KnownMeter, model: MeterModel) -> MeterKey:
        """This meter alone."""
        return MeterKey(self._peer, meter.unit, model.id)

    def known(self, meter: KnownMeter, model: MeterModel) -> Collection[Refusal]:
        """What it is believed to refuse."""
        return self._memory.known(self.key(meter, model))

    def refused(self, meter: KnownMeter, model: MeterModel) -> tuple[AddressRange, ...]:
        """The same as registers."""
        return tuple(sorted(r.range for r in self.known(meter, model)))

    def remember(self, meter: KnownMeter, model: MeterModel, refused: AddressRange, at_us: int) -> None:
        """It refused these registers."""
        self._memory.remember(self.key(meter, model), refused, at_us, self.found_by(meter, model))

    def forget(self, meter: KnownMeter, model: MeterModel, refused: AddressRange) -> None:
        """It answered for these registers after all."""
        self._memory.forget(self.key(meter, model), refused)

    def plan(
        self, model: MeterModel, wanted: frozenset[Quantity], refused: tuple[AddressRange, ...]
    ) -> tuple[Block, ...]:
        """The requests for what of `wanted` is not known to be refused."""
        key = (model.id, wanted, refused)
        kept = self._plans.get(key)
        if kept is not None and kept[0] is model:
            return kept[1]
        readable = [s for s in model.specs(wanted) if not touches(cover([s], model.limits).range, refused)]
        blocks = plan(readable, model.limits, refused=refused)
        if len(self._plans) >= _PLANS_KEPT:
            self._plans.clear()
        self._plans[key] = model, blocks
        return blocks


def touches(where: AddressRange, ranges: Collection[AddressRange]) -> bool:
    """Whether any of `ranges` holds a register of `where`."""
    return any(r.overlaps(where.table, where.first, where.last) for r in ranges)
