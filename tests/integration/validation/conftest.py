"""The small area as a fixture, by the rules as delivered or by others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headend.store.pool import Store
from support.ward import Ward


@pytest.fixture
def make_ward(store: Store, dsn: str) -> Callable[..., Ward]:
    return lambda **validation: Ward(store, dsn, validation)


@pytest.fixture
def ward(make_ward: Callable[..., Ward]) -> Ward:
    return make_ward()
