"""A meter of two rates publishes by MQTT; where they do not add up, page and API say so, by which rule and limit."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient

from drivers.mqtt.payload import MeterReadings, decode
from headend.domain.calendar import to_us
from headend.domain.quality import ValidationFlag as F
from headend.ingest.item import Item
from headend.ingest.writer import ReadingWriter
from headend.store import history
from headend.store.pool import Store
from headend.web.app import create_app
from support.field import DAY0, HOUR, QUARTER, T0
from support.ward import Ward

NOON = T0 + timedelta(hours=12)
NOW = T0 + timedelta(days=1, hours=8)
TOPIC = "headend/v1/meter/Acme/{}/{}"


class Street:
    """A ward with a house that publishes; what time it is."""

    def __init__(self, ward: Ward) -> None:
        self.ward, self.now = ward, NOW
        ward.house("HOME")
        self._writer = ReadingWriter(ward.store, ward.field.settings, lambda: self.now)
        day = {"ts": [T0 + k * QUARTER for k in range(97)], "import_wh": [11 * k for k in range(97)]}
        self.publish("columns", day, meter="sum")

    def publish(self, kind: str, message: dict[str, Any], *, meter: str = "HOME") -> None:
        received_us = to_us(self.now)
        topic, payload = TOPIC.format(meter, kind), msgspec.json.encode(message)
        told = decode(topic, payload, prefix="headend/v1", received_us=received_us)
        assert isinstance(told, MeterReadings)
        item = Item(channel="mqtt", origin=topic, received_us=received_us, payload=payload, batch=told.batch)
        assert self._writer.write([item]).quarantined == {}

    def publish_day(self, *, off: dict[int, int], lacking: frozenset[int] = frozenset()) -> None:
        """A day of quarters of 100 Wh; at `off` the second rate is so much too high, at `lacking` it is not told."""
        steps = range(97)
        rates = [[60 * k, None if k in lacking else 40 * k + off.get(k, 0)] for k in steps]
        self.publish(
            "columns",
            {
                "ts": [T0 + k * QUARTER for k in steps],
                "import_wh": [100 * k for k in steps],
                "import_tariff_wh": rates,
                "resolution_wh": 1,
            },
        )

    def settle(self) -> None:
        """Whatever readings have marked."""
        self.ward.field.settle_all(self.now + 2 * HOUR)


@pytest.fixture
def street(ward: Ward) -> Street:
    return Street(ward)


def _client(street: Street) -> TestClient:
    return TestClient(create_app(street.ward.store, street.ward.field.settings, lambda: street.now))


def test_rates_that_do_not_add_up_are_told_with_rule_version_and_threshold(street: Street) -> None:
    street.publish_day(off={48: 3, 60: 2}, lacking=frozenset({20}))
    street.settle()
    assert street.ward.slots("HOME", F.TARIFF_SUM) == [47], "3 Wh are more than a step of each of two registers"
    client = _client(street)
    told = client.get("/api/v1/usage-points/HOME/intervals", params={"day": str(DAY0)}).json()
    flagged = [i["starts_at"] for i in told["days"][0]["intervals"] if "tariff_sum" in i["flags"]]
    assert [datetime.fromisoformat(at) for at in flagged] == [NOON - QUARTER]
    (rule_set,) = told["rule_sets"]
    rule = rule_set["rules"]["rules"]["tariff_sum"]
    assert (rule["version"], rule["steps"], rule["flag"]) == (1, 1.0, int(F.TARIFF_SUM))
    page = client.get(f"/usage-points/HOME?day={DAY0}", headers={"Accept": "text/html"})
    assert page.status_code == 200
    for shown in ("Tariff sum", "费率电量和不符", "the tariff registers do not add up to the total register"):
        assert shown in page.text, shown


def test_the_meter_shows_its_rates(street: Street) -> None:
    street.publish_day(off={96: 5})
    client = _client(street)
    readings = client.get(
        "/api/v1/meters/HOME/readings", params={"from": "2026-03-02T15:45:00Z", "to": "2026-03-02T16:30:00Z"}
    ).json()
    assert [r["import_tariff_wh"] for r in readings["items"]] == [[5700, 3800], [5760, 3845]]
    assert readings["items"][0]["import_phase_wh"] is None
    page = client.get("/meters/Acme/HOME", headers={"Accept": "text/html"})
    assert page.status_code == 200
    for shown in ("per rate", "分费率", "1: 5.760 kWh", "2: 3.845 kWh"):
        assert shown in page.text, shown
    other = client.get("/meters/Acme/sum", headers={"Accept": "text/html"}).text
    assert "per rate" not in other


def test_rates_that_come_later_are_added_and_the_day_is_judged_again(street: Street) -> None:
    street.publish_day(off={})
    street.settle()
    at = NOON + timedelta(minutes=5)
    street.publish("reading", {"ts": at, "import_wh": 4833})
    street.settle()
    assert street.ward.slots("HOME", F.TARIFF_SUM) == []
    before = street.now
    street.now += timedelta(hours=1)
    street.publish("reading", {"ts": at, "import_wh": 4833, "import_tariff_wh": [2900, 1943]})
    street.settle()
    assert street.ward.slots("HOME", F.TARIFF_SUM) == [48]
    rates = b"select import_t1_wh, import_t2_wh from phase_reading where ts = %s"
    with street.ward.store.transaction() as c:
        assert c.execute(rates, [at]).fetchall() == [(2900, 1943)]
        with history.as_known(c, before):
            assert c.execute(rates, [at]).fetchall() == []
        with history.as_known(c, street.now):
            assert c.execute(rates, [at]).fetchall() == [(2900, 1943)]


def test_meters_that_tell_rates_are_remembered_once(street: Street, store: Store) -> None:
    known = b"select serial from tariff_meter join meter using (meter_id)"
    street.publish("reading", {"ts": T0, "import_wh": 0, "import_phase_wh": [0, 0, 0]})
    with store.transaction() as c:
        assert c.execute(known).fetchall() == []
    for k in range(2):
        street.publish("reading", {"ts": T0 + k * QUARTER, "import_wh": k, "import_tariff_wh": [None, 0, k]})
    with store.transaction() as c:
        assert c.execute(known).fetchall() == [("HOME",)]
