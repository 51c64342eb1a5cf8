"""Analyses made-up areas of many sizes and lengths in a process of its own; prints the CPU time of each, one thread."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

import numpy as np

from reconciliation import AreaWindow, analyse

PER_DAY = 96


def area(n_meters: int, days: int, *, theft: bool, seed: int) -> AreaWindow:
    """A street of single-phase meters, a fifth of them three-phase; one reading hides half of it when `theft`."""
    rng = np.random.default_rng(seed)
    t = days * PER_DAY
    hour = np.arange(t) % PER_DAY / 4
    habit = 0.4 + 1.6 * np.exp(-np.square((hour - 19.5) / 2.5)) + 0.8 * np.exp(-np.square((hour - 7.5) / 1.5))
    used = rng.lognormal(np.log(60.0), 0.5, (n_meters, 1)) * habit * rng.gamma(3.0, 1 / 3.0, (n_meters, t))
    used += (rng.random((n_meters, t)) < 0.02) * rng.uniform(200.0, 600.0, (n_meters, 1))
    three = np.arange(n_meters) % 5 == 4
    share = np.where(three[:, None], 1.0 / 3.0, np.eye(3)[np.arange(n_meters) % 3])
    phases = share.T @ used
    busbar = 232.0 + rng.normal(0.0, 0.4, t) + rng.normal(0.0, 0.1, (3, t))
    ohm = rng.uniform(0.1, 0.9, (n_meters, 1)) * 0.5 / n_meters  # the more meters, the stouter the cable
    drop = ohm * (share @ phases) * 4 / 230.0
    loss = share.T @ (used * drop / 230.0)
    read = used * (1 + rng.normal(0.0, 0.003, (n_meters, 1)))
    if theft:
        read[0] *= 0.5
    imported = np.diff(np.floor(np.cumsum(np.pad(read, ((0, 0), (1, 0))), axis=1) / 10.0) * 10.0, axis=1)
    gaps = rng.random((n_meters, t)) < 0.01
    supplied = np.round((phases + loss) / 100.0) * 100.0
    return AreaWindow(
        area=f"{n_meters} meters",
        start=datetime(2026, 3, 2, tzinfo=UTC),
        interval_s=900,
        meters=tuple(str(i) for i in range(n_meters)),
        three_phase=three,
        household_import_wh=np.where(gaps, np.nan, imported),
        household_export_wh=np.where(gaps, np.nan, 0.0),
        household_voltage_v=np.where(gaps, np.nan, np.round(share @ busbar - drop + rng.normal(0, 0.2, used.shape), 1)),
        area_import_wh=np.round((phases + loss).sum(axis=0) / 100.0) * 100.0,
        area_export_wh=np.zeros(t),
        area_phase_wh=supplied,
        area_voltage_v=np.round(busbar + rng.normal(0.0, 0.1, (3, t)), 1),
    )


if __name__ == "__main__":
    seed = int(sys.argv[1])
    for n_meters, days, theft in json.loads(sys.argv[2]):
        window = area(n_meters, days, theft=theft, seed=seed)
        spent = []
        for _ in range(3 if n_meters <= 100 else 1):
            before = time.process_time()
            report = analyse([window])[window.area]
            spent.append(time.process_time() - before)
        print(json.dumps({"meters": n_meters, "days": days, "alarm": report.alarm, "cpu_s": min(spent)}), flush=True)
