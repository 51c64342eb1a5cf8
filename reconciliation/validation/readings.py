"""Rules on single readings: registers that fall, instants that cannot be, clocks, values that contradict each other.

That a reading is stamped ahead of its arrival only who took it in can tell: it says so by a bit of the reading.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.validation.limits import Limit, column

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]


def register_decreased(value_wh: Ints, slack_wh: Ints) -> Bools:
    """(n,) bool: a cumulative register lower than the one before it by more than the larger slack of the two [Wh]; the
    first one never.
    """
    found = np.zeros(value_wh.size, dtype=np.bool_)
    found[1:] = np.diff(value_wh) < -np.maximum(slack_wh[1:], slack_wh[:-1])
    return found


def before_installation(ts_us: Ints, from_us: Ints, *, tolerance_s: Limit = 0.0) -> Bools:
    """(n,) bool: read before the meter was installed, by more than a tolerance [s]."""
    return np.less(ts_us, from_us - np.rint(np.asarray(tolerance_s) * 1e6).astype(np.int64))


def other_value(kept_wh: Floats, other_wh: Floats, *, tolerance_wh: Limit) -> Bools:
    """(n, r) bool: a second reading of one instant tells another register, by more than a tolerance [Wh]; NaN: none."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(other_wh - kept_wh) > column(tolerance_wh), dtype=np.bool_)


def clock_off(offset_s: Floats, *, offset_limit_s: Limit) -> Bools:
    """(n,) bool: a clock off by more than its limit [s], either way; NaN, no instant at all: off."""
    with np.errstate(invalid="ignore"):
        return np.asarray(~(np.abs(offset_s) <= offset_limit_s), dtype=np.bool_)


def tariff_sum(tariff_wh: Floats, total_wh: Floats, step_wh: Limit, *, steps: Limit) -> Bools:
    """(n,) bool: tariff registers (n, r) do not add up to the total register (n,) [Wh]; NaN: not read.

    Each register is cut off at its own step: the sum may differ by `steps` steps of `step_wh` a register that was read.
    With no tariff register, or no total, there is nothing to say.
    """
    read = np.isfinite(tariff_wh)
    count = np.count_nonzero(read, axis=1)
    most = np.asarray(steps) * np.asarray(step_wh) * count
    off = np.abs(np.where(read, tariff_wh, 0.0).sum(axis=1) - total_wh)
    with np.errstate(invalid="ignore"):
        return np.asarray((count > 0) & (off > most), dtype=np.bool_)
