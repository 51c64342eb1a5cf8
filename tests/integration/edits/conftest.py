"""Somebody who edits a small area, as a fixture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headend.settings import Settings
from headend.store.pool import Store
from support.editor import Editor
from support.field import Field


@pytest.fixture
def make_editor(store: Store, dsn: str) -> Callable[..., Editor]:
    def make(**settlement: Any) -> Editor:
        settings = Settings.model_validate({"database": {"dsn": dsn}, "settlement": settlement})
        return Editor(Field(store, settings))

    return make


@pytest.fixture
def editor(make_editor: Callable[..., Editor]) -> Editor:
    return make_editor()
