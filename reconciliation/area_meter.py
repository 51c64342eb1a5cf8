"""Tests of the area meter itself: a phase that is not measured, a wrong CT ratio, a CT the wrong way round.

Dead phase: the phase's energy is zero from some day on while its households use energy. Ratio: read = f·true, so r =
(f − 1)·delivered, with delivered = Σ w p + L (on all streams, or on one) from an onset day; the regressor is what the
households took, because the area meter's own rounding would correlate with the balance it is part of. A ratio moves
the balance in proportion to *everybody's* energy, which no single meter's reading resembles: it must explain more than
any meter does. f = −1 is reversed polarity.
"""

from dataclasses import dataclass

import numpy as np

from reconciliation.design import Faults
from reconciliation.evidence_of_days import ALWAYS, SOME_DAYS, evaluate
from reconciliation.model import AreaModel
from reconciliation.report import FindingKind
from reconciliation.window import Floats

RATIO_SD = 0.5
"""Prior SD of f − 1: CT ratios are wrong by a neighbouring tap or by a factor, not by accuracy (class 0.5 S is in the
noise model)."""
MIN_RATIO = 0.03
"""Smallest |f − 1| that counts: six times the class limit of a 0.5 S meter with 0.5 S CTs."""
MIN_EVIDENCE = 30.0
"""Log evidence needed [nat]: a whole area's billing basis is not called wrong on less than a clear case."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AreaMeterFault:
    """A fault of the area meter, and the area with it corrected."""

    kind: FindingKind
    stream: int | None
    """Phase concerned; None = all."""
    ratio: float
    """Read over true energy, f; 0 for a dead phase."""
    gain: float
    """Of the whole fit's log-likelihood when the ratio is fitted [nat]."""
    onset: int
    """First interval."""
    evidence: float
    """[nat]."""
    ratio_left: Floats
    """(K,) innovation ratio with the fault fitted."""
    missing_wh: Floats
    """(T,) energy the area meter did not count [Wh]; negative = counted too much."""
    model: AreaModel


def dead_phase(model: AreaModel) -> AreaMeterFault | None:
    """A phase whose energy is zero up to the window's end while its households use energy."""
    area = model.area
    if area.n_streams != 3:
        return None
    expected = model.share.T @ area.net + model.loss.stream_wh
    t = expected.shape[1]
    day_length = max(round(86400 / area.window.interval_s), 4)
    eps = max(area.area_step * 0.5, 1e-9)
    rows = model.rows.copy()
    supplied = area.supplied.copy()
    missing = np.zeros(t)
    found: list[tuple[int, int]] = []
    phases = area.window.area_phase_wh
    assert phases is not None
    for k in range(3):
        live = np.flatnonzero(np.isfinite(phases[k]) & (np.abs(phases[k]) > eps))
        onset = int(live[-1]) + 1 if live.size else 0
        others = max(float(np.abs(np.delete(supplied, k, axis=0)[:, onset:]).mean()) if onset < t else 0.0, 0.0)
        if t - onset < day_length or others < 3 * area.area_step:
            continue
        households = float(np.abs(expected[k, onset:]).mean())
        before = float(np.abs(supplied[k, :onset]).mean()) if onset > day_length else 0.0
        if max(households, before) < max(3 * area.area_step, 0.02 * others):
            continue
        found.append((k, onset))
        rows[k, onset:] = False
        missing[onset:] += expected[k, onset:]
        supplied[k, onset:] = expected[k, onset:]
    if not found:
        return None
    fixed = model.corrected(supplied, rows)
    k, onset = found[0]
    return AreaMeterFault(
        kind=FindingKind.AREA_METER_PHASE,
        stream=k if len(found) == 1 else None,
        ratio=0.0,
        gain=float("inf"),
        onset=onset,
        evidence=1e3,
        ratio_left=fixed.fit.ratio,
        missing_wh=missing,
        model=fixed,
    )


def wrong_ratio(model: AreaModel) -> AreaMeterFault | None:
    """The best ratio fault, where one is needed: all streams alike, or one stream alone."""
    area, fit = model.area, model.fit
    k_streams, t = area.supplied.shape
    days = area.n_days
    starts = np.searchsorted(area.day, np.arange(days))
    delivered = model.share.T @ area.net + model.loss.stream_wh
    best: tuple[float, int | None, int] | None = None
    choices: list[int | None] = [None, *range(k_streams)] if k_streams > 1 else [None]
    for stream in choices:
        on = range(k_streams) if stream is None else [stream]
        b, h = np.zeros(days), np.zeros(days)
        cross = np.zeros(fit.effects.size)
        for k in on:
            x = fit.whiten(k, delivered[k][None])[0]
            b += np.add.reduceat(x * fit.innovation[k], starts)
            h += np.add.reduceat(x * x, starts)
            cross[fit.columns[k]] += fit.design[k] @ x
        whole = float(h.sum())
        if whole <= 0:
            continue
        blur = float(cross @ fit.solve(cross[:, None])[:, 0]) / whole**2
        result = evaluate(
            b[None, :, None], h[None, :, None, None], np.full((1, 1, 1), blur), np.zeros(1), np.array([RATIO_SD**2])
        )
        change, mode = float(result.theta[0, 0]), int(result.mode[0])
        if mode == SOME_DAYS or abs(change) < MIN_RATIO or result.log_evidence[0] < MIN_EVIDENCE:
            continue
        if best is None or result.log_evidence[0] > best[0]:
            onset = 0 if mode == ALWAYS else int(starts[int(np.argmax(result.active[0] > 0.5))])
            best = (float(result.log_evidence[0]), stream, onset)
    if best is None:
        return None
    evidence, stream, onset = best
    on = range(k_streams) if stream is None else [stream]
    column = np.zeros((1, k_streams, t))
    column[0, list(on), onset:] = delivered[list(on), onset:]
    fitted = model.refit(Faults(columns=column, mean=np.zeros(1), sd=np.array([RATIO_SD])))
    ratio = 1.0 + float(fitted.effects[-1])
    if abs(ratio) < 0.02 or abs(ratio - 1.0) < MIN_RATIO:
        return None
    supplied = area.supplied.copy()
    supplied[list(on), onset:] /= ratio
    return AreaMeterFault(
        kind=FindingKind.REVERSED_POLARITY if ratio < -0.5 else FindingKind.AREA_METER_RATIO,
        stream=stream,
        ratio=ratio,
        gain=fitted.log_likelihood - fit.log_likelihood,
        onset=onset,
        evidence=evidence,
        ratio_left=fitted.ratio,
        missing_wh=(supplied - area.supplied).sum(axis=0),
        model=model.corrected(supplied, model.rows),
    )
