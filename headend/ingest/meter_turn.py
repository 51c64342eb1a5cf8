"""What is done while one meter has the bus: make sure that it is the meter we mean, read its clock.

The rule it keeps: a meter that tells its serial is believed only when it tells the stored one; one that has a serial
register and does not tell is not touched.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import Final

from drivers.base import Quantity
from drivers.errors import DeviceException, DriverConfigError, PeerError
from drivers.modbus.bus import ModbusAddress, ModbusBus, Turn
from drivers.modbus.features import ClockSpec
from drivers.modbus.gate import Priority
from drivers.modbus.model import MeterModel
from headend.domain.topology import PollTarget
from headend.ingest.clock_offset import ClockOffset, offset_of
from headend.ingest.poll_round import peer_of, same_serial

_SERIAL: Final = frozenset({Quantity.SERIAL})


class WrongMeter(PeerError):
    """Another meter answers at this address than the store expects, or one that does not say who it is."""

    code = "serial_mismatch"


async def check_identity(turn: Turn, target: PollTarget, model: MeterModel) -> str | None:
    """Read the serial where the model has one: as the meter tells it, None where it cannot. Raises PeerError."""
    if Quantity.SERIAL not in model.quantities:
        return None
    try:
        told = (await turn.visit(_SERIAL)).values.get(Quantity.SERIAL)
    except DeviceException as refused:
        raise WrongMeter(f"the meter does not tell its serial: {refused}", peer=peer_of(target)) from refused
    if told is None:
        raise WrongMeter("the meter does not tell its serial", peer=peer_of(target))
    if not same_serial(target.serial, str(told)):
        expected = f"{target.manufacturer}/{target.serial}"
        raise WrongMeter(
            f"the store expects {expected} here, the meter says its serial is {told}", peer=peer_of(target)
        )
    return str(told)


async def clock_in_turn(turn: Turn, spec: ClockSpec, zone: tzinfo) -> ClockOffset:
    """How far the clock of the meter that has the bus is off, now. Raises PeerError."""
    answer = await turn.read(spec.range)
    return offset_of(spec, answer.words, sent_us=answer.sent_us, span_us=answer.span_us, zone=zone)


async def read_clock(
    bus: ModbusBus, target: PollTarget, model: MeterModel, zone: tzinfo, *, priority: Priority
) -> ClockOffset:
    """How far a meter's clock is off, now. Raises PeerError, or DriverConfigError where its map knows no clock."""
    spec = model.features.clock
    if spec is None:
        raise DriverConfigError(f"the register map of {model.id} knows no clock")
    async with bus.turn(ModbusAddress(target.unit, model, priority)) as turn:
        await check_identity(turn, target, model)
        return await clock_in_turn(turn, spec, zone)
