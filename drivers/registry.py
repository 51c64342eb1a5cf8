"""Which protocols there are: from the text of an endpoint to what opens it.

An endpoint is written `modbus+tcp://10.1.2.3:502`; `drivers.modbus.endpoint` has the others, the one spelling of each
bus and how a person would call it. Whatever carries a bus, those who read meters see a `ModbusBus`: a carrier brings
the bytes, a framing tells where an answer begins and ends. A new transport is a case here, and one of these two.
"""

from __future__ import annotations

from drivers.errors import DriverConfigError
from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.carrier import TcpCarrier
from drivers.modbus.client import ModbusLink, SerialCarrier
from drivers.modbus.clock import Clock
from drivers.modbus.dialin import DialInServer
from drivers.modbus.endpoint import DialInEndpoint, Endpoint, SerialEndpoint, TcpEndpoint, parse_endpoint
from drivers.modbus.frames import Framing, MbapFraming
from drivers.modbus.heartbeats import HeartbeatFraming
from drivers.modbus.link import Link
from drivers.modbus.refusals import RefusalMemory
from drivers.modbus.rtu import RtuFraming


def open_bus(
    endpoint: str,
    settings: BusSettings | None = None,
    *,
    clock: Clock | None = None,
    refusals: RefusalMemory | None = None,
    dialin: DialInServer | None = None,
) -> ModbusBus:
    """The bus at `endpoint`, connected when first read. Raises `DriverConfigError` naming what would be right.

    `dialin` is where the modems of `modbus+dialin://…` connect to.
    """
    return ModbusBus(open_link(parse_endpoint(endpoint), clock, dialin), settings, clock=clock, refusals=refusals)


def open_link(endpoint: Endpoint, clock: Clock | None = None, dialin: DialInServer | None = None) -> Link:
    """What carries the bus; nothing is connected yet. Raises `DriverConfigError`."""
    match endpoint:
        case TcpEndpoint(host, port, rtu):
            return ModbusLink(TcpCarrier(host, port), RtuFraming() if rtu else MbapFraming(), clock=clock)
        case SerialEndpoint():
            return ModbusLink(SerialCarrier(endpoint), RtuFraming(), clock=clock)
        case DialInEndpoint(modem_id, rtu):
            if dialin is None:
                raise DriverConfigError(
                    f"endpoint {str(endpoint)!r}: no listener for modems that dial in is configured"
                )
            framing: Framing = RtuFraming() if rtu else MbapFraming(noisy=True)
            return ModbusLink(
                dialin.carrier(modem_id), HeartbeatFraming(framing, dialin.settings.heartbeats), clock=clock
            )
