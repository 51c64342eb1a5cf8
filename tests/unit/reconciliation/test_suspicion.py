"""The order in which an area's meters are looked at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reconciliation.levels import AT_VALUE
from reconciliation.suspicion import STILL, ranking

T = 28 * 96


def test_a_register_that_stands_at_a_value_comes_before_one_that_reads_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four meters of which nothing else is known: one moves, one reads zero for weeks, one stands at 40 Wh for four
    days, one does for a day only."""
    net, still = np.full((4, T), 70.0), np.zeros((4, T), bool)
    net[1], still[1] = 0.0, True
    for meter, days in ((2, 4), (3, 1)):
        net[meter, : days * 96], still[meter, : days * 96] = 40.0, True
    area = SimpleNamespace(net=net, window=SimpleNamespace(interval_s=900))
    model: Any = SimpleNamespace(area=area, fit=SimpleNamespace(residual=None))
    found: Any = SimpleNamespace(suspects=(), ranking=np.zeros(4), first=SimpleNamespace(total=np.zeros(4)))
    monkeypatch.setattr("reconciliation.suspicion.location_evidence", lambda *_: np.zeros(4))
    monkeypatch.setattr("reconciliation.suspicion.follows", lambda _: np.ones(4, bool))
    field: Any = object()
    np.testing.assert_allclose(ranking(model, found, still, field), [0.0, STILL, AT_VALUE, 0.0])
