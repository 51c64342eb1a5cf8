"""Many small symmetric systems at once: solution and determinant by elimination, vectorised over the systems.

For q ≤ 3 unknowns a call of LAPACK per system costs more than the arithmetic. A = L·D·Lᵀ without pivoting: A is a
Gram matrix plus a positive diagonal.
"""

import numpy as np

from reconciliation.window import Floats


def solve_and_log_det(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """(…, q) A⁻¹b and (…,) log|det A| for symmetric (…, q, q) A and (…, q) b."""
    q = a.shape[-1]
    work = [[a[..., i, j] for j in range(i + 1)] for i in range(q)]
    y = [b[..., i] for i in range(q)]
    factors: list[list[Floats]] = [[] for _ in range(q)]
    for j in range(q):
        for i in range(j + 1, q):
            factor = work[i][j] / work[j][j]
            factors[i].append(factor)
            for k in range(j + 1, i + 1):
                work[i][k] = work[i][k] - factor * work[k][j]
            y[i] = y[i] - factor * y[j]
    log_det = np.log(np.abs(work[0][0]))
    for i in range(1, q):
        log_det = log_det + np.log(np.abs(work[i][i]))
    x = [value / work[i][i] for i, value in enumerate(y)]
    for i in range(q - 1, -1, -1):
        for k in range(i + 1, q):
            x[i] = x[i] - factors[k][i] * x[k]
    return np.stack(x, axis=-1), np.asarray(log_det)
