"""An area whose nights a test makes up, and the application beside it."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from headend.web.app import create_app
from support.field import Field
from support.nights import Nights


@pytest.fixture
def nights(field: Field) -> Nights:
    return Nights(field)


@pytest.fixture
def client(nights: Nights) -> TestClient:
    return TestClient(create_app(nights.field.store, nights.field.settings, lambda: nights.now))
