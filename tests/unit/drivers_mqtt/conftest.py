"""A decoder of one small payload map."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import Any

import pytest

from drivers.mqtt.decoded import Decoded
from drivers.mqtt.map_file import parse_map
from drivers.mqtt.router import Router
from support.mapped import HEAD, NOW_US, Decode


@pytest.fixture
def mapped() -> Callable[..., Decode]:
    """From the text of `[[messages]]` tables to a decoder of topic `acme/7` by default."""

    def made(messages: str, *, site: tzinfo = UTC, head: str = HEAD) -> Decode:
        router = Router("headend/v1", [parse_map(head + messages, file="acme.toml")], site=site)

        def decode(payload: Any, *, topic: str = "acme/7", now_us: int = NOW_US, retained: bool = False) -> Decoded:
            body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            return router.decode(topic, body, now_us, retained=retained)

        return decode

    return made
