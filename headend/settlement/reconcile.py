"""The role `settle` has stations explained, one after the other, when their turn has come.

A run happens when all areas of a station are settled up to the last full day with nothing left to settle in the
window, none of them is below its history watermark, and something under the balances, or the topology, has changed
since the last report: at once, or (`reconcile_at`) once a day after a time of day, so that what comes late waits for
the next night.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import reconciliation
from headend.domain.clock import Clock
from headend.settings import Settings
from headend.settlement.engine import Engine
from headend.settlement.readiness import by_station, changed, last_full_day, reported_at, turn_before, waits
from headend.settlement.rules import Rules
from headend.settlement.stations import Explainer
from headend.store import balances
from headend.store.balances import Watermark
from headend.store.pool import Row, Store

_CHECK: Final = timedelta(seconds=1)
"""What there is to reconcile is asked so often."""
_AGAIN: Final = timedelta(seconds=30)
"""A station is not reconciled again sooner: late readings come in bursts."""


class Reconciler:
    """Explains one station after the other."""

    def __init__(
        self, store: Store, settings: Settings, clock: Clock, *, started: datetime, engine: Engine = reconciliation
    ) -> None:
        self._store = store
        self._settings = settings.settlement
        self._clock = clock
        self._started = started
        self._calendar = (rules := Rules.of(settings.settlement, settings.validation)).calendar
        self._explainer = Explainer(store=store, settings=self._settings, rules=rules, clock=clock, engine=engine)
        self._checked: datetime | None = None

    def step(self) -> bool:
        """Reconcile the first station that is due and that no other worker has; whether there was one.

        Asks the store at most once a second.
        """
        now = self._clock()
        if self._checked is not None and abs(now - self._checked) < _CHECK:
            return False
        self._checked = now
        for areas in self._due(now):
            station = areas[0]["station_id"]
            with self._explainer.alone(station) as mine:
                still = self._due(now, station) if mine else []
                if not still:  # another worker has it, or had it until just now
                    continue
                self._checked = None
                self._explainer.explain(still[0])
            return True
        return False

    def _due(self, now: datetime, station: int | None = None) -> list[list[Row]]:
        """Areas of the stations that are due, or of one if it is."""
        last = last_full_day(self._calendar, now)
        first = last - timedelta(days=self._settings.window_days - 1)
        watermark = Watermark(self._started, now - timedelta(seconds=self._settings.silent_concentrator_s))
        with self._store.transaction() as connection:
            rows = balances.stations(connection, first, last, station)
            loading = balances.loading(connection, watermark) if rows else set()
        return [
            areas
            for areas in by_station(rows)
            if waits(areas, loading, last, self._calendar) is None
            and changed(areas, self._settings.wrong_area_rate)
            and self._its_turn(areas, now)
        ]

    def _its_turn(self, areas: Sequence[Row], now: datetime) -> bool:
        reported = reported_at(areas)
        if reported is None:
            return True
        if self._settings.reconcile_at is not None:
            return reported < turn_before(now, self._settings.reconcile_at, self._calendar)
        return now - reported >= _AGAIN
