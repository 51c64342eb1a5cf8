"""A station whose window ends yesterday by the real clock, for commands, which have no other; settled, not explained.

The local zone is one where it is about noon: no test runs across its midnight.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from headend.domain.clock import system_clock
from headend.settlement.service import SettlementService
from support.field import QUARTER, Field

DAYS = 4
INTERVALS = DAYS * 96
SEED = 20261103


def zone_at_noon() -> str:
    """A fixed zone of the IANA database whose clocks show about noon now."""
    east = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-east:+d}" if east else "Etc/GMT"


@dataclass(frozen=True)
class Stations:
    """What was stored."""

    field: Field
    start: datetime
    last: date
    """The last full day."""
    areas: dict[str, int]
    """Code → area_id."""

    @property
    def settings(self) -> dict[str, str]:
        """For commands: the same zone and window."""
        return {
            "HEADEND_SETTLEMENT__ZONE": self.field.settings.settlement.zone,
            "HEADEND_SETTLEMENT__WINDOW_DAYS": str(DAYS),
            "HEADEND_SETTLEMENT__QUIET_S": "0",
        }

    def reports(self) -> list[dict[str, Any]]:
        """What every report says, without when it was said."""
        found = self.field.rows("select a.code, r.* from area_report r join area a using (area_id) order by a.code")
        return [{key: value for key, value in row.items() if key != "reported_at"} for row in found]

    def cases(self) -> list[dict[str, Any]]:
        """What every case says, without when it was seen."""
        return self.field.rows(
            "select area_id, meter_id, kind, state, confidence, energy_wh, evidence from finding order by 1, 2, 3"
        )

    def forget_reports(self) -> None:
        """As if nothing had ever been explained."""
        self.field.run("truncate area_report, finding, finding_event, finding_run, technical_model")

    def settle(self) -> None:
        """All that is marked, and the days that ended."""
        service = SettlementService(self.field.store, self.field.settings, system_clock)
        service._sweep()
        while service.settle_next() is not None:
            pass


def build_stations(field: Field, *, stations: int, areas: int = 1, houses: int = 6, bad: int | None = None) -> Stations:
    """Stations S1 …, each with some areas; in the first area of all, the household `bad` registers a third of what it
    draws.
    """
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    today = system_clock().astimezone(field.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    start = (today - timedelta(days=DAYS)).astimezone(UTC)
    stamps = [start + k * QUARTER for k in range(INTERVALS + 1)]
    ids: dict[str, int] = {}
    values: list[tuple[int, datetime, int]] = []
    for s in range(1, stations + 1):
        field.run("insert into station (code, name) values (%s, %s) on conflict do nothing", [f"S{s}", f"Station {s}"])
        for a in range(areas):
            code = f"S{s}A{a}"
            ids[code] = field.one(
                "insert into area (code, station_id, name) select %s, station_id, %s from station where code = %s "
                "returning area_id",
                [code, code, f"S{s}"],
            )
            drawn = rng.gamma(2.0, 60.0, (houses, INTERVALS))
            into = drawn.sum(axis=0) * (1 + 1e-5 * drawn.sum(axis=0))
            _, total = field.metered(ids[code], f"{code}-sum", "area", phases=3, multiplier="4", since=start)
            for h in range(houses):
                _, meter = field.metered(ids[code], f"{code}-h{h}", since=start)
                share = 0.33 if h == bad and len(ids) == 1 else 1.0
                values += _registers(meter, stamps, share * drawn[h])
            values += _registers(total, stamps, into / 4)
            field.mark(ids[code], [today.date() - timedelta(days=d) for d in range(DAYS + 1)], at=start)
    field.store_readings(values)
    made = Stations(field, start, today.date() - timedelta(days=1), ids)
    made.settle()
    return made


def _registers(meter: int, stamps: list[datetime], energy: Any) -> list[tuple[int, datetime, int]]:
    register = np.concatenate([[0], np.cumsum(energy)]).astype(int)
    return [(meter, at, int(wh)) for at, wh in zip(stamps, register, strict=True)]
