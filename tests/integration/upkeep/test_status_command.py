"""`headend status`: every part in one screen of 80 columns, and an exit status that a script can act on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from headend.domain.alerts import AlertKind
from headend.domain.processes import RoleHealth, RoleState
from headend.embedded.ports import choose_port
from headend.store import alerts, heartbeats
from headend.store.heartbeats import Identity
from headend.store.pool import Store

ROLES = ("ingest", "poll", "settle", "billing", "upkeep", "web")
Status = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def status(dsn: str, tmp_path: Path) -> Status:
    def run(*options: str, dsn: str = dsn, **sections: str) -> subprocess.CompletedProcess[str]:
        config = tmp_path / "headend.toml"
        text = "".join(f"[{name}]\n{keys}\n" for name, keys in sections.items())
        config.write_text(f"[database]\ndsn = {json.dumps(dsn)}\n{text}")
        command = [sys.executable, "-m", "headend.cli", "status", "--config", str(config), *options]
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)

    return run


def lives(store: Store, *, silent_s: float = 1, error: str | None = None, failed: str = "settle") -> None:
    """One process with every role; the failed one fails with the error."""
    now = datetime.now(UTC)
    who = Identity(
        process_id=UUID(int=1), host="vm", pid=7, version="0.1.0", roles=ROLES, started_at=now - timedelta(hours=5)
    )
    health = {
        role: RoleHealth(
            state=RoleState.RESTARTING if error and role == failed else RoleState.RUNNING,
            since_at=now - timedelta(hours=5),
            restarts=3 if error and role == failed else 0,
            error=error if role == failed else None,
            failed_at=None,
            facts={"connected": True, "unacked_messages": 1234, "oldest_waiting_s": 0.25} if role == "ingest" else {},
        )
        for role in ROLES
    }
    with store.transaction() as connection:
        heartbeats.beat(connection, who, health, now=now - timedelta(seconds=silent_s))


def test_all_is_well(field: Store, status: Status) -> None:
    lives(field)
    done = status()
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "\x1b" not in done.stdout, "no colours where nobody sees them"
    screen = done.stdout.splitlines()
    assert max(map(len, screen)) <= 80
    assert len(screen) <= 40
    assert screen[-1].strip() == "All is well."
    for role in ROLES:
        (line,) = (line for line in screen if line.split()[:2] == [role, "running"])
        assert "vm/7" in line
    assert "connected, unacked messages 1,234" in " ".join(done.stdout.split())
    for part in (
        "readings", "polling", "concentrators", "read success", "settlement", "billing", "jobs", "store", "quarantine",
    ):  # fmt: skip
        assert any(line.startswith(part) for line in screen), part
    assert "late: C2 (never), C1" in done.stdout


def test_what_wants_attention_is_said_last_and_in_the_exit_status(field: Store, status: Status) -> None:
    lives(field, error="RuntimeError: bitten [bold]by a meter")
    with field.transaction() as connection:
        detail = "2026-03-10: 94 of 96 reads stored"
        alerts.raise_alert(connection, AlertKind.READ_SUCCESS, "A", detail=detail, now=datetime.now(UTC), area_id=1)
    done = status()
    assert done.returncode == 1
    words = " ".join(done.stdout.partition("Wants attention:")[2].split())
    assert words == (
        "• settle (vm/7) fails and is started again, 3 times by now: RuntimeError: bitten [bold]by a meter "
        "• read success, A: 2026-03-10: 94 of 96 reads stored"
    )
    assert "restarting" in done.stdout
    assert "failed 3 times, last:" in done.stdout


def test_a_bad_night_of_all_areas_is_still_one_screen(field: Store, status: Status) -> None:
    lives(field)
    with field.transaction() as connection:
        for number in range(1000):
            alerts.raise_alert(
                connection, AlertKind.READ_SUCCESS, f"A{number}", detail="0 of 96 reads stored", now=datetime.now(UTC)
            )
        alerts.raise_alert(connection, AlertKind.STORAGE, "retention", detail="disk full", now=datetime.now(UTC))
    done = status()
    assert done.returncode == 1
    screen = done.stdout.splitlines()
    assert len(screen) <= 50
    words = [line.strip() for line in screen[screen.index("Wants attention:") + 1 :]]
    assert words[0] == "• storage, retention: disk full"
    assert len(words) == 1 + 5 + 1
    assert words[-1] == "• read success: 995 more"


def test_a_process_that_is_gone(field: Store, status: Status) -> None:
    lives(field, silent_s=3600)
    done = status()
    assert done.returncode == 1
    assert "no process of the service lives" in done.stdout
    assert "gone" in done.stdout


def test_as_json_it_is_what_the_api_answers(field: Store, status: Status) -> None:
    from dataclasses import fields

    from headend.api.status import Status as Answer

    lives(field)
    done = status("--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert set(found) == {f.name for f in fields(Answer)}
    assert found["attention"] == []
    assert [r["role"] for r in found["processes"][0]["roles"]] == list(ROLES)
    assert found["concentrators"]["never_heard"] == 1


def test_without_the_database_it_says_what_it_can(status: Status) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        port = broker.getsockname()[1]
        nobody = choose_port(0)
        ports = {"mqtt": f"port = {port}", "web": f"port = {nobody}"}
        done = status(dsn="host=127.0.0.1 port=1 dbname=x", **ports)
        assert done.returncode == 2
        first, *rest = done.stdout.splitlines()
        assert first.startswith("database  cannot be reached: ")
        assert rest == [f"broker    127.0.0.1:{port} answers", f"web       127.0.0.1:{nobody} does not answer"]
        assert done.stderr == ""
        as_json = status("--json", dsn="host=127.0.0.1 port=1 dbname=x", **ports)
    assert as_json.returncode == 2
    found = json.loads(as_json.stdout)
    assert (found["broker"], found["web"]) == (True, False)


def test_a_database_without_its_schema_wants_to_be_migrated(empty_dsn: str, status: Status) -> None:
    done = status(dsn=empty_dsn)
    assert done.returncode == 1
    assert "run `headend migrate`" in done.stderr
