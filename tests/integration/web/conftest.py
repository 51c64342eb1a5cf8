"""The application on a seeded database: in process, and behind a real server for a real browser."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from psycopg.conninfo import make_conninfo

from headend.settings import Database, Settings
from headend.store.migrate import migrate
from headend.store.pool import Store
from headend.web.app import create_app
from support.served import served

sys.path.insert(0, str(Path(__file__).parent))
import seed as seeding
from web_door import Door


@pytest.fixture(scope="session")
def seeded_store(server_dsn: str, migrated_template: str | None) -> Iterator[Store]:
    """A store with every table filled, for all tests that only look."""
    name = f"headend_web_{os.getpid()}"
    source = f' template "{migrated_template}"' if migrated_template else ""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'create database "{name}"{source}'.encode())
    dsn = make_conninfo(server_dsn, dbname=name)
    if migrated_template is None:
        migrate(dsn)
    with Store(dsn) as opened:
        yield opened
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)'.encode())


@pytest.fixture(scope="session")
def seeded(seeded_store: Store) -> seeding.Seeded:
    """What is in it."""
    return seeding.seed(seeded_store)


@pytest.fixture
def settings(seeded_store: Store) -> Settings:
    """Defaults on the seeded database."""
    return Settings(database=Database(dsn=seeded_store.dsn))


@pytest.fixture
def door() -> Door:
    """The rollout stage's stand-in."""
    return Door()


@pytest.fixture
def app(seeded_store: Store, seeded: seeding.Seeded, settings: Settings, door: Door) -> FastAPI:
    """The application, at the seed's instant."""
    return create_app(seeded_store, settings, lambda: seeding.NOW, rollout_door=door)


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """Asks the application in process; an unforeseen error is answered as a user gets it."""
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def server(app: FastAPI) -> Iterator[str]:
    """The address of a real server on a free port."""
    with served(app) as address:
        yield address
