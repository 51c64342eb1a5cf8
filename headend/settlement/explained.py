"""One area's days explained now, with its neighbours, from what is settled; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import reconciliation
from headend.settings import Settings
from headend.settlement.engine import Engine, ask
from headend.settlement.rules import Rules
from headend.settlement.stations import given
from headend.settlement.windows import SettledWindow
from headend.store import balances
from headend.store.pool import Connection
from reconciliation import AreaReport


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """The engine's answer for one area, and what it was given."""

    area: SettledWindow
    neighbours: tuple[str, ...]
    """Codes of the other areas of its station, which were looked at beside it."""
    report: AreaReport


def explain(
    connection: Connection, settings: Settings, code: str, first: date, last: date, *, engine: Engine = reconciliation
) -> Explained:
    """Explain an area over local days `first` to `last`, which are settled.

    Raises LookupError where there is no such area, or nothing of it is settled in these days.
    """
    if not balances.areas_by_code(connection, [code]):
        raise LookupError(f"there is no area {code!r}")
    settled = balances.stations(connection, first, last)
    own = next((area["station_id"] for area in settled if area["code"] == code), None)
    if own is None:
        raise LookupError(f"{code}: no day from {first} to {last} is settled")
    rules = Rules.of(settings.settlement, settings.validation)
    station = [area for area in settled if area["station_id"] == own]
    read = given(connection, station, rules, rules.calendar.bounds(last)[1])
    answer = ask(
        engine, [w.window for w in read.windows], areas=[code], priors=read.priors,
        wrong_area_rate=settings.settlement.wrong_area_rate,
    )  # fmt: skip
    windows = {w.area: w for w in read.windows}
    return Explained(windows.pop(code), tuple(windows), answer.reports[code])
