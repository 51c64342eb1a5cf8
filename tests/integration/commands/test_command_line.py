"""`headend command`: asks through the same desk, waits, and shows the whole life."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result
from typer.testing import CliRunner

from headend.cli import app
from headend.settings import Settings
from headend.store.pool import Store
from support.switchable import SwitchableMeter, served

WHO = ("--by", "Li Wei", "--reason", "a test")


@pytest.fixture
def headend(store: Store, tmp_path: Path) -> Any:
    """headend command …; with relays allowed unless told otherwise."""

    def run(*words: str, relay: bool = True) -> Result:
        config = tmp_path / "headend.toml"
        config.write_text(f"[database]\ndsn = '''{store.dsn}'''\n[commands]\nrelay = {str(relay).lower()}\n")
        return CliRunner().invoke(app, ["command", *words, "--config", str(config)])

    return run


def test_a_relay_from_the_command_line(headend: Any, load: Any, running: Any, told: None) -> None:
    async def run(meter: SwitchableMeter) -> tuple[Result, Result, Result]:
        async with served(meter) as port:
            load(("120001", 3, port))
            async with running():
                command_id = str(uuid4())
                opened = await asyncio.to_thread(headend, "relay", "Eastron/120001", "open", *WHO, "--id", command_id)
                again = await asyncio.to_thread(headend, "relay", "Eastron/120001", "open", *WHO, "--id", command_id)
                shown = await asyncio.to_thread(headend, "show", command_id)
        return opened, again, shown

    meter = SwitchableMeter(3, 120001)
    opened, again, shown = asyncio.run(run(meter))
    assert [r.exit_code for r in (opened, again, shown)] == [0, 0, 0]
    assert opened.stdout == again.stdout == shown.stdout
    lines = opened.stdout.splitlines()
    assert lines[0].endswith("relay → open  by Li Wei: a test")
    assert [line.split()[1] for line in lines[1:-1]] == [
        "requested", "taken", "found", "sent", "written", "read_back", "confirmed",
    ]  # fmt: skip
    assert lines[4].endswith("[AAAA]")
    assert lines[-1] == "confirmed: closed → open; read back as open"
    assert len(meter.writes) == 1


def test_what_is_not_confirmed_fails(headend: Any, load: Any, running: Any, told: None) -> None:
    async def run() -> Result:
        async with served(SwitchableMeter(3, 120001, lies=True)) as port:
            load(("120001", 3, port))
            async with running():
                return await asyncio.to_thread(headend, "tariff", "Eastron/120001", "2", *WHO)

    answer = asyncio.run(run())
    assert answer.exit_code == 1
    assert answer.stdout.splitlines()[-1].startswith("unconfirmed: 1 → 1; the meter accepted it")


def test_without_anybody_who_polls_it_expires(headend: Any, load: Any, told: None) -> None:
    load(("120001", 3, 502))
    answer = headend("clock", "Eastron/120001", *WHO, "--ttl", "1")
    assert answer.exit_code == 1
    assert answer.stdout.splitlines()[-1] == "expired; never sent: nobody took it in time"
    queued = headend("clock", "Eastron/120001", *WHO, "--no-wait")
    assert (queued.exit_code, len(queued.stdout.strip())) == (0, 36)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("relay", "Eastron/120001", "ajar", *WHO), "wanted: 'ajar' is none of open, closed"),
        (("relay", "120001", "open", *WHO), "'120001': wanted MANUFACTURER/SERIAL"),
        (("relay", "Eastron/999", "open", *WHO), "there is no meter Eastron/999"),
        (("clock", "Eastron/120001", "--by", "Li", "--reason", " "), "reason: is required"),
        (("clock", "Eastron/120001", *WHO, "--ttl", "4000"), "ttl_s: 4000 is not within 1 to 3600"),
        (("show", "00000000-0000-0000-0000-000000000001"), "there is no command 00000000-0000-0000-0000-000000000001"),
    ],
)
def test_what_is_wrong_is_said(headend: Any, load: Any, told: None, words: tuple[str, ...], says: str) -> None:
    load(("120001", 3, 502))
    answer = headend(*words)
    assert answer.exit_code == 1
    assert says in answer.stderr


def test_relays_are_off_by_default(headend: Any, load: Any, told: None, settings: Settings) -> None:
    load(("120001", 3, 502))
    answer = headend("relay", "Eastron/120001", "open", *WHO, relay=False)
    assert answer.exit_code == 1
    assert answer.stderr.endswith("headend: switched off by the settings: commands.relay = false\n")
    assert Settings(database=settings.database).commands.relay is False
