"""A stream's products without whitening every effect are those of the written-out columns, edges and gaps included."""

import numpy as np
import pytest
from scipy import signal

from reconciliation import streams
from reconciliation.small_systems import solve_and_log_det
from reconciliation.streams import Stream, filtered, filtered_back, filtered_singles

N, T, ORDER = 5, 60, 4


@pytest.fixture
def parts() -> tuple[Stream, np.ndarray, np.ndarray, np.ndarray]:
    """A stream with meters' gains, slopes, curves, a second multiple of the first meter, two others; its columns as
    design.py writes them, a filter and row weights with a gap."""
    rng = np.random.default_rng(20260302)
    p, others = rng.gamma(2.0, 50.0, (N, T)), rng.normal(size=(2, T))
    padded = np.pad(p, ((0, 0), (1, 1)), mode="edge")
    slope = (padded[:, 2:] - padded[:, :-2]) / 2
    curve = np.zeros_like(p)
    curve[:, 1:-1] = (p[:, 2:] - 2 * p[:, 1:-1] + p[:, :-2]) / 2
    scale = rng.uniform(0.2, 1.0, 3 * N + 3)
    source = np.concatenate([np.arange(3 * N), [0], 3 * N + np.arange(2)])
    stream = Stream(effects=np.arange(source.size), source=source, scale=scale, levels=padded, others=others)
    columns = scale[:, None] * np.concatenate([p, slope, curve, p[:1], others])
    root = rng.uniform(0.5, 2.0, T)
    root[:ORDER], root[20:26] = 0.0, 0.0
    return stream, columns, np.concatenate([[1.0], rng.normal(0.0, 0.3, ORDER)]), root


def test_gram_and_products(parts: tuple[Stream, np.ndarray, np.ndarray, np.ndarray]) -> None:
    stream, columns, taps, root = parts
    z = signal.lfilter(taps, [1.0], columns, axis=1) * root
    x = np.random.default_rng(1).normal(size=(2, T)) * (root > 0)
    whitened = stream.whitened(taps, root)
    np.testing.assert_allclose(stream.gram(whitened), z @ z.T, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(stream.spread(x @ whitened.T), x @ z.T, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(stream.against(taps, root, x), x @ z.T, rtol=1e-10, atol=1e-9)


def test_sum_and_extension(parts: tuple[Stream, np.ndarray, np.ndarray, np.ndarray]) -> None:
    stream, columns, taps, root = parts
    fault = np.random.default_rng(2).normal(size=(1, T))
    longer = stream.extended(np.array([stream.effects.size]), fault)
    columns = np.concatenate([columns, fault])
    effects = np.random.default_rng(3).normal(size=columns.shape[0])
    np.testing.assert_allclose(longer.sum(effects), effects @ columns, rtol=1e-10)
    z = signal.lfilter(taps, [1.0], columns, axis=1) * root
    np.testing.assert_allclose(longer.gram(longer.whitened(taps, root)), z @ z.T, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("order", [0, 1, 2, 10, 11])
def test_filter_and_its_transpose(order: int) -> None:
    rng = np.random.default_rng(order)
    taps, x, y = rng.normal(size=order + 1), rng.normal(size=(3, 40)), rng.normal(size=(3, 40))
    np.testing.assert_allclose(filtered(taps, x), signal.lfilter(taps, [1.0], x, axis=1), atol=1e-12)
    np.testing.assert_allclose(filtered(taps, x[0]), filtered(taps, x)[0], atol=1e-12)
    np.testing.assert_allclose(np.sum(filtered(taps, x) * y), np.sum(x * filtered_back(taps, y)), rtol=1e-10)


@pytest.mark.parametrize("q", [1, 2, 3])
def test_small_systems(q: int) -> None:
    rng = np.random.default_rng(q)
    root, b = rng.normal(size=(7, 4, q, q)), rng.normal(size=(7, 4, q))
    a = root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(q)
    x, log_det = solve_and_log_det(a, b)
    np.testing.assert_allclose(x, np.linalg.solve(a, b[..., None])[..., 0], rtol=1e-9)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(a)[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("order", "t"), [(0, 40), (1, 64), (4, 95), (10, 31), (11, 96), (10, 1)])
def test_filter_of_many_columns_in_float32(order: int, t: int) -> None:
    rng = np.random.default_rng(order)
    taps, x = rng.normal(size=order + 1), rng.normal(size=(3, t))
    found = filtered_singles(taps, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, signal.lfilter(taps, [1.0], x, axis=1), atol=1e-5)


def test_many_columns_are_filtered_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "AT_ONCE", 700)
    rng = np.random.default_rng(5)
    taps, x, weight, rows = rng.normal(size=4), rng.normal(size=(11, 95)), rng.random(95), np.array([3, 3, 10, 0, 7])
    expected = signal.lfilter(taps, [1.0], x, axis=1)
    np.testing.assert_allclose(filtered_singles(taps, x), expected, atol=1e-5)
    np.testing.assert_allclose(filtered_singles(taps, x, weight, rows), expected[rows] * weight, atol=1e-5)
    assert filtered_singles(taps, x, weight, rows[:0]).shape == (0, 95)


def test_whitened_in_float32(parts: tuple[Stream, np.ndarray, np.ndarray, np.ndarray]) -> None:
    stream, columns, taps, root = parts
    z = signal.lfilter(taps, [1.0], columns, axis=1) * root
    whitened = stream.whitened_singles(taps, root)
    assert whitened.dtype == np.float32
    np.testing.assert_allclose(stream.gram(whitened), z @ z.T, rtol=1e-5, atol=1e-5 * np.abs(z @ z.T).max())
