"""What decoding must never do, whatever it is given: checked by the property tests and by the fuzzer alike."""

from __future__ import annotations

from typing import Final

from drivers.base import ABSENT
from drivers.errors import PayloadError
from drivers.mqtt.decoded import REASONS, ConcentratorState, Events, Ignored, MeterReadings, ProfileUpload
from drivers.mqtt.messages import MAX_REGISTER_WH
from drivers.mqtt.router import Router
from support.mapped import NOW_US

TOPICS: Final = (
    "headend/v1/meter/Acme/1/reading", "headend/v1/meter/Acme/1/batch", "headend/v1/meter/Acme/1/columns",
    "headend/v1/meter/Acme/1/event", "headend/v1/concentrator/C1/profile", "headend/v1/concentrator/C1/event",
    "headend/v1/concentrator/C1/state", "shellypro3em-1/events/rpc", "shellypro3em-1/status/emdata:0",
    "shellypro3em-1/status/em1data:1", "shellypro3em-1/online", "shellies/shellyem-1/emeter/0/total", "tele/p/SENSOR",
    "tele/p/LWT", "zigbee2mqtt/p", "zigbee2mqtt/p/availability", "ams/1", "dt/b/1/ds", "smartmeter/1/ACTIVE_ENERGY_P",
    "spBv1.0/g/DBIRTH/n/d", "spBv1.0/g/DDATA/n/d", "spBv1.0/g/DDEATH/n/d", "spBv1.0/g/NBIRTH/n", "spBv1.0/g/NDEATH/n",
)  # fmt: skip
"""One of each decoder, built-in maps included."""
_FIRST_US: Final = 946_684_800_000_000
_END_US: Final = 4_102_444_800_000_000


def check(router: Router, topic: str, payload: bytes, retained: bool) -> bool:
    """Decode; AssertionError where anything but a rightly formed answer comes out. True: it was understood."""
    try:
        decoded = router.decode(topic, payload, NOW_US, retained=retained)
    except PayloadError as error:
        if error.reason not in REASONS or not str(error):
            raise AssertionError(f"{error!r} has no known reason") from error
        return False
    match decoded:
        case MeterReadings() | ProfileUpload():
            rows = decoded.batch.rows
            assert len(rows) > 0
            for name in ("import_wh", "export_wh"):
                known = rows[name][rows[name] != ABSENT]
                assert ((known >= 0) & (known <= MAX_REGISTER_WH)).all(), name
            assert ((rows["import_wh"] != ABSENT) | (rows["export_wh"] != ABSENT)).all()
            assert ((rows["ts_us"] >= _FIRST_US) & (rows["ts_us"] < _END_US)).all()
            assert set(decoded.batch.phases["ts_us"].tolist()) <= set(rows["ts_us"].tolist())
        case Events():
            assert decoded.events
        case Ignored():
            assert decoded.reason
        case ConcentratorState():
            assert topic.endswith("/state")
    return True
