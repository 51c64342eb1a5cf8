"""The covariance of what a balance leaves over: recovered where known, whitened by its filter, not fooled by gaps."""

import numpy as np
import pytest
from scipy import signal

from reconciliation.colour import ar_filter, excess_covariance, filtered_variance, ma_covariance

T, ORDER, RHO = 40_000, 10, 0.8


def load(seed: int = 11) -> np.ndarray:
    """A load that stays on: AR(1) of variance 100."""
    rng = np.random.default_rng(seed)
    return np.asarray(signal.lfilter([1.0], [1.0, -RHO], rng.normal(0, 10 * np.sqrt(1 - RHO**2), T)))


def test_the_excess_beside_known_rounding_is_recovered():
    rng = np.random.default_rng(12)
    rounding = np.diff(rng.uniform(-5, 5, T + 1))
    known = ma_covariance(0.0, 100 / 12, ORDER)
    found = excess_covariance(load() + rounding, np.ones(T, bool), known, 1.0)
    assert found[0] == pytest.approx(100, rel=0.1)
    assert found[1] == pytest.approx(100 * RHO, rel=0.15)


def test_gaps_change_little():
    rng = np.random.default_rng(13)
    usable = rng.random(T) > 0.2
    known = np.zeros(ORDER + 1)
    whole = excess_covariance(load(), np.ones(T, bool), known, 1.0)
    assert excess_covariance(load(), usable, known, 1.0) == pytest.approx(whole, rel=0.1, abs=3.0)


def test_the_filter_whitens_and_its_variance_is_foretold():
    excess = 100 * RHO ** np.arange(ORDER + 1.0)
    f = ar_filter(1e-6, 0.0, ORDER, excess)
    left = signal.lfilter(f, [1.0], load())[ORDER:]
    assert np.var(left) == pytest.approx(filtered_variance(f[None], excess[None])[0], rel=0.05)
    assert abs(np.corrcoef(left[1:], left[:-1])[0, 1]) < 0.02
    assert np.var(left) == pytest.approx(100 * (1 - RHO**2), rel=0.05)


def test_no_excess_leaves_the_known_filter():
    plain = ar_filter(1.0, 2.0, ORDER, np.zeros(ORDER + 1))
    none = excess_covariance(load(), np.ones(T, bool), ma_covariance(1.0, 2.0, ORDER), 0.0)
    assert not none.any()
    assert ar_filter(1.0, 2.0, ORDER, none) == pytest.approx(plain)
