"""The application on a seeded database: in process, and behind a real server for a real browser."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from headend.rollout.checklist import Step, StepRefused, StepResult, UnknownPremises
from headend.settings import Database, Settings
from headend.store.pool import Store
from headend.web.app import create_app

sys.path.insert(0, str(Path(__file__).parent))
import seed as seeding


class Door:
    """Stands for the rollout stage, which has tests of its own: refuses what lacks a seal, keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Step, UUID, str, Mapping[str, Any]]] = []

    def advance(self) -> int:
        return 0

    def close_step(
        self, premises_code: str, step: Step, client_id: UUID, by: str, evidence: Mapping[str, Any]
    ) -> StepResult:
        if premises_code == "P-404":
            raise UnknownPremises(premises_code)
        repeated = any(client_id == asked[2] for asked in self.asked)
        self.asked.append((premises_code, step, client_id, by, evidence))
        if step is Step.HOUSEHOLD_METER_INSTALLED and "seal" not in evidence:
            raise StepRefused("the evidence is not complete", ["seal"])
        waiting = step is Step.COMMISSIONED
        return StepResult(
            premises=premises_code, step=step, state="waiting" if waiting else "closed", repeated=repeated
        )


@pytest.fixture
def settings(dsn: str) -> Settings:
    """Defaults on the test's database."""
    return Settings(database=Database(dsn=dsn))


@pytest.fixture
def seeded(store: Store) -> seeding.Seeded:
    """Every table filled."""
    return seeding.seed(store)


@pytest.fixture
def door() -> Door:
    """The rollout stage's stand-in."""
    return Door()


@pytest.fixture
def app(store: Store, settings: Settings, door: Door) -> FastAPI:
    """The application, at the seed's instant."""
    return create_app(store, settings, lambda: seeding.NOW, rollout_door=door)


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """Asks the application in process; an unforeseen error is answered as a user gets it."""
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def server(app: FastAPI, seeded: seeding.Seeded) -> Iterator[str]:
    """The address of a real server on a free port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(timeout=20)
        listener.close()
