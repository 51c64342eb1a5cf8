"""Endpoints as a person writes them: one text for one bus, and errors that say what would be right."""

from __future__ import annotations

import pytest

from drivers.errors import DriverConfigError
from drivers.modbus.endpoint import DialInEndpoint, SerialEndpoint, parse_endpoint
from drivers.registry import open_bus

SERIAL = "modbus+serial:///dev/ttyUSB0"


@pytest.mark.parametrize(
    ("written", "text", "peer"),
    [
        ("modbus+tcp://10.1.2.3", "modbus+tcp://10.1.2.3:502", "10.1.2.3:502"),
        (" MODBUS+TCP://Gateway.Example:502/ ", "modbus+tcp://gateway.example:502", "gateway.example:502"),
        ("modbus+tcp://[FD00:0::1]:503", "modbus+tcp://[fd00::1]:503", "[fd00::1]:503"),
        ("modbus+rtu+tcp://10.1.2.3:4001", "modbus+rtu+tcp://10.1.2.3:4001", "10.1.2.3:4001"),
        (f"{SERIAL}?baud=9600", f"{SERIAL}?baud=9600&parity=N&stop=1", "/dev/ttyUSB0"),
        (f"{SERIAL}?stop=2&parity=e&baud=19200&data=8", f"{SERIAL}?baud=19200&parity=E&stop=2", "/dev/ttyUSB0"),
        ("modbus+serial:/dev//serial/../ttyS1?baud=1200", "modbus+serial:///dev/ttyS1?baud=1200&parity=N&stop=1",
         "/dev/ttyS1"),
        ("modbus+serial:///dev/t%20x?baud=300", "modbus+serial:///dev/t%20x?baud=300&parity=N&stop=1", "/dev/t x"),
        ("modbus+dialin://DTU-07", "modbus+dialin://DTU-07", "modem DTU-07"),
        ("modbus+dialin+tcp://861234567890123/", "modbus+dialin+tcp://861234567890123", "modem 861234567890123"),
        ("modbus+dialin://a%2Fb%3a1", "modbus+dialin://a%2Fb%3A1", "modem a/b:1"),
    ],
)  # fmt: skip
def test_one_bus_has_one_text(written: str, text: str, peer: str) -> None:
    endpoint = parse_endpoint(written)
    assert str(endpoint) == text
    assert parse_endpoint(text) == endpoint
    assert endpoint.peer == peer


def test_ids_of_modems_keep_their_case() -> None:
    assert parse_endpoint("modbus+dialin://Dtu-a") == DialInEndpoint("Dtu-a", rtu=True)
    assert parse_endpoint("modbus+dialin://Dtu-a") != parse_endpoint("modbus+dialin://DTU-A")


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("10.1.2.3:502", r"unknown scheme ''; known are modbus\+tcp://…, modbus\+rtu\+tcp://…, modbus\+serial://…"),
        ("modbus://h", "unknown scheme 'modbus'"),
        ("modbus+tcp://h:0", "port 0 is none; wanted modbus"),
        ("modbus+tcp://me@h", r"wanted modbus\+tcp://HOST"),
        ("modbus+tcp://h?unit=3", r"wanted modbus\+tcp://HOST"),
        ("modbus+tcp://h#1", r"wanted modbus\+tcp://HOST"),
        ("modbus+tcp://gateway..example", r"'gateway\.\.example' is no host name; wanted modbus\+tcp://HOST"),
        (f"modbus+tcp://{'a' * 64}", r"is no host name"),
        ("modbus+rtu+tcp://h", r"the port is missing; wanted modbus\+rtu\+tcp://HOST:PORT"),
        ("modbus+rtu+tcp://:4001", r"wanted modbus\+rtu\+tcp://HOST:PORT"),
        (SERIAL, r"baud is missing; wanted modbus\+serial:///dev/DEVICE\?baud=9600&parity=N&stop=1"),
        (f"{SERIAL}?baud=9601", "baud = '9601': wanted one of 300, 600, 1200"),
        (f"{SERIAL}?baud=fast", "baud = 'fast': wanted one of"),
        (f"{SERIAL}?baud=9600&parity=X", "parity = 'X': wanted N"),
        (f"{SERIAL}?baud=9600&parity=", "parity = '': wanted N"),
        (f"{SERIAL}?baud=9600&stop=3", "stop = '3': wanted one of 1, 2"),
        (f"{SERIAL}?baud=9600&data=7", "data = '7': wanted one of 8"),
        (f"{SERIAL}?baud=9600&bauds=1", "unknown parameter 'bauds'"),
        (f"{SERIAL}?baud=9600&baud=1200", "a parameter stands twice"),
        ("modbus+serial://?baud=9600", "the device is missing"),
        ("modbus+serial:///?baud=9600", "the device is missing"),
        ("modbus+serial://dev/ttyUSB0?baud=9600", "'dev': three slashes before the path"),
        ("modbus+dialin://", r"wanted modbus\+dialin://MODEM-ID"),
        ("modbus+dialin://a/b", r"wanted modbus\+dialin://MODEM-ID"),
        ("modbus+dialin://%E4", "1 to 64 visible ASCII"),
        ("modbus+dialin+tcp://" + "x" * 65, "1 to 64 visible ASCII"),
    ],
)
def test_a_wrong_endpoint_says_what_would_be_right(endpoint: str, message: str) -> None:
    with pytest.raises(DriverConfigError, match=message):
        parse_endpoint(endpoint)


def test_a_modem_needs_a_listener() -> None:
    with pytest.raises(DriverConfigError, match=r"'modbus\+dialin://DTU-7': no listener"):
        open_bus("modbus+dialin://DTU-7")


@pytest.mark.parametrize(
    ("line", "character_us", "silence_us"),
    [
        (SerialEndpoint("/dev/x", 9600), 1041.667, 3645.833),
        (SerialEndpoint("/dev/x", 9600, "E"), 1145.833, 4010.417),
        (SerialEndpoint("/dev/x", 19200, "N", 2), 572.917, 2005.208),
        (SerialEndpoint("/dev/x", 38400), 260.417, 1750.0),
        (SerialEndpoint("/dev/x", 115200, "O"), 95.486, 1750.0),
    ],
)
def test_a_lines_times_follow_from_its_parameters(line: SerialEndpoint, character_us: float, silence_us: float) -> None:
    assert line.character_s * 1e6 == pytest.approx(character_us, abs=0.001)
    assert line.silence_s * 1e6 == pytest.approx(silence_us, abs=0.001)
