"""An area whose knowledge grows."""

from __future__ import annotations

import pytest

from headend.settings import Settings
from headend.store.pool import Store
from support.chronicle import Chronicle


@pytest.fixture
def chronicle(store: Store, dsn: str) -> Chronicle:
    return Chronicle(store, Settings.model_validate({"database": {"dsn": dsn}}))
