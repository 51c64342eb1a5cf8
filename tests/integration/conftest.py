"""What rooms beside the ingest share: a small area in a real database, and a database of an earlier release."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headend.settings import Settings
from headend.store import migrate as module
from headend.store.migrate import migrate, migrations
from headend.store.pool import Store
from support.field import Field


@pytest.fixture
def make_field(store: Store, dsn: str) -> Callable[..., Field]:
    """The small area, settled by other keys of [settlement] than as delivered."""

    def make(**settlement: Any) -> Field:
        return Field(store, Settings.model_validate({"database": {"dsn": dsn}, "settlement": settlement}))

    return make


@pytest.fixture
def field(make_field: Callable[..., Field]) -> Field:
    """The small area."""
    return make_field()


@pytest.fixture
def migrate_before(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """migrate_before("014") gives the DSN of a database to which everything before that migration was applied."""

    def before(number: str) -> str:
        everything = migrations()
        with monkeypatch.context() as earlier:
            earlier.setattr(module, "migrations", lambda: [m for m in everything if m.name < number])
            migrate(empty_dsn)
        return empty_dsn

    return before


@pytest.fixture
def make_cluster() -> Iterator[Callable[..., Any]]:
    """support.dask.local_clusters, gone with the test."""
    from support.dask import local_clusters

    with local_clusters() as make:
        yield make
