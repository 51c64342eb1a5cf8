"""The normal equations of the random effects: A = ZᵀR⁻¹Z + D⁻¹, ZᵀR⁻¹r, and what is needed of A⁻¹.

The products are made in float32 where they only serve to estimate variances and weights, or where the honest effects
they give are refined in float64 afterwards; in float64 where hypothesised faults are among the effects, whose columns
may be nearly the same as others. A is factorised in float64, because it is ill-conditioned.
"""

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from reconciliation.design import Design
from reconciliation.streams import filtered
from reconciliation.window import Floats, Singles


def whitened_courses(design: Design, filters: Floats, root: Floats) -> tuple[Singles, ...]:
    """(K,) each stream's (courses, T), filtered and weighted."""
    return tuple(s.whitened_singles(filters[k], root[k]) for k, s in enumerate(design.streams))


def normal_equations(
    design: Design, filters: Floats, root: Floats, courses: Sequence[Singles] | None = None
) -> tuple[Floats, Floats]:
    """ZᵀR⁻¹Z (m, m) and ZᵀR⁻¹r (m,); in float32 where the whitened ``courses`` are given so."""
    m = design.group.size
    gram, cross = np.zeros((m, m)), np.zeros(m)
    for k, s in enumerate(design.streams):
        r = filtered(filters[k], design.balance[k]) * root[k]
        w = s.whitened(filters[k], root[k]) if courses is None else courses[k]
        rows = np.zeros((s.effects.size, m))  # into columns, then into rows: a quarter of the time of both at once
        rows[:, s.effects] = s.gram(w)
        gram[s.effects] += rows
        cross[s.effects] += s.spread(w @ r.astype(w.dtype))
    return gram, cross


def score(design: Design, filters: Floats, root: Floats, inno: Floats) -> Floats:
    """(m,) ZᵀR⁻¹(r − Zη) in float64, from (K, T) r − Zη, filtered [Wh]; less D⁻¹η, A⁻¹ times it is what η is off."""
    out = np.zeros(design.group.size)
    for k, s in enumerate(design.streams):
        out[s.effects] += s.against(filters[k], root[k], (inno[k] * root[k])[None])[0]
    return out


def factor_of(gram: Floats, precision: Floats) -> tuple[Floats, bool]:
    """Lower Cholesky factor of gram + diag(precision)."""
    a = gram.copy(order="F")
    a[np.diag_indices_from(a)] += precision
    return linalg.cholesky(a, lower=True, overwrite_a=True, check_finite=False), True


def inverse_diagonal(factor: Floats) -> Floats:
    """(m,) diagonal of A⁻¹ from the lower Cholesky factor of A."""
    inverse, _ = linalg.lapack.strtri(factor.astype(np.float32, order="F"), lower=1)
    return np.asarray(np.einsum("ij,ij->j", inverse, inverse), dtype=np.float64)
