"""Logs: every line of a running service is one JSON object with the same keys, and what repeats itself is no flood."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from headend.embedded.ports import choose_port
from headend.log import REPEATS_S, Repeats, configure_logging, get_logger

KEYS = ["timestamp", "level", "event", "logger", "role", "pid"]


def lines(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    assert [list(line)[:6] for line in found] == [KEYS] * len(found)
    assert all(line["timestamp"].endswith("Z") for line in found)
    return found


def logged(script: str, style: str = "json") -> str:
    whole = f"from headend.log import *\nconfigure_logging('info', {style!r})\nlog = get_logger('a.b')\n"
    done = subprocess.run(
        [sys.executable, "-c", whole + textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    return done.stderr


def test_whoever_writes_it_is_one_object_a_line() -> None:
    found = lines(
        logged("""
            import asyncio, logging, threading, warnings
            log.info("plain", number=3)
            logging.getLogger("other").warning("with %s", "arguments\\nand a second line")
            warnings.warn("old fashioned")
            threading.Thread(target=lambda: [][0], name="weaver").start()
            async def forgotten():
                task = asyncio.ensure_future(asyncio.sleep(-1)); await task
                asyncio.get_running_loop().call_exception_handler({"message": "nobody took it"})
            asyncio.run(forgotten())
            try:
                1 / 0
            except ZeroDivisionError:
                log.exception("handled")
            raise RuntimeError("the end")
        """)
    )
    assert [(line["logger"], line["level"]) for line in found] == [
        ("a.b", "info"), ("other", "warning"), ("py.warnings", "warning"), ("headend.log", "critical"),
        ("asyncio", "error"), ("a.b", "error"), ("headend.log", "critical"),
    ]  # fmt: skip
    assert found[0]["number"] == 3
    assert found[3]["thread"] == "weaver"
    assert [line["exception"][0]["exc_type"] for line in found if "exception" in line] == [
        "IndexError",
        "ZeroDivisionError",
        "RuntimeError",
    ]


def test_a_role_s_name_goes_with_its_task_and_its_threads() -> None:
    found = lines(
        logged("""
            import asyncio
            async def role(name):
                bind_role(name)
                await asyncio.sleep(0)
                log.info("in the loop")
                await asyncio.to_thread(log.info, "in a thread")
            async def both():
                await asyncio.gather(asyncio.create_task(role("poll")), asyncio.create_task(role("web")))
                log.info("outside")
            asyncio.run(both())
        """)
    )
    assert Counter((line["event"], line["role"]) for line in found) == {
        ("in the loop", "poll"): 1,
        ("in the loop", "web"): 1,
        ("in a thread", "poll"): 1,
        ("in a thread", "web"): 1,
        ("outside", None): 1,
    }


class Heard:
    """What a logger under `Repeats` writes, as (event, repeated)."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.filter = Repeats(lambda: self.now_s)

    def say(self, event: str, level: int = logging.WARNING, error: BaseException | None = None, **fields: Any) -> Any:
        record = logging.LogRecord("a.b", level, "", 0, {"event": event, **fields}, None, None)
        if error is not None:
            record.msg["exc_info"] = error
        return record.repeated if self.filter.filter(record) else None  # type: ignore[attr-defined]


def test_the_same_warning_again_is_counted_and_told_a_minute_later() -> None:
    heard = Heard()
    assert heard.say("away", error_text="no", retry_s=1.0) == 0
    for retry_s in (2.0, 4.0, 8.0):
        heard.now_s += 15
        assert heard.say("away", error_text="no", retry_s=retry_s) is None
    heard.now_s = 1000 + REPEATS_S
    assert heard.say("away", error_text="no", retry_s=10.0) == 3
    heard.now_s += REPEATS_S
    assert heard.say("away", error_text="no", retry_s=10.0) == 0


def test_what_differs_in_a_word_is_told() -> None:
    heard = Heard()
    assert heard.say("silent", concentrator="C-1") == 0
    assert heard.say("silent", concentrator="C-2") == 0
    assert heard.say("silent", concentrator="C-1") is None
    assert heard.say("silent", logging.ERROR, concentrator="C-1") == 0
    assert heard.say("failed", error=ValueError("a")) == 0
    assert heard.say("failed", error=ValueError("b")) == 0
    assert heard.say("failed", error=ValueError("a")) is None


def test_information_is_never_held_back() -> None:
    heard = Heard()
    for _ in range(3):
        record = logging.LogRecord("a.b", logging.INFO, "", 0, {"event": "settled"}, None, None)
        assert heard.filter.filter(record)


def test_few_words_are_remembered() -> None:
    heard = Heard()
    for number in range(5000):
        heard.say("silent", concentrator=str(number))
    assert len(heard.filter._told) <= 1000


def test_the_count_is_written(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr("headend.log.time.monotonic", lambda: now_s)
    configure_logging("info", "json")
    root = logging.getLogger()
    root.handlers[0].filters[:] = [Repeats(lambda: now_s)]
    for _ in range(3):
        get_logger("a").warning("away")
        logging.getLogger("pool").warning("error connecting")
    now_s += REPEATS_S
    get_logger("a").warning("away")
    logging.getLogger("pool").warning("error connecting")
    found = lines(capsys.readouterr().err)
    assert [(line["event"], line.get("repeated")) for line in found] == [
        ("away", None), ("error connecting", None), ("away", 2), ("error connecting", 2),
    ]  # fmt: skip


SERVICE = """
import sys, warnings
from pathlib import Path
from headend.bootstrap import ROLES, run_service
from headend.log import configure_logging
from headend.settings import load_settings
configure_logging("info", "json")
warnings.warn("of a library")
run_service(load_settings(Path(sys.argv[1])), list(ROLES), ready_file=Path(sys.argv[2]))
"""


def test_a_running_service_whose_database_and_broker_are_away(dsn: str, server_dsn: str, tmp_path: Path) -> None:
    config, ready, log = tmp_path / "headend.toml", tmp_path / "ready", tmp_path / "log"
    spool = tmp_path / "spool"
    config.write_text(
        f"[database]\ndsn = {json.dumps(dsn)}\n[mqtt]\nport = {choose_port(0)}\n[web]\nport = {choose_port(0)}\n"
        f'[poll]\nreload_s = 0.05\nspool_dir = "{spool}"\n'
    )
    with log.open("wb") as stderr:
        process = subprocess.Popen([sys.executable, "-c", SERVICE, str(config), str(ready)], stderr=stderr)
    try:
        _wait(ready.exists, process)
        _wait(lambda: b'"heartbeat' in log.read_bytes() or b"endpoints loaded" in log.read_bytes(), process)
        name = conninfo_to_dict(dsn)["dbname"]
        with psycopg.connect(server_dsn, autocommit=True) as connection:
            connection.execute(f'drop database "{name}" with (force)'.encode())
        _wait(lambda: log.read_bytes().count(b"database is away") >= 2, process)
        time.sleep(3)  # many tries: the endpoints alone are looked for twenty times a second
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    found = lines(log.read_text())
    loggers = {line["logger"] for line in found}
    assert loggers >= {"py.warnings", "psycopg.pool", "uvicorn.error", "headend.bootstrap"}, loggers
    assert {line["pid"] for line in found} == {process.pid}
    assert {line["role"] for line in found} >= {None, "poll", "settle", "billing", "web"}
    told = Counter(
        (line["logger"], line["role"], line["event"], line.get("error"), line.get("chore"))
        for line in found
        if line["level"] in ("warning", "error")
    )
    assert max(told.values()) <= 2, told.most_common(3)
    assert os.path.getsize(log) < 200_000


def _wait(condition: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the service ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)
