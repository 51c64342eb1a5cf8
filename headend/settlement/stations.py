"""One station explained: its areas' windows read, the engine asked, and reports, technical losses and cases kept.

The rule it keeps: the engine runs between two transactions, and what it said is kept whole or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headend.domain.clock import Clock
from headend.log import get_logger
from headend.metrics import FINDINGS_OPENED, RECONCILE_SECONDS, RECONCILED_AREAS
from headend.settings import Settlement
from headend.settlement import case_keeper
from headend.settlement.case_keeper import Kept
from headend.settlement.data_quality import MISSING_DATA, PROLONGED_ESTIMATION, data_findings
from headend.settlement.engine import Answer, Engine, ask
from headend.settlement.grid import DayRange
from headend.settlement.learning import learnt_priors
from headend.settlement.readiness import marker_of
from headend.settlement.reports import data_finding_row, finding_row, model_row, report_row, technical_rows
from headend.settlement.rules import Rules
from headend.settlement.windows import SettledWindow, load_window
from headend.store import balances, locks
from headend.store.pool import Connection, Row, Store
from reconciliation import AreaReport, Cause, Priors

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What the engine is given of a station."""

    days: DayRange
    windows: Sequence[SettledWindow]
    priors: Priors


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """What the engine said of a station, and what became of it."""

    given: Given
    answer: Answer
    kept: Kept


def given(connection: Connection, areas: Sequence[Row], rules: Rules, now: datetime) -> Given:
    """Windows of a station's areas (rows of balances.stations), and what verdicts had taught by `now`."""
    days = DayRange(rules.calendar, min(a["first_day"] for a in areas), max(a["last_day"] for a in areas))
    windows = [load_window(connection, a["area_id"], a["code"], days, rules) for a in areas]
    return Given(days, windows, learnt_priors(connection, now))


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """Explains stations and keeps what is found."""

    store: Store
    settings: Settlement
    rules: Rules
    clock: Clock
    engine: Engine

    def alone(self, station_id: int) -> AbstractContextManager[bool]:
        """Whether nobody else has the station. The lock takes a connection of its own; who has but one is no worker
        beside others.
        """
        if self.store.pool_max == 1:
            return nullcontext(True)
        return locks.alone(self.store, f"reconcile station {station_id}")

    def explain(self, areas: Sequence[Row]) -> Explained:
        """Explain the areas of one station together and keep what is found. Raises StoreError."""
        began = time.perf_counter()
        with self.store.transaction() as connection:
            read = given(connection, areas, self.rules, self.clock())
        loaded = time.perf_counter()
        windows = [w.window for w in read.windows]
        answer = ask(self.engine, windows, priors=read.priors, wrong_area_rate=self.settings.wrong_area_rate)
        now = self.clock()
        marker = marker_of(areas, self.settings.wrong_area_rate)
        kept = Kept()
        with self.store.transaction() as connection:
            for area, settled in zip(areas, read.windows, strict=True):
                report = answer.reports[settled.area]
                balances.put_report(connection, report_row(settled, report, read.priors, marker=marker, now=now))
                of_area = self._keep(connection, area, settled, report, now=now)
                kept.opened += of_area.opened
                kept.closed += of_area.closed
        for kind in kept.opened:
            FINDINGS_OPENED.labels(kind=kind).inc()
        _count(answer)
        _log.info(
            "station reconciled", station=areas[0]["station"], areas=[a["code"] for a in areas],
            first=str(read.days.first), last=str(read.days.last), explained=sorted(answer.explained),
            opened=kept.opened, closed=kept.closed, load_s=round(loaded - began, 3),
            screen_s=round(answer.screen_s, 3), explain_s=round(answer.explain_s, 3),
        )  # fmt: skip
        return Explained(read, answer, kept)

    def _keep(
        self, connection: Connection, area: Row, settled: SettledWindow, report: AreaReport, *, now: datetime
    ) -> Kept:
        """Store what one area's report says."""
        days = settled.days
        stored = balances.window(connection, settled.area_id, days.first, days.last)
        balances.put_technical(connection, technical_rows(settled, report, stored, area, self.rules))
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
        for lack in data_findings(settled, prolonged_s=self.settings.prolonged_estimation_h * 3600):
            if lack.meter_id not in told:
                rows.setdefault((lack.kind, lack.meter_id), data_finding_row(settled, lack, now))
        return list(rows.values())


def _count(answer: Answer) -> None:
    for step, areas, seconds in (
        ("screen", len(answer.reports), answer.screen_s),
        ("explain", len(answer.explained), answer.explain_s),
    ):
        RECONCILED_AREAS.labels(step=step).inc(areas)
        RECONCILE_SECONDS.labels(step=step).observe(seconds)
