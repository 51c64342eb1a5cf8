"""Tests of the area meter itself: a phase that is not measured, a wrong CT ratio, a CT the wrong way round.

Dead phase: the phase's energy is zero for hours or for good while its households use energy. Ratio: read = f·true, so
r = (f − 1)·delivered, with delivered = Σ w p + L (on all streams, or on one) from an onset day; the regressor is what
the households took, because the area meter's own rounding would correlate with the balance it is part of. A ratio
moves the balance in proportion to *everybody's* energy, which no single meter's reading resembles: it must explain
more than any meter does. f = −1 is reversed polarity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from reconciliation.design import Faults
from reconciliation.evidence_of_days import ALWAYS, SOME_DAYS, evaluate
from reconciliation.model import AreaModel, build
from reconciliation.phases import voltage_log_likelihood
from reconciliation.report import FindingKind
from reconciliation.technical_loss import technical_loss
from reconciliation.window import Bools, Floats

RATIO_SD = 0.5
"""Prior SD of f − 1: CT ratios are wrong by a neighbouring tap or by a factor, not by accuracy (class 0.5 S is in the
noise model)."""
MIN_RATIO = 0.03
"""Smallest |f − 1| that counts: six times the class limit of a 0.5 S meter with 0.5 S CTs."""
DEAD_S = 21600
"""A phase is called dead when it stands still this long [s]; a blown fuse shows in its households too."""
REVERSED = -0.5
"""Factor below which a current transformer is the wrong way round: nearer to −1 than to none."""
BUSY, SHOWN = 0.75, 0.75
"""Share of a run's intervals, and register steps, above which households must use energy that a living phase would
have shown: half a step is rounded up to one."""
ALIVE = 0.1
"""Share of intervals with energy below which a phase is silent nearly always."""
SURE_NATS = 6.0
"""Log evidence from which a voltage tells the phase alone [nat]."""
RATIO_KNOWN, MOST_REFITS = 0.003, 4
"""Change of the ratio below which it is known as well as a class 0.5 S meter's own gain; fits to get there."""
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
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Further numbers that tell the fault, for the page."""


def dead_phase(model: AreaModel) -> AreaMeterFault | None:
    """A phase whose energy is zero for DEAD_S or longer, once or several times, while its households use energy."""
    area = model.area
    phases = area.window.area_phase_wh
    if area.n_streams != 3 or phases is None:
        return None
    model = by_voltage(
        model, np.array([(np.abs(np.nan_to_num(p)) > area.area_step / 2).mean() < ALIVE for p in phases])
    )
    expected = model.share.T @ area.net + model.loss.stream_wh
    shortest = max(DEAD_S // area.window.interval_s, 4)
    eps = max(area.area_step * 0.5, 1e-9)
    rows = model.rows.copy()
    supplied = area.supplied.copy()
    missing = np.zeros(expected.shape[1])
    found: list[tuple[int, int]] = []
    for k in range(3):
        for dead in silent_runs(phases[k], eps, shortest):
            others = float(np.abs(np.delete(area.supplied, k, axis=0)[:, dead]).mean())
            used = np.abs(expected[k, dead])
            if others < area.area_step or float(used.mean()) < 0.02 * others:
                continue
            if float(np.quantile(used, BUSY)) < SHOWN * area.area_step:
                continue
            found.append((k, dead.start))
            rows[k, dead] = False
            missing[dead] += expected[k, dead]
            supplied[k, dead] = expected[k, dead]
    if not found:
        return None
    found.sort(key=lambda f: f[1])
    fixed = model.corrected(supplied, rows)
    k, onset = found[0]
    return AreaMeterFault(
        kind=FindingKind.AREA_METER_PHASE,
        stream=k if len({phase for phase, _ in found}) == 1 else None,
        ratio=0.0,
        gain=float("inf"),
        onset=onset,
        evidence=1e3,
        ratio_left=fixed.fit.ratio,
        missing_wh=missing,
        model=fixed,
    )


def by_voltage(model: AreaModel, silent: Bools) -> AreaModel:
    """The area with single-phase meters on the phases their voltages follow, where a phase (3,) is silent nearly
    always: its households' energy, missed there, is otherwise looked for on the others."""
    area = model.area
    score = voltage_log_likelihood(area) if silent.any() else np.zeros((0, 3))
    sure = np.ptp(score, axis=1) > SURE_NATS if score.size else np.zeros(0, bool)
    if not sure.any():
        return model
    share = model.share.copy()
    share[sure] = np.eye(3)[score[sure].argmax(axis=1)]
    return replace(model, share=share, loss=technical_loss(area, share))


def silent_runs(values: Floats, eps: float, shortest: int) -> list[slice]:
    """Runs of at least ``shortest`` intervals in which no value (T,) exceeds ``eps``; what was not read within one
    belongs to it."""
    quiet = ~(np.abs(np.nan_to_num(values)) > eps)
    change = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    runs = []
    for start, stop in zip(change[::2], change[1::2], strict=True):
        read = np.flatnonzero(np.isfinite(values[start:stop]))
        if read.size >= shortest // 2 and stop - start >= shortest:
            runs.append(slice(int(start + read[0]), int(start + read[-1]) + 1 if stop < values.size else int(stop)))
    return runs


