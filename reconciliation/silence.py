"""Did the missing load begin when a register fell silent? People go away: a register that reads zero for days is no
evidence against it, however much energy is missing then, unless nothing was missing while it still counted.

z_k = Σ x_dᵀu_d / √(Σ x_dᵀx_d) over the k days, 1 … NEXT, right before (or right after) the silence, x the area's
profile on the meter's streams, u the innovations of the honest fit, both whitened. z is at most N(0, 1) where nothing
is missing, for what the honest effects took up only makes it smaller.
"""

import numpy as np

from reconciliation.levels import long_runs
from reconciliation.model import AreaModel
from reconciliation.shapes import area_profile
from reconciliation.window import Bools, Floats

NEXT = 7
"""Days looked at before and after a silence."""
MISSING_Z = 3.5
"""z from which energy was missing there too: the largest of fourteen is, by chance, in one silence of three hundred."""
MOSTLY = 0.8
"""Share of its hidden energy in silent days from which a fault is a matter of silence."""


def silence(model: AreaModel, meter: int, still: Bools) -> Bools:
    """(T,) where a register stands at zero for a day or more; ``still`` (N, T)."""
    area = model.area
    zero = still[meter] & ((area.imported[meter] <= 0) | ~area.measured[meter])
    day = max(round(86400 / area.window.interval_s), 1)
    return np.asarray(zero & long_runs(zero[None], day)[0])


def of_silence(hidden: Floats, silent: Bools) -> bool:
    """Whether a fault that hides ``hidden`` (T,) [Wh] does so mostly while the register is ``silent`` (T,)."""
    total = float(np.abs(hidden).sum())
    return total > 0 and float(np.abs(hidden[silent]).sum()) >= MOSTLY * total


def missing_beside(model: AreaModel, meter: int, silent: Bools) -> bool:
    """Whether energy is missing on a meter's streams right before or after its ``silent`` (T,) stretches, too."""
    area, fit = model.area, model.fit
    starts = np.searchsorted(area.day, np.arange(area.n_days))
    b, h = np.zeros(area.n_days), np.zeros(area.n_days)
    for k in np.flatnonzero(model.share[meter] > 0):
        x = fit.whiten(int(k), area_profile(area)[None])[0]
        b += np.add.reduceat(x * fit.innovation[k], starts)
        h += np.add.reduceat(np.square(x), starts)
    quiet = np.add.reduceat(silent.astype(np.int64), starts)
    counts, quiet_days = quiet == 0, np.flatnonzero(quiet)
    for step in (-1, 1):
        for edge in quiet_days[~np.isin(quiet_days + step, quiet_days)]:
            beside = edge + step * np.arange(1, NEXT + 1)
            beside = beside[(beside >= 0) & (beside < area.n_days)]
            beside = beside[np.logical_and.accumulate(counts[beside])]
            z = np.cumsum(b[beside]) / np.sqrt(np.maximum(np.cumsum(h[beside]), 1e-12))
            if z.size and float(z.max()) > MISSING_Z:
                return True
    return False
