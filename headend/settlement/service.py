"""The role `settle`: dirty marks become intervals and balances, days become final, the window is reconciled.

Any number of processes on any number of hosts may run it: each area is settled by one of them at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import reconciliation
from headend.domain.clock import Clock
from headend.domain.processes import Fact
from headend.log import get_logger
from headend.metrics import SETTLE_FAILURES, SETTLE_SECONDS, SETTLED_DAYS, STORE_ERRORS
from headend.settings import Settings
from headend.settlement.engine import Engine
from headend.settlement.reconcile import Reconciler
from headend.settlement.rules import Rules
from headend.settlement.settler import DAYS_A_PASS, Outcome, settle_marked
from headend.settlement.turns import Age, PutAside, Turns
from headend.store import balances, dirty
from headend.store.balances import Watermark
from headend.store.errors import StoreConflict, StoreUnavailable
from headend.store.pool import Store

_log = get_logger(__name__)

_BUSY_S = 30.0
"""A day that readings keep touching is settled at least so often."""
_LOADING_QUIET_S = 10.0
"""While history is loading, a day has to be quiet for so much longer: the next upload brings the same days."""
_IDLE_S = 0.25
_SWEEP_S = 60.0
_FINALISE_S = 1.0
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
_RUNNING: Final = timedelta(days=1)
"""Yesterday and today are the running days: all areas' come before any area's history, up to history's share."""


