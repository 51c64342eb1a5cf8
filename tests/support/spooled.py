"""Rounds for the spool's tests: any that there can be, and plain ones with a register for each meter."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from drivers.base import MeterIdentity, ReadingFlag, RegisterReading
from drivers.events import EventKind
from headend.domain.calendar import to_us
from headend.domain.topology import PollTarget
from headend.ingest.poll_round import Mismatch, Rejected, RoundResult
from headend.ingest.spool import Spool
from headend.ingest.spool_file import SpoolFile
from headend.ingest.status_events import StatusWord
from headend.settings import Poll

SHANGHAI = ZoneInfo("Asia/Shanghai")
BUS = "10.0.0.1:502"

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_registers = st.none() | st.integers(0, 2**63 - 1)
_numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
_instants = st.integers(0, 2**52)


def _three(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.tuples(values, values, values)


readings = st.builds(
    RegisterReading,
    instant_us=_instants,
    uncertainty_ms=st.integers(0, 10**6),
    import_wh=_registers,
    export_wh=_registers,
    import_phase_wh=_three(_registers),
    export_phase_wh=_three(_registers),
    import_tariff_wh=st.none() | st.lists(_registers, min_size=1, max_size=8).map(tuple),
    voltage_v=_three(_numbers),
    current_a=_three(_numbers),
    power_w=_numbers,
    resolution_wh=_numbers,
    serial=st.none() | _texts,
    firmware=st.none() | _texts,
    flags=st.sampled_from([ReadingFlag(n) for n in range(4)]),
    refused=st.lists(_texts, max_size=3).map(tuple),
)
identities = st.builds(MeterIdentity, _texts, _texts)
targets = st.builds(
    PollTarget,
    st.integers(0, 2**31),
    _texts,
    _texts,
    _texts,
    _texts,
    st.integers(0, 255),
    st.booleans(),
    st.none() | _texts,
)
_kinds = st.sampled_from(list(EventKind))
rounds = st.builds(
    RoundResult,
    _texts,
    _instants,
    st.lists(st.tuples(identities, readings), max_size=4),
    st.lists(st.builds(Mismatch, targets, readings), max_size=2),
    st.lists(
        st.builds(Rejected, targets, _texts, _texts, st.integers(0, 9999), st.lists(st.integers(0, 65535)).map(tuple)),
        max_size=2,
    ),
    st.lists(
        st.builds(
            StatusWord,
            meter=identities,
            register=_texts,
            word=st.integers(0, 65535),
            bits=st.dictionaries(st.integers(0, 15), st.tuples(_kinds, st.none() | _kinds), max_size=3),
            instant_us=_instants,
            uncertainty_ms=st.integers(0, 10**6),
        ),
        max_size=2,
    ),
)
"""Any round that there can be."""


def round_at(at: datetime, registers: Mapping[str, int | None], *, bus: str = BUS, **also: Any) -> RoundResult:
    """A round that read these import registers, by serial; `also`: more of each reading."""
    at_us = to_us(at)
    found = [
        (MeterIdentity("Eastron", serial), RegisterReading(instant_us=at_us, uncertainty_ms=20, import_wh=wh, **also))
        for serial, wh in registers.items()
    ]
    return RoundResult(bus, at_us, found)


def measured(at: datetime, registers: Mapping[str, int | None], rng: random.Random, *, bus: str = BUS) -> RoundResult:
    """With what a household meter measures besides its register: records as large as in the field."""
    result = round_at(at, registers, bus=bus)
    result.readings = [
        (identity, replace(r, voltage_v=(rng.uniform(220, 240), None, None), power_w=rng.uniform(0, 4000)))
        for identity, r in result.readings
    ]
    return result


def spool_file(directory: Path) -> SpoolFile:
    """An open one."""
    file = SpoolFile(directory, aside_stamp=lambda: "then")
    file.open()
    return file


def spool(directory: Path, clock: Any, *, spool_mb: int = 100) -> Spool:
    """Not open yet; no meter stores a profile."""
    poll = Poll(spool_dir=directory, spool_mb=spool_mb)
    return Spool(poll, zone=SHANGHAI, clock=clock, tells_again=lambda _: False)


def registers_of(result: RoundResult) -> dict[str, int | None]:
    """What `round_at` was given."""
    return {identity.serial: reading.import_wh for identity, reading in result.readings}
