"""The small area as a fixture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headend.settings import Settings
from headend.store.pool import Store
from support.field import Field


@pytest.fixture
def make_field(store: Store, dsn: str) -> Callable[..., Field]:
    def make(**settlement: Any) -> Field:
        settings = Settings.model_validate({"database": {"dsn": dsn}, "settlement": settlement})
        return Field(store, settings)

    return make


@pytest.fixture
def field(make_field: Callable[..., Field]) -> Field:
    return make_field()
