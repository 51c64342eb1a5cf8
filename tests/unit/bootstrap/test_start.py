"""What `headend run` refuses before it starts, what its processes show of themselves, what logs keep silent."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from drivers.errors import DriverConfigError
from headend.bootstrap import run_service
from headend.embedded.ports import choose_port
from headend.settings import Settings, SettingsError
from headend.store.errors import StoreError, StoreUnavailable
from headend.store.pool import Store

NOWHERE = {"dsn": "host=/nonexistent dbname=x"}


def test_billing_key_that_cannot_be_read_is_named_before_anything_starts(tmp_path: Path) -> None:
    billing: Any = {"endpoint_url": "http://127.0.0.1:9/", "secret_file": tmp_path / "absent"}
    with pytest.raises(SettingsError, match=r"billing\.secret_file .*absent"):
        run_service(Settings(database=NOWHERE, billing=billing), ["billing"])


def test_register_map_with_an_unknown_key_is_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('colour = "red"\n')
    poll: Any = {"models_dir": tmp_path}
    with pytest.raises(DriverConfigError, match=r"own\.toml"):
        run_service(Settings(database=NOWHERE, poll=poll), ["poll"])


def test_dsn_that_is_none_is_named_at_once() -> None:
    with pytest.raises(StoreError, match=r"database\.dsn is no libpq connection string"):
        Store("nonsense and more")


@pytest.mark.parametrize("pool_max", [1, 2])
def test_a_pool_that_a_chore_would_have_to_itself_is_refused(pool_max: int) -> None:
    """With 1 no chore ever gets the second connection, and while each waits for it nothing else is stored."""
    settings = Settings(database=NOWHERE | {"pool_max": pool_max})
    with pytest.raises(SettingsError, match=rf"database\.pool_max = {pool_max}: with role upkeep at least 3"):
        run_service(settings, ["ingest", "upkeep"])
    with pytest.raises(StoreUnavailable):  # alone it is enough
        run_service(settings, ["settle"])


def test_large_blocks_go_back_to_the_system() -> None:
    """Where the C library is glibc; a buffer between its default and its largest threshold has pages of its own."""
    script = textwrap.dedent("""
        import ctypes
        from headend import allocator
        if not allocator.give_back():
            raise SystemExit(0)  # another C library
        free, malloc = ctypes.CDLL(None).free, ctypes.CDLL(None).malloc
        malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
        pages = lambda: int(open("/proc/self/statm").read().split()[1])
        def used(size, times):
            blocks = [malloc(size) for _ in range(times)]
            for block in blocks:
                ctypes.memset(block, 1, size)
            for block in blocks[:-1]:
                free(block)  # the last one stays: a heap could not shrink below it
        used(8 << 20, 2)  # glibc raises its threshold to this when the first is freed
        before = pages()
        used(4 << 20, 20)
        raise SystemExit((pages() - before) * 4096 > 16 << 20)
    """)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_taken_metrics_port_is_named(dsn: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupier:
        port = occupier.getsockname()[1]
        metrics: Any = {"port": port}
        with pytest.raises(SettingsError, match=rf"metrics\.port = {port}: Address already in use"):
            run_service(Settings(database={"dsn": dsn}, metrics=metrics), ["settle"])


def test_process_without_pages_shows_its_counters_and_ends_cleanly(dsn: str, tmp_path: Path) -> None:
    port = choose_port(0)
    config = tmp_path / "headend.toml"
    config.write_text(f"[database]\ndsn = {json.dumps(dsn)}\n[metrics]\nport = {port}\n")
    ready = tmp_path / "ready"
    command = [sys.executable, "-m", "headend.cli", "run", "-c", str(config), "--roles", "settle"]
    process = subprocess.Popen([*command, "--ready-file", str(ready)], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert "headend_settled_area_days_total" in text
    finally:
        process.send_signal(signal.SIGTERM)
        _out, log = process.communicate(timeout=30)
    assert process.returncode == 0, log


def test_a_stop_that_takes_too_long_is_cut_short(dsn: str, tmp_path: Path) -> None:
    """As with a database that takes a statement and never answers."""
    ready = tmp_path / "ready"
    script = textwrap.dedent(f"""
        import asyncio, pathlib
        from headend import bootstrap
        from headend.log import configure_logging
        from headend.settings import Settings
        class Stuck:
            def __init__(self, *_): ...
            def health(self): return {{}}
            async def run(self, stop): await asyncio.sleep(3600)
        bootstrap.STOP_MOST_S = 0.5
        bootstrap.ROLES = {{"stuck": lambda: Stuck}}
        configure_logging("info", "json")
        settings = Settings(database={{"dsn": {dsn!r}}})
        bootstrap.run_service(settings, ["stuck"], ready_file=pathlib.Path({str(ready)!r}))
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _out, log = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 1
    assert json.loads(log.splitlines()[-1])["event"] == "the stop took too long and is cut short"


@pytest.mark.parametrize("style", ["json", "console"])
def test_traceback_in_the_log_shows_no_local_variable(style: str) -> None:
    script = textwrap.dedent(f"""
        from headend.log import configure_logging, get_logger
        configure_logging("info", {style!r})
        def role():
            dsn = "password=" + "".join(["hun", "ter2"])
            raise RuntimeError("gave up")
        try:
            role()
        except RuntimeError:
            get_logger("x").exception("role failed")
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "gave up" in done.stderr
    assert "in role" in done.stderr or '"name": "role"' in done.stderr
    assert "hunter2" not in done.stderr
