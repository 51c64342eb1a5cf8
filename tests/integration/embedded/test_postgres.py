"""The embedded PostgreSQL against its real programs: new, again, killed, long paths, as root and as nobody."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
from pathlib import Path

import psycopg
import pytest

from headend.embedded.errors import DataDirInUseError, EmbeddedError
from headend.embedded.postgres import SOCKET_NAME, EmbeddedPostgres, processes_working_in
from headend.embedded.postgres_binaries import NOBODY, find_binaries, user_namespace_prefix
from headend.embedded.probes import postgres_ready
from headend.embedded.supervisor import Backoff, Death, Supervisor

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="drops from root to another user: run the tests as root too")

HOLD = """
import json, sys
from headend.embedded.postgres import EmbeddedPostgres
with EmbeddedPostgres(sys.argv[1], durable=sys.argv[2] == "durable") as server:
    print(json.dumps({"pid": server.pid, "dsn": server.dsn, "data_dir": str(server.data_dir)}), flush=True)
    sys.stdin.read()
"""


def test_new_directory_serves_and_keeps_rows_over_a_restart(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    with pytest.raises(EmbeddedError, match="not started"):
        _ = server.dsn
    with server, psycopg.connect(server.dsn) as session:
        session.execute("CREATE TABLE reading (register_wh bigint)")
        session.execute("INSERT INTO reading VALUES (42)")
    assert not server.running
    with server, psycopg.connect(server.dsn) as session:
        assert session.execute("SELECT register_wh FROM reading").fetchall() == [(42,)]
        names = ["fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "TimeZone"]
        values = [session.execute("SELECT current_setting(%s)", [name]).fetchone() for name in names]
        assert values == [("on",), ("on",), ("on",), ("",), ("UTC",)]
        # Chinese and other scripts sort and fold without a locale of the machine
        assert session.execute("SELECT lower('ÄÖ'), '台区' ~ '^[[:alpha:]]+$'").fetchone() == ("äö", True)
    assert processes_working_in(server.cluster_dir) == []


def test_directory_that_was_copied_with_other_permissions_starts(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    with server:
        pass
    server.cluster_dir.chmod(0o755)
    with server, psycopg.connect(server.dsn) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert stat.S_IMODE(server.cluster_dir.stat().st_mode) == 0o700


def test_start_twice_and_stop_twice_are_harmless(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    server.start()
    pid = server.pid
    server.start()
    assert server.pid == pid
    server.stop()
    server.stop()
    assert server.pid is None


def test_not_durable_switches_fsync_off(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "pg", durable=False) as server, psycopg.connect(server.dsn) as session:
        assert session.execute("SELECT current_setting('fsync')").fetchone() == ("off",)


def test_open_sessions_do_not_hold_up_the_stop(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    server.start()
    session = psycopg.connect(server.dsn)
    session.execute("SELECT 1")  # an open transaction
    server.stop()
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    session.close()


def test_started_from_a_thread_it_outlives_the_thread(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    try:
        with psycopg.connect(server.dsn) as session:
            assert session.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()


def test_long_path_gets_a_short_private_socket_directory(tmp_path: Path) -> None:
    data_dir = tmp_path / ("x" * 120) / "pg"
    with EmbeddedPostgres(data_dir, durable=False) as server, psycopg.connect(server.dsn) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
        socket_dir = Path(psycopg.conninfo.conninfo_to_dict(server.dsn)["host"])
        assert not socket_dir.is_relative_to(data_dir)
        assert socket_dir.stat().st_mode & 0o777 == 0o700
    assert not socket_dir.exists()


def test_path_with_blanks_commas_and_quotes(tmp_path: Path) -> None:
    data_dir = tmp_path / "my, o'hara\\data"
    with EmbeddedPostgres(data_dir, durable=False) as server, psycopg.connect(server.dsn) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_unrelated_processes_pid_in_a_stale_pid_file(tmp_path: Path) -> None:
    """The rule in a restarted container; PostgreSQL by itself refuses to start then."""
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    server.start()
    pid_file = server.cluster_dir / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    with subprocess.Popen(["sleep", "300"]) as bystander:
        try:
            pid_file.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
            with server, psycopg.connect(server.dsn) as session:
                assert session.execute("SELECT 1").fetchone() == (1,)
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_server_that_lives_on_without_its_owner_is_waited_for_and_named(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    with server:
        server._lock.release()  # as if its owner had died and it had not noticed
        with pytest.raises(EmbeddedError, match=rf"process {server.pid}\): stop it first"):
            EmbeddedPostgres(tmp_path / "pg", durable=False, start_timeout_s=0.2).start()
        with psycopg.connect(server.dsn) as session:
            assert session.execute("SELECT 1").fetchone() == (1,)


def test_shell_in_the_data_directory_does_not_count_as_a_server(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", durable=False, start_timeout_s=10)
    with server:
        assert server.pid in processes_working_in(server.cluster_dir)
    with subprocess.Popen(["sleep", "300"], cwd=server.cluster_dir) as bystander:
        try:
            with server:
                assert server.running
        finally:
            bystander.kill()


def test_something_in_the_way_is_named_and_the_lock_let_go(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    server.data_dir.mkdir()
    (server.data_dir / "run").write_text("no directory")
    for _attempt in range(2):
        with pytest.raises(EmbeddedError, match=f"{server.data_dir}/run"):
            server.start()
    (server.data_dir / "run").unlink()
    with server:
        assert server.running


def test_killed_server_recovers_committed_rows(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    server.start()
    with psycopg.connect(server.dsn) as session:
        session.execute("CREATE TABLE reading AS SELECT 7 AS register_wh")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert server._process is not None
    server._process.wait(10)
    assert server.exit_status == -signal.SIGKILL
    server.start()
    with psycopg.connect(server.dsn) as session:
        assert session.execute("SELECT register_wh FROM reading").fetchall() == [(7,)]
    server.stop()


def test_interrupted_initdb_starts_over(tmp_path: Path) -> None:
    data_dir = tmp_path / "pg"
    half_done = data_dir / "cluster.new"
    half_done.mkdir(parents=True)
    (half_done / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(data_dir, durable=False) as server, psycopg.connect(server.dsn) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert not half_done.exists()


def test_data_of_another_major_version_is_refused(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    with server:
        pass
    (server.cluster_dir / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedError, match=r"made by PostgreSQL 15, but .* is PostgreSQL \d+.*pg_upgrade"):
        server.start()
    (server.cluster_dir / "PG_VERSION").unlink()
    with pytest.raises(EmbeddedError, match="no PostgreSQL data directory"):
        server.start()


def test_second_owner_is_refused_by_pid(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "pg", durable=False):
        with pytest.raises(DataDirInUseError, match=f"process {os.getpid()}") as refused:
            EmbeddedPostgres(tmp_path / "pg", durable=False).start()
        assert refused.value.pid == os.getpid()


def test_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    with server:
        pass
    (server.cluster_dir / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(EmbeddedError, match="no_such_setting"):
        server.start()
    assert not server.running


def test_explicit_bin_dir_is_used_and_a_wrong_one_named(tmp_path: Path) -> None:
    binaries = find_binaries()
    with EmbeddedPostgres(tmp_path / "pg", durable=False, bin_dir=binaries.bin_dir) as server:
        assert server.running
    with pytest.raises(EmbeddedError, match=f"{tmp_path} has no executable initdb"):
        EmbeddedPostgres(tmp_path / "other", bin_dir=tmp_path).start()


def test_debian_programs_run_too(tmp_path: Path) -> None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("needs Debian's package postgresql")
    with (
        EmbeddedPostgres(tmp_path / "pg", durable=False, bin_dir=found[-1].parent) as server,
        psycopg.connect(server.dsn) as session,
    ):
        assert session.execute("SELECT 1").fetchone() == (1,)


@needs_root
def test_normal_user(open_dir: Path, run_script) -> None:
    os.chown(open_dir, NOBODY, NOBODY)
    script = run_script(HOLD, str(open_dir / "pg"), "durable", user=NOBODY)
    report = script.report()
    assert os.stat(f"/proc/{report['pid']}").st_uid == NOBODY
    with psycopg.connect(report["dsn"]) as session:
        session.execute("CREATE TABLE reading AS SELECT 1 AS register_wh")
    assert script.finish() == 0
    # root goes on with the user's data as that user, so that the user can afterwards
    with EmbeddedPostgres(open_dir / "pg") as server, psycopg.connect(server.dsn) as session:
        assert os.stat(f"/proc/{server.pid}").st_uid == NOBODY
        assert session.execute("SELECT register_wh FROM reading").fetchall() == [(1,)]
    script = run_script(HOLD, str(open_dir / "pg"), "durable", user=NOBODY)
    script.report()
    assert script.finish() == 0


@needs_root
def test_root_without_user_namespaces_runs_as_nobody(open_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedPostgres(open_dir / "pg", durable=False) as server:  # root's files first, where namespaces exist
        by_namespace = os.stat(server.cluster_dir).st_uid
    monkeypatch.setattr("headend.embedded.postgres_binaries.shutil.which", lambda _name: None)
    assert user_namespace_prefix() == ()
    with EmbeddedPostgres(open_dir / "pg", durable=False) as server, psycopg.connect(server.dsn) as session:
        assert os.stat(f"/proc/{server.pid}").st_uid == NOBODY
        assert os.stat(server.cluster_dir).st_uid == NOBODY
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert by_namespace in (0, NOBODY)
    closed = open_dir / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=f"cannot pass {closed} on the way to the data directory"):
        EmbeddedPostgres(closed / "pg", durable=False).start()


def test_kill_9_of_the_owner_ends_the_server_and_the_next_owner_goes_on(tmp_path: Path, run_script, wait_until) -> None:
    script = run_script(HOLD, str(tmp_path / "pg"), "durable")
    report = script.report()
    with psycopg.connect(report["dsn"]) as session:
        session.execute("CREATE TABLE reading AS SELECT 5 AS register_wh")
    script.process.kill()
    script.process.wait()
    # At once, while the old server may still be shutting down.
    with EmbeddedPostgres(tmp_path / "pg") as server, psycopg.connect(server.dsn) as session:
        assert session.execute("SELECT register_wh FROM reading").fetchall() == [(5,)]
    wait_until(lambda: processes_working_in(tmp_path / "pg" / "cluster") == [], "no server left")


START = """
import sys
from headend.embedded.postgres import EmbeddedPostgres
EmbeddedPostgres(sys.argv[1]).start()
"""


def test_kill_9_in_the_middle_of_initdb_is_made_good(tmp_path: Path, run_script, wait_until) -> None:
    script = run_script(START, str(tmp_path / "pg"))
    wait_until((tmp_path / "pg" / "cluster.new" / "base").exists, "initdb at work")
    script.process.kill()
    script.process.wait()
    assert not (tmp_path / "pg" / "cluster").exists()
    with EmbeddedPostgres(tmp_path / "pg") as server, psycopg.connect(server.dsn) as session:
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_supervised_server_comes_back_with_its_rows(tmp_path: Path, wait_until) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    with Supervisor(Backoff(first_s=0.01)) as supervisor:
        supervisor.start(server)
        deaths: list[Death] = []
        supervisor.watch(deaths.append, interval_s=0.02)
        dsn, pid = server.dsn, server.pid
        socket_path = Path(psycopg.conninfo.conninfo_to_dict(dsn)["host"]) / SOCKET_NAME
        assert pid is not None
        with psycopg.connect(dsn, autocommit=True) as session:
            session.execute("CREATE TABLE reading AS SELECT 3 AS register_wh")
            os.kill(pid, signal.SIGKILL)  # with a session open: its worker has to go first
            wait_until(lambda: server.running and server.pid != pid and postgres_ready(socket_path), "a new one")
        with psycopg.connect(dsn) as session:
            assert session.execute("SELECT register_wh FROM reading").fetchall() == [(3,)]
        assert [(death.service, death.exit_status) for death in deaths] == [("postgres", -signal.SIGKILL)]
    assert not server.running
