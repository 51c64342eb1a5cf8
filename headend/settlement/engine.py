"""The engine as settlement asks it: every area is screened, what stands out is explained, and what each took is known.

The rule it keeps: processor time is told by the kind of area that it went into, so that a slow night has a reason.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from reconciliation import AreaReport, AreaWindow, Priors, Screening
from reconciliation.mapping import WRONG_AREA_RATE


class Engine(Protocol):
    """What explains areas; the package `reconciliation` itself is one."""

    def screen(self, window: AreaWindow) -> Screening:
        """One area after the tests that every area gets."""
        ...

    def explain(
        self, screenings: Sequence[Screening], areas: Sequence[str] | None = None, *, priors: Priors,
        wrong_area_rate: float,
    ) -> Mapping[str, AreaReport]:  # fmt: skip
        """Reports of these areas (None: of all) among their neighbours, by code."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the engine said of neighbouring areas."""

    reports: Mapping[str, AreaReport]
    """By code of the area."""
    explained: frozenset[str]
    """Areas in which screening saw something, or the explanation did: more than a clean balance was looked at."""
    screen_s: float
    """Clock time that screening took, all areas."""
    explain_s: float
    """The same of the explanation."""
    cpu_s: Mapping[str, float]
    """Processor time of this thread by area: its own screening and a part of the explanation, which is put on the
    areas with an alarm, where there are any, else on all; by meters.
    """


def ask(
    engine: Engine,
    windows: Sequence[AreaWindow],
    *,
    priors: Priors,
    wrong_area_rate: float | None,
    areas: Sequence[str] | None = None,
) -> Answer:
    """Reports of neighbouring areas, or of those named; `wrong_area_rate` None: the engine's own."""
    began = time.perf_counter()
    cpu_s: dict[str, float] = {}
    screenings: list[Screening] = []
    for window in windows:
        busy = time.thread_time()
        screenings.append(engine.screen(window))
        cpu_s[window.area] = time.thread_time() - busy
    screened = time.perf_counter()
    busy = time.thread_time()
    reports = engine.explain(
        screenings,
        areas,
        priors=priors,
        wrong_area_rate=WRONG_AREA_RATE if wrong_area_rate is None else wrong_area_rate,
    )
    explained_cpu_s = time.thread_time() - busy
    alarms = [w for w in windows if w.area in reports and reports[w.area].alarm]
    shared = alarms or list(windows)
    meters = sum(w.n_meters for w in shared)
    for window in shared:
        cpu_s[window.area] += explained_cpu_s * window.n_meters / max(meters, 1)
    return Answer(
        reports=reports,
        explained=frozenset(s.window.area for s in screenings if s.noteworthy) | {w.area for w in alarms},
        screen_s=screened - began,
        explain_s=time.perf_counter() - screened,
        cpu_s=cpu_s,
    )
