"""The decoder of all MQTT messages, made once from the settings."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from drivers.mqtt.map_file import load_maps
from drivers.mqtt.router import Router
from headend.settings import Mqtt


def router_of(mqtt: Mqtt, zone: str) -> Router:
    """`zone` is the settlement's: devices that stamp local time are in it. Raises `DriverConfigError` for a bad map."""
    return Router(mqtt.prefix, load_maps(mqtt.payloads_dir, only=mqtt.payloads), site=ZoneInfo(zone))
