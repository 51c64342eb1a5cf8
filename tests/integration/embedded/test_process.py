"""Real child processes: readiness, their last words, their end, and that none of them outlives its parent."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psycopg
import pytest

from headend.embedded.errors import DataDirInUseError, EmbeddedError
from headend.embedded.lock import DataDirLock
from headend.embedded.ports import choose_port
from headend.embedded.postgres_binaries import NOBODY
from headend.embedded.probes import file_present, http_ready, port_open
from headend.embedded.process import ChildProcess, python_module


def child(tmp_path: Path, code: str, *arguments: str, **options) -> ChildProcess:
    return ChildProcess("meter", [sys.executable, "-c", code, *arguments], log_path=tmp_path / "meter.log", **options)


def test_http_and_port_readiness(tmp_path: Path) -> None:
    port = choose_port(0)
    assert not http_ready("127.0.0.1", port, "/")
    command = python_module("http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path))
    with ChildProcess("web", command, log_path=tmp_path / "web.log", ready=partial(http_ready, "127.0.0.1", port, "/")):
        assert port_open("127.0.0.1", port)
        assert not http_ready("127.0.0.1", port, "/missing")
    assert not port_open("127.0.0.1", port)
    assert "GET / HTTP" in (tmp_path / "web.log").read_text()


def test_file_readiness_and_our_packages_are_importable(tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    code = "import sys, time, headend.embedded.errors; open(sys.argv[1], 'w').write('yes'); time.sleep(600)"
    with child(tmp_path, code, str(flag), ready=partial(file_present, flag)) as running:
        assert running.running
        assert running.exit_status is None


def test_child_that_ends_while_starting_gives_its_last_words(tmp_path: Path) -> None:
    failing = child(tmp_path, "raise SystemExit('no such register map')", ready=lambda: False)
    with pytest.raises(EmbeddedError, match=r"meter ended with status 1 while starting(?s:.*)no such register map"):
        failing.start()
    assert (failing.running, failing.exit_status) == (False, 1)


def test_child_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    slow = child(tmp_path, "import time; time.sleep(600)", ready=lambda: False, ready_timeout_s=0.2)
    with pytest.raises(EmbeddedError, match=r"meter is not ready after 0\.2 s"):
        slow.start()
    assert not slow.running


def test_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    missing = ChildProcess("meter", ["/no/such/program"], log_path=tmp_path / "log", ready=lambda: False)
    with pytest.raises(EmbeddedError, match=r"cannot launch /no/such/program"):
        missing.start()


@pytest.mark.parametrize("deaf", [False, True])
def test_stop_is_sigterm_then_sigkill(tmp_path: Path, deaf: bool) -> None:
    flag = tmp_path / "ready"
    code = """
import signal, sys, time
if sys.argv[2] == "True":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(open(sys.argv[1] + ".bye", "w").write("bye") * 0))
open(sys.argv[1], "w").write("yes")
while True:
    time.sleep(0.01)
"""
    running = child(
        tmp_path, code, str(flag), str(deaf), ready=partial(file_present, flag), stop_timeout_s=0.2 if deaf else 20.0
    )
    running.start()
    process = running._process
    assert process is not None
    running.stop()
    running.stop()
    assert process.returncode == (-signal.SIGKILL if deaf else 0)
    assert file_present(tmp_path / "ready.bye") is not deaf


def test_log_is_kept_over_restarts_and_turned_when_large(tmp_path: Path) -> None:
    log = tmp_path / "meter.log"
    for word in ("first", "second"):
        with child(tmp_path, f"print({word!r})") as running:
            assert running._process is not None
            running._process.wait(20)
    assert log.read_text().split() == ["first", "second"]
    log.write_bytes(b"x" * 10_000_001)
    with child(tmp_path, "print('third')") as running:
        assert running._process is not None
        running._process.wait(20)
    assert log.read_text().split() == ["third"]
    assert (tmp_path / "meter.log.1").stat().st_size == 10_000_001


def test_child_started_by_a_thread_outlives_it(tmp_path: Path) -> None:
    running = child(tmp_path, "import time; time.sleep(600)")
    starter = threading.Thread(target=running.start)
    starter.start()
    starter.join()
    process = running._process
    assert process is not None
    with pytest.raises(Exception, match="timed out"):
        process.wait(0.3)
    running.stop()


HOUSEHOLD = """
import json, sys
from pathlib import Path
from functools import partial
from headend.embedded.billing_process import EmbeddedBilling
from headend.embedded.broker import EmbeddedBroker
from headend.embedded.lock import DataDirLock
from headend.embedded.postgres import EmbeddedPostgres
from headend.embedded.postgres_binaries import NOBODY
from headend.embedded.probes import file_present
from headend.embedded.process import ChildProcess
from headend.embedded.supervisor import Supervisor

data_dir = Path(sys.argv[1])
with DataDirLock(data_dir), Supervisor() as supervisor:
    postgres = EmbeddedPostgres(data_dir / "postgres")
    supervisor.start(postgres)
    broker = EmbeddedBroker(data_dir / "broker", port=0)
    supervisor.start(broker)
    billing = EmbeddedBilling(data_dir / "billing", secret="s", port=0)
    supervisor.start(billing)
    flag = data_dir / "flag"
    flag.unlink(missing_ok=True)
    deaf = ("import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
            "open(sys.argv[1], 'w').write('yes'); time.sleep(600)")
    child = ChildProcess("deaf", [sys.executable, "-c", deaf, str(flag)], log_path=data_dir / "child.log",
                         ready=partial(file_present, flag), stop_timeout_s=0.2)
    supervisor.start(child)
    supervisor.watch()
    pids = {"postgres": postgres.pid, "broker": broker.pid, "billing": billing.pid, "child": child.pid}
    print(json.dumps({"pids": pids, "dsn": postgres.dsn}), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("user", [None, NOBODY], ids=["as we are", "as a normal user"])
def test_kill_9_leaves_no_process_and_the_next_start_goes_on(
    open_dir: Path, run_script, alive, wait_until, user: int | None
) -> None:
    if user is not None:
        if os.geteuid() != 0:
            pytest.skip("changes from root to another user: run the tests as root too")
        os.chown(open_dir, user, user)
    script = run_script(HOUSEHOLD, str(open_dir), user=user)
    report = script.report()
    pids = list(report["pids"].values())
    assert all(alive(pid) for pid in pids)
    with pytest.raises(DataDirInUseError, match=f"process {script.process.pid}"):
        DataDirLock(open_dir).acquire()
    with psycopg.connect(report["dsn"]) as session:
        session.execute("CREATE TABLE reading AS SELECT 11 AS register_wh")
    script.process.kill()
    script.process.wait()
    killed_at = time.monotonic()
    wait_until(lambda: not any(alive(pid) for pid in pids), f"end of {report['pids']}")
    print(f"gone {time.monotonic() - killed_at:.2f} s after the kill")

    again = run_script(HOUSEHOLD, str(open_dir), user=user)
    report = again.report()
    with psycopg.connect(report["dsn"]) as session:
        assert session.execute("SELECT register_wh FROM reading").fetchall() == [(11,)]
    assert again.finish() == 0
    assert not any(alive(pid) for pid in report["pids"].values())
