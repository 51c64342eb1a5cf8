"""Topics, instants and messages of the own MQTT format for tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from drivers.mqtt.payload import (
    decode,
)

PREFIX = "headend/v1"
READING = f"{PREFIX}/meter/Acme/1/reading"
BATCH = f"{PREFIX}/meter/Acme/1/batch"
COLUMNS = f"{PREFIX}/meter/Acme/1/columns"
EVENT = f"{PREFIX}/meter/Acme/1/event"
PROFILE = f"{PREFIX}/concentrator/C1/profile"
C_EVENT = f"{PREFIX}/concentrator/C1/event"
T0 = datetime(2026, 11, 23, 5, 15, tzinfo=UTC)
T0_US = 1_795_410_900_000_000


def us(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def read(topic: str, payload: Any, received_us: int = T0_US) -> Any:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return decode(topic, body, prefix=PREFIX, received_us=received_us)


def profile(**changes: Any) -> dict[str, Any]:
    return {
        "format": "headend.profile/1",
        "seq": 17,
        "backlog": 42,
        "meters": ["Acme/1", "Acme/2"],
        "ts": ["2026-11-23T05:00:00Z", "2026-11-23T05:15:00Z"],
        "import_wh": [[1, 2], [None, 4]],
    } | changes