def wrong_ratio(model: AreaModel) -> AreaMeterFault | None:
    """The best ratio fault, where one is needed: all streams alike, or one stream alone."""
    area, fit = model.area, model.fit
    k_streams, t = area.supplied.shape
    days = area.n_days
    starts = np.searchsorted(area.day, np.arange(days))
    delivered = model.share.T @ area.net + model.loss.stream_wh
    best: tuple[float, int | None, int] | None = None
    x = np.concatenate([fit.whiten(k, delivered[k][None]) for k in range(k_streams)])
    b, h = np.add.reduceat(x * fit.innovation, starts, axis=1), np.add.reduceat(x * x, starts, axis=1)
    cross = np.concatenate([fit.cross(k, x[k][None]) for k in range(k_streams)])
    choices: list[int | None] = [None]
    if k_streams > 1:  # all streams alike, then each
        choices += range(k_streams)
        b, h, cross = (np.concatenate([values.sum(axis=0)[None], values]) for values in (b, h, cross))
    whole = h.sum(axis=1)
    blur = np.sum(cross * fit.solve(cross.T).T, axis=1) / np.maximum(np.square(whole), 1e-30)
    var = np.full((len(choices), 1), RATIO_SD**2)
    result = evaluate(b[:, :, None], h[:, :, None, None], blur[:, None, None], (np.zeros_like(var), var))
    for c, stream in enumerate(choices):
        change, mode, gained = float(result.theta[c, 0]), int(result.mode[c]), float(result.log_evidence[c])
        if whole[c] <= 0 or mode == SOME_DAYS or abs(change) < MIN_RATIO or gained < MIN_EVIDENCE:
            continue
        if best is None or gained > best[0]:
            onset = 0 if mode == ALWAYS else int(starts[int(np.argmax(result.active[c] > 0.5))])
            best = (gained, stream, onset)
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
    gain = fitted.log_likelihood - fit.log_likelihood
    if ratio < REVERSED:
        return _reversed(model, stream, onset, evidence, gain)
    supplied = area.supplied.copy()
    corrected = model
    for _ in range(MOST_REFITS):
        supplied[list(on), onset:] = area.supplied[list(on), onset:] / ratio
        corrected = model.corrected(supplied, model.rows)
        # while the balance was wrong the meters' gains were tuned to it and took a share: what is left, once they are
        rest = corrected.refit(Faults(columns=column, mean=np.zeros(1), sd=np.array([RATIO_SD]))).effects[-1]
        if abs(rest) < RATIO_KNOWN:
            break
        ratio *= 1.0 + float(rest)
    return AreaMeterFault(
        kind=FindingKind.AREA_METER_RATIO,
        stream=stream,
        ratio=ratio,
        gain=gain,
        onset=onset,
        evidence=evidence,
        ratio_left=fitted.ratio,
        missing_wh=(supplied - area.supplied).sum(axis=0),
        model=corrected,
    )


def _reversed(model: AreaModel, stream: int | None, onset: int, evidence: float, gain: float) -> AreaMeterFault:
    """The area with its meter, or one phase of it, turned round from ``onset``: by exactly −1, and with the phases of
    its meters told anew, for they were told by a balance of the wrong sign."""
    window, area = model.area.window, model.area
    sign = np.ones(area.supplied.shape)
    sign[slice(None) if stream is None else stream, onset:] = -1.0
    into, out, phases = window.area_import_wh, window.area_export_wh, window.area_phase_wh
    late = np.full(area.n_intervals, stream is None) & (np.arange(area.n_intervals) >= onset)
    turned = build(
        replace(
            window,
            area_import_wh=np.where(late, out, into),
            area_export_wh=np.where(late, into, out),
            area_phase_wh=phases if phases is None or area.n_streams != 3 else phases * sign,
        ),
        coarse=area.n_streams == 3,
    )
    return AreaMeterFault(
        kind=FindingKind.REVERSED_POLARITY,
        stream=stream,
        ratio=-1.0,
        gain=gain,
        onset=onset,
        evidence=evidence,
        ratio_left=turned.fit.ratio,
        missing_wh=((sign - 1.0) * area.supplied).sum(axis=0),
        model=turned,
    )


def swapped(turned: AreaModel, order: tuple[int, int, int], evidence: float) -> AreaMeterFault:
    """Currents and voltages of different phases in one measuring element; ``turned``: the area with its busbar voltages
    put in ``order``. No energy is missing from the registers as they stand."""
    moved = [k for k in range(3) if order[k] != k]
    return AreaMeterFault(
        kind=FindingKind.AREA_METER_PHASE,
        stream=None,
        ratio=1.0,
        gain=evidence,
        onset=0,
        evidence=evidence,
        ratio_left=turned.fit.ratio,
        missing_wh=np.zeros(turned.area.n_intervals),
        model=turned,
        numbers={f"voltage_of_phase_{k + 1}": float(order[k] + 1) for k in moved},
    )
