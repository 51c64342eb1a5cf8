"""How wrong an estimate is at its own hour: a household is calm at night and restless when it cooks.

The same estimate is made of every known value as if it were a hole, and its square error e², as multiple of the
nominal variance s, is regressed on what can be seen at a real hole too: e²/s = c₀ + c₁·(u₋² + u₊²)/2γ_0 +
c₂·(u₋ − u₊)²/4γ_0 + c₃·(mean of e² at that time of day)/(mean of e²), all c ≥ 0, fitted for all meters together and
then scaled for each. Far from everything that was read only the time of day tells.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from reconciliation.kriging import NEAR, Holes, complete, weights
from reconciliation.window import Bools, Floats, Ints

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


def learn(u: Floats, known: Bools, slot: Ints, gamma: Floats) -> Course:
    """Estimate every known value of (n, T) series from those around it, and learn from the errors."""
    n, t = u.shape
    near, steps, middle = complete(n, t, int(slot.max()) + 1)
    weight, nominal = weights(gamma, np.arange(n), middle, near)
    error, ok = u.copy(), known.copy()
    for k in np.flatnonzero(near.there[0]):
        error -= weight[:, k, None] * np.roll(u, -steps[k], axis=1)
        ok &= np.roll(known, -steps[k], axis=1)
    edge = min(int(np.abs(steps[near.there[0]]).max(initial=1)), t)
    ok[:, :edge], ok[:, t - edge :] = False, False
    square = np.where(ok, np.square(error), 0.0)
    mean_square = square.sum(axis=1) / np.maximum(ok.sum(axis=1), 1)
    course = Course(
        coefficient=np.array([1.0, 0.0, 0.0, 0.0]),
        own=np.ones(n),
        nominal=np.maximum(nominal, 1e-9),
        power=np.maximum(gamma[:, 0], 1e-9),
        error_by_slot=_by_slot(square, ok, slot, mean_square),
        power_by_slot=_by_slot(np.where(known, np.square(u), 0.0), known, slot, gamma[:, 0]),
    )
    row, at = np.nonzero(ok)
    if row.size < ENOUGH:
        return course
    left, right = np.roll(u, 1, axis=1)[row, at], np.roll(u, -1, axis=1)[row, at]
    seen = _features(course, row, slot[at], left, right)
    target = square[row, at] / course.nominal[row]
    coefficient = course.coefficient
    part = at % max(row.size // SAMPLE, 1) == 0  # by time: the meters' order must change nothing
    for _ in range(ROUNDS):
        size = np.maximum(seen[part] @ coefficient, 1e-3)
        coefficient = optimize.nnls(seen[part] / size[:, None], target[part] / size)[0]
    against = np.bincount(row, weights=target / np.maximum(seen @ coefficient, 1e-9), minlength=n)
    own = (against + OWN_PRIOR) / (ok.sum(axis=1) + OWN_PRIOR)
    return Course(
        coefficient=coefficient,
        own=own,
        nominal=course.nominal,
        power=course.power,
        error_by_slot=course.error_by_slot,
        power_by_slot=course.power_by_slot,
    )


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


def _by_slot(square: Floats, ok: Bools, slot: Ints, scale: Floats) -> Floats:
    """(n, slots) mean of (n, T) squares by time of day over ``scale``, smoothed over two hours."""
    n_slots = int(slot.max()) + 1
    group = slot_membership(slot)
    total, count = square @ group, ok.astype(np.float64) @ group
    around = range(-(n_slots // 24), n_slots // 24 + 1)
    total = np.sum([np.roll(total, s, axis=1) for s in around], axis=0)
    count = np.sum([np.roll(count, s, axis=1) for s in around], axis=0)
    return np.asarray((total / np.maximum(scale, 1e-9)[:, None] + SLOT_PRIOR) / (count + SLOT_PRIOR))


def slot_membership(slot: Ints) -> Floats:
    """(T, slots) 1 where an interval is of a slot."""
    group = np.zeros((slot.size, int(slot.max()) + 1))
    group[np.arange(slot.size), slot] = 1.0
    return group
