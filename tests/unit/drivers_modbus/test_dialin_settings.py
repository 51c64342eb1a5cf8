"""Settings of the listener for modems from TOML values; the examples of the documentation are read by it."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from typing import Any

import pytest

from drivers.errors import DriverConfigError
from drivers.modbus.dialin_settings import DialInSettings, dialin_settings
from drivers.modbus.heartbeats import Heartbeats
from drivers.modbus.registration import IdForm, Registered, RegistrationRule, read_registration

EXAMPLES = re.findall(r"```toml\n(.*?)```", (files("drivers.modbus") / "DIALIN.md").read_text("utf-8"), re.DOTALL)
LEAST: dict[str, Any] = {"registration": [{"id": "imei"}]}


def test_the_documented_examples_read_the_packets_of_their_modems() -> None:
    usr, hi_flying = (dialin_settings(tomllib.loads(text)) for text in EXAMPLES)
    login = read_registration(b"LOGIN:1001", usr.registration, usr.heartbeats, paused=True)
    assert login == Registered("1001")
    assert usr.heartbeats.make_up(b"LOGLOG")
    imei = read_registration(b"355837089512343\r\n", hi_flying.registration, hi_flying.heartbeats, paused=False)
    assert imei == Registered("355837089512343")
    assert hi_flying.heartbeats.make_up(b"\xfe")
    assert hi_flying.ids == {"355837089512343"}
    assert (usr.port, hi_flying.port) == (5020, 5021)


def test_what_is_not_said_is_the_default() -> None:
    assert dialin_settings(LEAST) == DialInSettings(registration=(RegistrationRule(form=IdForm.IMEI),))


def test_everything_can_be_said() -> None:
    text = r"""
        host = "127.0.0.1"
        port = 0
        answer = { text = "OK\r\n" }
        ids = ["A", "B"]
        registration_timeout_s = 2.5
        registration_bytes = 64
        pause_s = 1
        most_unregistered = 3
        most_modems = 4

        [[registration]]
        end = "\u0000"
        pattern = '(?P<id>[A-Z]+)'

        [[registration]]
        id = "hex"
        length = 4

        [[heartbeats]]
        text = "ping"
        [[heartbeats]]
        hex = "FE 00"
        [[heartbeats]]
        pattern = 'hb\d+;'
    """
    assert dialin_settings(tomllib.loads(text)) == DialInSettings(
        host="127.0.0.1",
        port=0,
        registration=(
            RegistrationRule(end=b"\0", pattern="(?P<id>[A-Z]+)"),
            RegistrationRule(form=IdForm.HEX, length=4),
        ),
        heartbeats=Heartbeats((b"ping", b"\xfe\0"), (r"hb\d+;",)),
        answer=b"OK\r\n",
        ids=frozenset("AB"),
        registration_timeout_s=2.5,
        registration_bytes=64,
        pause_s=1.0,
        most_unregistered=3,
        most_modems=4,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"registration": None}, r"\[dialin\]: registration: .*wanted \[\[registration\]\] tables"),
        ({"registration": []}, r"\[dialin\]: registration: wanted at least one rule"),
        ({"registration": ["imei"]}, r"\[dialin\]: registration\[1\]: 'imei': wanted a table"),
        ({"registration": [{"id": "imsi"}]}, r"registration\[1\]\.id: 'imsi': wanted one of text, hex, imei"),
        ({"registration": [{"id": "imei"}, {"length": 0}]}, r"registration\[2\]\.length: 0: wanted"),
        ({"registration": [{"length": 1, "end": "x"}]}, r"registration\[1\]: .*no `end` beside it"),
        ({"registration": [{"pattern": "x"}]}, r"registration\[1\]: pattern = 'x': wanted a group"),
        ({"registration": [{"end": "号"}]}, r"registration\[1\]\.end: '号': wanted"),
        ({"registration": [{"ends": "x"}]}, r"registration\[1\]\.ends: unknown key; known here: end, id, length"),
        ({"heartbeats": [{}]}, r"heartbeats\[1\]: wanted one of text, hex or pattern"),
        ({"heartbeats": [{"text": "a", "hex": "00"}]}, r"heartbeats\[1\]: wanted one of text, hex"),
        ({"heartbeats": [{"hex": "0"}]}, r"heartbeats\[1\]\.hex: '0': wanted hex digits"),
        ({"heartbeats": [{"pattern": "x*"}]}, r"heartbeats: heartbeat 'x\*': matches no bytes"),
        ({"answer": {"hex": ""}}, r"answer\.hex: '': wanted hex digits"),
        ({"answer": "OK"}, r"answer: 'OK': wanted a table"),
        ({"ids": []}, r"ids: \[\]: wanted a list of texts"),
        ({"port": 70000}, r"port: 70000: wanted a whole number 0\.\.65535"),
        ({"host": ""}, "host: '': wanted an address"),
        ({"pause_s": 0}, "pause_s: 0: wanted a number greater than 0"),
        ({"registration_bytes": 0}, "registration_bytes: 0: wanted"),
        ({"prot": 1}, "prot: unknown key"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DriverConfigError, match=message):
        dialin_settings(LEAST | values)


@pytest.mark.parametrize(
    "wrong", [{"registration": ()}, {"port": -1}, {"pause_s": 0}, {"most_unregistered": 0}, {"most_modems": 0}]
)
def test_settings_that_cannot_work_are_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(DriverConfigError, match=next(iter(wrong))):
        DialInSettings(**{"registration": (RegistrationRule(),)} | wrong)
