"""How wrong an estimate is at its own hour: a household is calm at night and restless when it cooks.

The same estimate is made of every known value as if it were a hole, and its square error e², as multiple of the
nominal variance s, is regressed on what can be seen at a real hole too: e²/s = c₀ + c₁·(u₋² + u₊²)/2γ_0 +
c₂·(u₋ − u₊)²/4γ_0 + c₃·(mean of e² at that time of day)/(mean of e²), all c ≥ 0, fitted for all meters together and
then scaled for each. Far from everything that was read only the time of day tells.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from reconciliation.by_slot import known_by_slot, sums_by_slot
from reconciliation.kriging import NEAR, Complete, Holes
from reconciliation.places import Places
from reconciliation.window import Floats, Ints, Singles

ENOUGH = 200
"""Known values from which the regression is made at all."""
SAMPLE = 20_000
"""Known values it is made on, about."""
OWN_PRIOR = 20.0
"""A meter's own scale is drawn towards the common one as by this many values."""
SLOT_PRIOR = 5.0
"""The same of a time of day towards all times."""
ROUNDS = 3
"""Of reweighting by the fitted size: a square error varies with its mean."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """The regression of n series."""

    coefficient: Floats
    """(4,) c."""
    own: Floats
    """(n,) scale of each series."""
    nominal: Floats
    """(n,) s where all values around are known."""
    power: Floats
    """(n,) γ_0."""
    error_by_slot: Floats
    """(n, slots) mean of e² by time of day over that of all times."""
    power_by_slot: Floats
    """(n, slots) the same of u²."""


def learn(u: Floats, where: Places, slot: Ints, usual: Complete) -> Course:
    """Estimate every known value of (n, T) series from those around it, and learn from the errors."""
    (n, t), n_slots, known = u.shape, int(slot.max()) + 1, where.known
    used, steps = np.flatnonzero(usual.there), usual.step
    edge = min(int(np.abs(steps[used]).max(initial=1)), t // 2)
    inner = slice(edge, t - edge)
    single = u.astype(np.float32)  # of square errors of a few per cent
    error, ok = single[:, inner].copy(), known[:, inner].copy()
    for k in used:
        there = slice(edge + int(steps[k]), t - edge + int(steps[k]))
        error -= usual.weight[:, k, None].astype(np.float32) * single[:, there]
        ok &= known[:, there]
    number = ok.sum(axis=1)
    square = np.where(ok, np.square(error), np.float32(0.0))
    mean_square = square.sum(axis=1, dtype=np.float64) / np.maximum(number, 1)
    course = Course(
        coefficient=np.array([1.0, 0.0, 0.0, 0.0]),
        own=np.ones(n),
        nominal=np.maximum(usual.variance, 1e-9),
        power=np.maximum(usual.power, 1e-9),
        error_by_slot=_by_slot(
            sums_by_slot(square, slot[inner], n_slots), sums_by_slot(ok, slot[inner], n_slots), mean_square
        ),
        power_by_slot=_by_slot(
            sums_by_slot(np.square(single), slot, n_slots), known_by_slot(where, slot, n_slots), usual.power
        ),
    )
    total = int(number.sum())
    if total < ENOUGH:
        return course
    every = max(total // SAMPLE, 1)  # by time: the meters' order must change nothing
    first = -edge % every
    row, at = np.nonzero(ok[:, first::every])
    at = edge + first + every * at
    seen = _features(course, row, slot[at], u[row, at - 1], u[row, at + 1])
    target = square[row, at - edge] / course.nominal[row]
    coefficient = course.coefficient
    for _ in range(ROUNDS):
        size = np.maximum(seen @ coefficient, 1e-3)
        coefficient = optimize.nnls(seen / size[:, None], target / size)[0]
    square /= _size(course, coefficient, single, inner, slot)
    own = (square.sum(axis=1, dtype=np.float64) + OWN_PRIOR) / (number + OWN_PRIOR)
    return replace(course, coefficient=coefficient, own=own)


def _size(course: Course, coefficient: Floats, u: Singles, inner: slice, slot: Ints) -> Singles:
    """(n, t) c·features of the intervals ``inner`` of (n, T) series, in units of the square error [Wh²]."""
    unit = course.nominal / course.power
    beside, swing = (coefficient[1] * unit / 2).astype(np.float32), (coefficient[2] * unit / 4).astype(np.float32)
    by_time = course.nominal[:, None] * (coefficient[0] + coefficient[3] * course.error_by_slot)
    out = np.maximum(by_time, 1e-9 * course.nominal[:, None]).astype(np.float32)[:, slot[inner]]
    left, right = u[:, inner.start - 1 : inner.stop - 1], u[:, inner.start + 1 : inner.stop + 1]
    part = np.square(left)
    part += np.square(right)
    part *= beside[:, None]
    out += part
    np.subtract(left, right, out=part)
    np.square(part, out=part)
    part *= swing[:, None]
    out += part
    return np.asarray(out)


def variance(course: Course, holes: Holes, slot: Ints) -> Floats:
    """(h,) variance of the estimates at the holes [Wh²]."""
    i, s, time = holes.row, holes.variance, slot[holes.at]
    before, after = holes.near.there[:, 0], holes.near.there[:, NEAR]
    left = np.where(before, holes.value[:, 0], holes.value[:, NEAR])
    right = np.where(after, holes.value[:, NEAR], holes.value[:, 0])
    course_here = course.own[i] * (_features(course, i, time, left, right) @ course.coefficient)
    told = 1.0 - np.clip((s - course.nominal[i]) / np.maximum(course.power[i] - course.nominal[i], 1e-9), 0.0, 1.0)
    told = np.where(before | after, told, 0.0)
    return np.asarray(s * (told * course_here + (1.0 - told) * course.power_by_slot[i, time]))


def _features(course: Course, row: Ints, time: Ints, left: Floats, right: Floats) -> Floats:
    power = course.power[row]
    beside, swing = (np.square(left) + np.square(right)) / 2, np.square(left - right) / 4
    return np.stack([np.ones(row.size), beside / power, swing / power, course.error_by_slot[row, time]], axis=1)


def _by_slot(total: Floats, count: Floats, scale: Floats) -> Floats:
    """(n, slots) mean of squares over ``scale``, from their sums and numbers by time of day, smoothed over two
    hours."""
    n_slots = total.shape[1]
    apart = np.abs(np.arange(n_slots)[:, None] - np.arange(n_slots))
    around = (np.minimum(apart, n_slots - apart) <= n_slots // 24).astype(np.float64)
    total, count = total @ around, count @ around
    return np.asarray((total / np.maximum(scale, 1e-9)[:, None] + SLOT_PRIOR) / (count + SLOT_PRIOR))
