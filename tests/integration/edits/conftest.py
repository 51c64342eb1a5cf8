"""Somebody who edits a small area, as a fixture; and pages and API beside it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from headend.web.app import create_app
from support.editor import Editor
from support.field import Field


@pytest.fixture
def make_editor(make_field: Callable[..., Field]) -> Callable[..., Editor]:
    return lambda **settlement: Editor(make_field(**settlement))


@pytest.fixture
def editor(make_editor: Callable[..., Editor]) -> Editor:
    return make_editor()


@pytest.fixture
def client(editor: Editor) -> TestClient:
    """A household of 100 Wh a quarter on two days, nothing read from 10:00 to 12:45 of the first."""
    editor.household(days=2, without=range(41, 51))
    return TestClient(create_app(editor.field.store, editor.field.settings, lambda: editor.now))
