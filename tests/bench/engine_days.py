"""What a Gram matrix a day would save a nightly run: one day's products against all days', and what keeping them costs.

A window that moves on by a day drops one and gains one. Prints one JSON object of times [s], bytes and numbers, of one
thread.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from engine_growth import PER_DAY, area
from scipy import linalg

from reconciliation.design import Design
from reconciliation.model import build
from reconciliation.noise import Honest
from reconciliation.normal_equations import normal_equations, whitened_courses
from reconciliation.screening import screen

ROUNDS = 7


def least_s(work: Callable[[], Any]) -> float:
    """Processor time of the fastest of ROUNDS."""
    spent = []
    for _ in range(ROUNDS):
        before = time.process_time()
        work()
        spent.append(time.process_time() - before)
    return min(spent)


def one_day(start: Honest, day: int) -> tuple[Design, np.ndarray]:
    """The first round's design and weights of one day alone, with what its filters reach back to."""
    first, last = day * PER_DAY - start.order, (day + 1) * PER_DAY
    streams = tuple(
        replace(
            s,
            levels=np.ascontiguousarray(s.levels[:, first : last + 2]),
            others=np.ascontiguousarray(s.others[:, first:last]),
        )
        for s in start.design.streams
    )
    root = start.root[:, first:last].copy()
    root[:, : start.order] = 0.0
    return replace(start.design, streams=streams, balance=start.design.balance[:, first:last]), root


def products(design: Design, filters: np.ndarray, root: np.ndarray) -> np.ndarray:
    """ZᵀR⁻¹Z as the engine makes it."""
    return normal_equations(design, filters, root, whitened_courses(design, filters, root))[0]


if __name__ == "__main__":
    window = area(int(sys.argv[2]), 28, theft=False, seed=int(sys.argv[1]))
    start = build(window).fit.honest
    design, root = one_day(start, 10)
    of_day = products(design, start.filters, root)
    m, rows = of_day.shape[0], start.root.shape[0] * PER_DAY
    a = start.gram + np.diag(1.0 / np.square(start.design.sd(start.design.tau)))
    columns = np.random.default_rng(int(sys.argv[1])).normal(size=(min(rows, m), m))  # as many as a day has equations
    lower = linalg.cholesky(a, lower=True)
    told = {
        "meters": window.n_meters,
        "screening_s": least_s(lambda: screen(window)),
        "all_days_s": least_s(lambda: products(start.design, start.filters, start.root)),
        "one_day_s": least_s(lambda: products(design, start.filters, root)),
        "factor_s": least_s(lambda: linalg.cholesky(a, lower=True)),
        "factor_update_s": least_s(lambda: linalg.qr(np.concatenate([lower.T, columns]), mode="r")),
        "effects": m,
        "rank_of_day": int(np.linalg.matrix_rank(of_day)),
        "gram_bytes": m * (m + 1) // 2 * 4,
        "day_bytes": window.n_meters * PER_DAY * 3 * 4,  # import, export, voltage in float32
    }
    print(json.dumps(told))