class SettlementService:
    """Settles what is dirty, in passes of one area and up to 31 days each; several services share the areas."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, *, engine: Engine = reconciliation) -> None:
        self._store = store
        self._settings = settings.settlement
        self._clock = clock
        self._rules = Rules.of(settings.settlement, settings.validation)
        self._started = clock()
        self._swept: datetime | None = None
        self._finalised: datetime | None = None
        self._reconciler = Reconciler(store, settings, clock, started=self._started, engine=engine)
        self._turns = Turns()
        self._aside = PutAside()
        self._settled_days = 0
        self._settled_at: datetime | None = None
        self._store_failures = 0

    def health(self) -> Mapping[str, Fact]:
        """What was settled since this process began; how much waits stands in the store."""
        settled = self._settled_at
        return {
            "settled_area_days": self._settled_days,
            "last_settled_age_s": None if settled is None else round((self._clock() - settled).total_seconds(), 1),
            "store_failures_in_row": self._store_failures,
            "areas_put_aside": len(self._aside),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop. The store being away is waited for; what was in hand is done again."""
        while not stop.is_set():
            pause = _IDLE_S
            try:
                if await asyncio.to_thread(self.step):
                    pause = 0.0
                self._store_failures = 0
            except (StoreUnavailable, StoreConflict) as error:
                pause = _BACK_OFF_S[min(self._store_failures, len(_BACK_OFF_S) - 1)]
                self._store_failures += 1
                STORE_ERRORS.labels(kind=type(error).__name__).inc()
                _log.warning("settlement waits for the store", error=str(error), pause_s=pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)

    def step(self) -> bool:
        """One pass: settle an area if there is one, else the work that follows when all is settled. Whether there was
        anything.
        """
        self._sweep()
        if self.settle_next() is not None:
            return True
        self._finalise()
        return self._reconciler.step()

    def settle_next(self) -> Outcome | None:
        """Settle the area that has waited longest, in one transaction with the removal of its marks; None: nothing is
        ripe that nobody else has.

        The running days of all areas come before older ones, which get a share of the time: a year of one area's
        history holds up nobody's today, and a busy fleet holds up no history for ever.
        """
        now = self._clock()
        ripe = dirty.Ripe(
            quiet=now - timedelta(seconds=self._settings.quiet_s),
            quiet_loading=now - timedelta(seconds=self._settings.quiet_s + _LOADING_QUIET_S),
            overdue=now - timedelta(seconds=_BUSY_S),
            started=self._started,
            silent=now - timedelta(seconds=self._settings.silent_concentrator_s),
        )
        running_from = self._rules.calendar.day_of(now) - _RUNNING
        spans = {
            Age.RUNNING: dirty.Span(first=running_from),
            Age.OLDER: dirty.Span(last=running_from - timedelta(days=1)),
        }
        for age in self._turns.order():
            for area_id in self._turns.waiting(age, partial(self._waiting, ripe, spans[age])):
                began = time.perf_counter()
                outcome = self._try(area_id, ripe, spans[age], now)
                if outcome is not None:
                    seconds = time.perf_counter() - began
                    self._turns.spent(age, seconds)
                    SETTLE_SECONDS.labels(age=str(age)).observe(seconds)
                    return outcome
        return None

    def _waiting(self, ripe: dirty.Ripe, span: dirty.Span) -> list[int]:
        with self._store.transaction() as connection:
            return dirty.waiting_areas(connection, ripe, span)

    def _try(self, area_id: int, ripe: dirty.Ripe, span: dirty.Span, now: datetime) -> Outcome | None:
        """Settle an area; None where another worker has it, or has settled it meanwhile, or it is put aside.

        An area that cannot be settled is put aside for a while, with its marks left: it stops no other one.
        """
        if self._aside.holds(area_id, now):
            return None
        try:
            outcome = self._settle(area_id, ripe, span, now)
        except StoreUnavailable:
            raise
        except StoreConflict as error:
            STORE_ERRORS.labels(kind=type(error).__name__).inc()
            pause = self._aside.put(area_id, now)
            _log.warning("area is settled again: somebody was faster", area_id=area_id, error=str(error), pause=pause)
            return None
        except Exception:  # noqa: BLE001 the supervisor of areas: one that fails must not take the others down
            SETTLE_FAILURES.inc()
            pause = self._aside.put(area_id, now)
            _log.exception("area cannot be settled, it is tried again", area_id=area_id, pause=str(pause))
            return None
        self._aside.forgive(area_id)
        return outcome

    def _settle(self, area_id: int, ripe: dirty.Ripe, span: dirty.Span, now: datetime) -> Outcome | None:
        began = time.perf_counter()
        with self._store.transaction() as connection:
            code = dirty.try_area(connection, area_id)
            marks = [] if code is None else dirty.marks(connection, area_id, ripe, DAYS_A_PASS, span)
            if not marks:
                return None
            outcome = settle_marked(connection, area_id, marks, self._rules, now)
        SETTLED_DAYS.inc(outcome.days)
        self._settled_days += outcome.days
        self._settled_at = now
        seconds = time.perf_counter() - began
        _log.info(
            "area settled", area=code, days=outcome.days, points=outcome.points, changed=outcome.changed,
            seconds=round(seconds, 3), intervals_per_s=round(outcome.intervals / seconds),
        )  # fmt: skip
        return outcome

    def _sweep(self) -> None:
        """Once a minute: days that ended, and days that nothing touched, get their last word."""
        now = self._clock()
        if self._swept is not None and abs(now - self._swept) < timedelta(seconds=_SWEEP_S):
            return
        today = self._rules.calendar.day_of(now)
        with self._store.transaction() as connection:
            marked = dirty.mark_ended(
                connection,
                yesterday=today - timedelta(days=1),
                back=self._settings.window_days + self._settings.grace_days,
                zone=self._settings.zone,
                marked_at=now,
            )
        self._swept = now
        if marked:
            _log.info("days ended", marked=marked)

    def _finalise(self) -> None:
        now = self._clock()
        if self._finalised is not None and abs(now - self._finalised) < timedelta(seconds=_FINALISE_S):
            return
        with self._store.transaction() as connection:
            final = balances.finalise(
                connection,
                now=now,
                zone=self._settings.zone,
                grace_days=self._settings.grace_days,
                watermark=Watermark(self._started, now - timedelta(seconds=self._settings.silent_concentrator_s)),
            )
        self._finalised = now
        if final:
            _log.info("days are final", area_days=len(final))
