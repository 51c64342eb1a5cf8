"""The demo's settings file is one that the service takes, with a listener for the neighbourhood's modems."""

from __future__ import annotations

from pathlib import Path

from drivers.modbus.dialin_settings import dialin_settings
from drivers.modbus.registration import Registered, read_registration
from drivers.simulator.modem import HEARTBEAT
from drivers.simulator.scenario import ModemGateway, demo_scenario, load_scenario
from headend.demo.layout import GATEWAYS, Layout, Ports, write_settings
from headend.settings import load_settings


def test_the_service_understands_it_and_its_modems(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.prepare()
    ports = Ports(web=1, broker=2, billing=3, dialin=4, modbus=(5, 6, 7))
    write_settings(layout, ports, "dbname=x", 15)
    settings = load_settings(layout.settings)
    assert (settings.poll.period_s, settings.web.port, settings.mqtt.port) == (15, 1, 2)
    assert settings.poll.dialin is not None
    listener = dialin_settings(settings.poll.dialin)
    assert (listener.host, listener.port) == ("127.0.0.1", 4)
    gateways = [a.gateway for a in load_scenario(demo_scenario()).areas]
    assert len(gateways) == GATEWAYS
    (modem,) = [g for g in gateways if isinstance(g, ModemGateway)]
    said = HEARTBEAT + modem.imei.encode()
    assert read_registration(said, listener.registration, listener.heartbeats, paused=False) == Registered(modem.imei)
