"""A small payload map's head, an instant, and what a decoder under test looks like."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from drivers.mqtt.decoded import Decoded

HEAD = """
id = "acme"
name = "Acme"
sources = ["a recording"]
[manual]
title = "Manual"
where = "page 1"
[identity]
manufacturer = "Acme"
serial = "{serial}"
"""
NOW_US = 1_795_410_900_000_000
"""2026-11-23T05:15:00Z"""


def us(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


Decode = Callable[..., Decoded]
