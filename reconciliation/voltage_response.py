"""Where does a missing load pull the voltage down? Each meter's voltage changes against the unexplained balance of its
streams.

e_i = ΔV_i less its ridge fit on the busbar voltages' and all meters' energies' changes; z_i = −corr(e_i, Δr)·√(T/3),
with r the balance that honest meters leave over. Meters behind the same cable answer alike, so this ranks and
confirms; it does not accuse by itself.
"""

import numpy as np
from scipy import linalg

from reconciliation.model import AreaModel
from reconciliation.window import Floats

RIDGE = 0.01
"""Ridge on standardised changes, as share of the number of samples."""


def voltage_response(model: AreaModel) -> Floats | None:
    """(N,) z-scores, + where the voltage falls with the missing load; None without voltages."""
    window, area = model.area.window, model.area
    v, av = window.household_voltage_v, window.area_voltage_v
    if v is None or av is None:
        return None
    dv, dav = np.diff(v, axis=1), np.diff(av, axis=1)
    ok = np.isfinite(dav).all(axis=0) & area.supplied_ok[1:] & area.supplied_ok[:-1]
    if ok.sum() < 100:
        return None
    x = np.concatenate([dav[:, ok], np.diff(area.net, axis=1)[:, ok]])
    x = x / (np.sqrt(np.mean(np.square(x), axis=1, keepdims=True)) + 1e-9)
    seen = np.isfinite(dv[:, ok])
    y = np.where(seen, dv[:, ok], 0.0)
    a = x @ x.T
    a[np.diag_indices_from(a)] += RIDGE * x.shape[1]
    e = y - linalg.cho_solve(linalg.cho_factor(a, lower=True), x @ y.T).T @ x
    e = np.where(seen, np.clip(e, -3, 3), 0.0)
    r = np.diff(model.fit.residual, axis=1)[:, ok]
    cap = 8 * np.median(np.abs(r), axis=1, keepdims=True) + 1e-9
    r = model.share @ np.clip(r, -cap, cap)
    norm = np.sqrt(np.sum(np.square(e), axis=1) * np.sum(np.square(np.where(seen, r, 0.0)), axis=1)) + 1e-12
    z = -np.sum(e * r, axis=1) / norm * np.sqrt(seen.sum(axis=1) / 3.0)
    return np.asarray(np.where(seen.mean(axis=1) > 0.3, z, 0.0))
