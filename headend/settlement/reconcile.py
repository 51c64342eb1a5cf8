"""Has the engine explain each station's areas once their window is settled, and keeps its reports, technical losses
and findings.

A run happens when all areas of a station are settled up to the last full day with nothing left to settle in the
window, none of them is below
its history watermark, and something under the balances, or the topology, has changed since the last report.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, Protocol

from headend.domain.clock import Clock
from headend.log import get_logger
from headend.metrics import FINDINGS_OPENED
from headend.settings import Settings
from headend.settlement import case_keeper
from headend.settlement.data_quality import MISSING_DATA, PROLONGED_ESTIMATION, data_findings
from headend.settlement.grid import DayRange
from headend.settlement.learning import learnt_priors
from headend.settlement.reports import data_finding_row, finding_row, model_row, report_row, technical_rows
from headend.settlement.rules import Rules
from headend.settlement.windows import SettledWindow, load_window
from headend.store import balances, locks
from headend.store.balances import Watermark
from headend.store.pool import Connection, Row, Store
from reconciliation import AreaReport, AreaWindow, Cause, Priors, analyse

_log = get_logger(__name__)

_CHECK_S = 1.0
"""What there is to reconcile is asked so often."""
_AGAIN_S = 30.0
"""A station is not reconciled again sooner: late readings come in bursts."""
_METHOD = "1"
"""Part of the marker: rises when reports have to be made again although nothing under them changed."""


class Engine(Protocol):
    """What explains areas."""

    def __call__(self, windows: Sequence[AreaWindow], *, priors: Priors) -> Mapping[str, AreaReport]:
        """One report per area, by its code."""
        ...


class Reconciler:
    """Runs the engine for one station after the other."""

    def __init__(
        self, store: Store, settings: Settings, clock: Clock, *, started: datetime, engine: Engine = analyse
    ) -> None:
        self._store = store
        self._engine = engine
        self._settings = settings.settlement
        self._clock = clock
        self._started = started
        self._rules = Rules.of(settings.settlement, settings.validation)
        self._checked: datetime | None = None

    def step(self) -> bool:
        """Reconcile the first station that is due and that no other worker has; whether there was one.

        Asks the store at most once a second.
        """
        now = self._clock()
        if self._checked is not None and abs(now - self._checked) < timedelta(seconds=_CHECK_S):
            return False
        self._checked = now
        for areas in self._due(now):
            station = areas[0]["station_id"]
            with self._alone(station) as mine:
                # Another worker has it, or had it until just now.
                if not mine or all(other[0]["station_id"] != station for other in self._due(now)):
                    continue
                self._checked = None
                self.reconcile(areas)
            return True
        return False

    def _alone(self, station: int) -> AbstractContextManager[bool]:
        """The lock takes a connection of its own; who has but one is no worker beside others."""
        return (
            locks.alone(self._store, f"reconcile station {station}") if self._store.pool_max > 1 else nullcontext(True)
        )

    def _due(self, now: datetime) -> list[list[Row]]:
        calendar = self._rules.calendar
        last = calendar.day_of(now) - timedelta(days=1)
        first = last - timedelta(days=self._settings.window_days - 1)
        watermark = Watermark(self._started, now - timedelta(seconds=self._settings.silent_concentrator_s))
        with self._store.transaction() as connection:
            rows = balances.stations(connection, first, last)
            loading = balances.loading(connection, watermark) if rows else set()
        ended = calendar.bounds(last)[1]
        stations = [list(group) for _, group in groupby(rows, key=lambda row: row["station_id"])]
        return [areas for areas in stations if self._is_due(areas, loading, last, ended, now)]

    def _is_due(self, areas: Sequence[Row], loading: set[int], last: date, ended: datetime, now: datetime) -> bool:
        for area in areas:
            settled = area["last_day"] == last and area["last_settled_at"] >= ended and area["dirty"] == 0
            if not settled or area["area_id"] in loading:
                return False
        if all(area["marker"] == marker_of(areas) for area in areas):
            return False
        reported = [area["reported_at"] for area in areas if area["reported_at"] is not None]
        return not reported or now - max(reported) >= timedelta(seconds=_AGAIN_S)

    def reconcile(self, areas: Sequence[Row]) -> Mapping[str, AreaReport]:
        """Analyse the areas of one station together and store what is found. The engine runs between two
        transactions.
        """
        began = time.perf_counter()
        calendar = self._rules.calendar
        days = DayRange(calendar, min(a["first_day"] for a in areas), max(a["last_day"] for a in areas))
        with self._store.transaction() as connection:
            windows = [load_window(connection, a["area_id"], a["code"], days, self._rules) for a in areas]
            priors = learnt_priors(connection, self._clock())
        loaded = time.perf_counter()
        reports = self._engine([w.window for w in windows], priors=priors)
        analysed = time.perf_counter()
        now = self._clock()
        marker = marker_of(areas)
        opened: list[str] = []
        with self._store.transaction() as connection:
            for area, settled in zip(areas, windows, strict=True):
                report = reports[settled.area]
                balances.put_report(connection, report_row(settled, report, priors, marker=marker, now=now))
                opened += self._keep(connection, area, settled, report, now=now)
        for kind in opened:
            FINDINGS_OPENED.labels(kind=kind).inc()
        _log.info(
            "station reconciled", areas=[a["code"] for a in areas], first=str(days.first), last=str(days.last),
            opened=opened, load_s=round(loaded - began, 3), analyse_s=round(analysed - loaded, 3),
        )  # fmt: skip
        return reports

    def _keep(
        self,
        connection: Connection,
        area: Row,
        settled: SettledWindow,
        report: AreaReport,
        *,
        now: datetime,
    ) -> list[str]:
        """Store what one area's report says; returns the kinds of the findings that were opened."""
        days = settled.days
        stored = balances.window(connection, settled.area_id, days.first, days.last)
        balances.put_technical(connection, technical_rows(settled, report, stored, area, self._rules))
        if (model := model_row(settled, report, now)) is not None:
            balances.put_model(connection, model)
        # Where nothing could be computed the engine takes nothing back; what rests on data alone was judged anyway.
        kinds = (MISSING_DATA, PROLONGED_ESTIMATION) if report.cause == Cause.NOT_COMPUTABLE else None
        return case_keeper.keep(
            connection, settled.area_id, self._finding_rows(settled, report, now),
            first=days.first, last=days.last, now=now, kinds=kinds,
        )  # fmt: skip

    def _finding_rows(self, settled: SettledWindow, report: AreaReport, now: datetime) -> list[dict[str, Any]]:
        """The engine's findings, and what the rules for lack of data add to them."""
        rows: dict[tuple[str, int | None], dict[str, Any]] = {}
        for found in report.findings:
            try:
                row = finding_row(settled, found, now)
            except ValueError as unusable:
                _log.warning("finding left out", area=settled.area, error=str(unusable))
                continue
            rows.setdefault((row["kind"], row["meter_id"]), row)
        told = {meter for kind, meter in rows if kind == MISSING_DATA}
        for lack in data_findings(settled, prolonged_s=self._settings.prolonged_estimation_h * 3600):
            if lack.meter_id not in told:
                rows.setdefault((lack.kind, lack.meter_id), data_finding_row(settled, lack, now))
        return list(rows.values())


def marker_of(areas: Sequence[Row]) -> str:
    """Digest of what a station's reports rest on: window, balances, memberships, installations of all its areas (they
    are neighbours).
    """
    parts = [_METHOD]
    for area in areas:
        parts += [
            str(area[key]) for key in ("area_id", "first_day", "last_day", "digest", "memberships", "installations")
        ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
