"""`headend nightly`: what changed is explained, once, whoever does it; what waits or fails is told."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from datetime import timedelta

import pytest

from headend.domain.clock import system_clock
from headend.settlement.reconcile import Reconciler
from headend.store import locks
from support.command import HEADEND, environment, headend
from support.station import Stations
from support.waiting import PATIENCE_S, until

Make = Callable[..., Stations]


def nightly(made: Stations, *options: str) -> subprocess.CompletedProcess[str]:
    return headend("nightly", *options, dsn=made.field.store.dsn, **made.settings)


def test_every_station_is_explained_and_the_summary_says_what_it_came_to(make_stations: Make) -> None:
    made = make_stations(stations=2, areas=2, bad=2)
    done = nightly(made, "--workers", "1")
    assert (done.returncode, done.stderr) == (0, ""), done
    lines = done.stdout.splitlines()
    assert lines[0].startswith("2 of 2 stations explained in ")
    assert "4 areas screened" in lines[0]
    assert [report["code"] for report in made.reports()] == ["S1A0", "S1A1", "S2A0", "S2A1"]
    alarms = sum(report["alarm"] for report in made.reports())
    assert lines[0].endswith(f"{alarms} with an alarm")
    opened = made.field.one("select count(*) from finding")
    assert sum(map(int, (word for word in lines[2].partition(";")[0].split() if word.isdigit()))) == opened
    assert "s without an alarm" in lines[3]
    assert "no household voltages 4" in lines[4], "every area lacks them"


def test_what_has_not_changed_is_left_alone_unless_all_is_asked_for(make_stations: Make) -> None:
    made = make_stations(stations=2)
    assert nightly(made, "--workers", "1").returncode == 0
    when = "select min(reported_at) from area_report"
    first = made.field.one(when)
    again = nightly(made, "--workers", "1")
    assert again.returncode == 0
    assert again.stdout.startswith("0 of 0 stations explained")
    assert "nothing under it has changed: 2 (S1, S2)" in again.stdout
    assert made.field.one(when) == first
    before = made.reports(), made.cases()
    everything = nightly(made, "--all", "--workers", "1")
    assert everything.stdout.startswith("2 of 2 stations explained")
    assert made.field.one(when) > first
    assert (made.reports(), made.cases()) == before, "explained again, it says the same"
    assert made.field.one("select count(*) from finding_event where move <> 'opened'") == 0


def test_one_areas_station_alone(make_stations: Make) -> None:
    made = make_stations(stations=2, areas=2)
    done = nightly(made, "--area", "S2A1")
    assert done.stdout.startswith("1 of 1 stations explained")
    assert [report["code"] for report in made.reports()] == ["S2A0", "S2A1"], "with its neighbours"
    unknown = nightly(made, "--area", "S2A1", "--area", "X")
    assert (unknown.returncode, unknown.stderr) == (1, "headend: no area 'X'\n")


def test_what_is_on_its_way_waits_and_is_told(make_stations: Make) -> None:
    made = make_stations(stations=4)
    made.field.mark(made.areas["S1A0"], [made.last - timedelta(days=1)])
    now = system_clock()
    made.field.run(
        "insert into concentrator (code, area_id, backlog, online, last_seen_at) values ('C1', %s, 3, true, %s)",
        [made.areas["S2A0"], now],
    )
    made.field.run("insert into concentrator (code, area_id) values ('C2', %s)", [made.areas["S3A0"]])
    done = nightly(made)
    assert done.returncode == 0
    assert done.stdout.startswith("2 of 2 stations explained"), "S3's was never heard of, and nobody listens"
    assert "days wait to be settled: 1 (S1)" in done.stdout
    assert "history is still loading: 1 (S2)" in done.stdout
    made.field.run(
        "insert into service_process (process_id, host, pid, version, roles, started_at, beat_at, health) "
        "values (gen_random_uuid(), 'vm', 7, '1', array['ingest'], %(now)s, %(now)s, '{}')".replace("%(now)s", "%s"),
        [now, now],
    )
    listening = nightly(made, "--all")
    assert "history is still loading: 2 (S2, S3)" in listening.stdout, "S3's may be about to speak"


def test_processes_give_what_one_does(make_stations: Make) -> None:
    made = make_stations(stations=3, bad=2)
    assert nightly(made, "--workers", "1").returncode == 0
    wanted = made.reports(), made.cases()
    made.forget_reports()
    done = nightly(made, "--workers", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("3 of 3 stations explained")
    assert (made.reports(), made.cases()) == wanted


def test_it_says_what_the_role_says(make_stations: Make) -> None:
    made = make_stations(stations=1, areas=2, bad=2)
    assert nightly(made).returncode == 0
    wanted = made.reports(), made.cases()
    made.forget_reports()
    field = made.field
    assert Reconciler(field.store, field.settings, system_clock, started=made.start).step()
    assert (made.reports(), made.cases()) == wanted


def test_a_station_in_another_workers_hands_is_left_to_it(make_stations: Make) -> None:
    made = make_stations(stations=2)
    station = made.field.one("select station_id from station where code = 'S1'")
    with locks.alone(made.field.store, f"reconcile station {station}") as mine:
        assert mine
        done = nightly(made, "--workers", "1")
    assert done.returncode == 0
    assert done.stdout.startswith("1 of 2 stations explained")
    assert "another worker has it: 1 (S1)" in done.stdout
    assert [report["code"] for report in made.reports()] == ["S2A0"]


def test_a_station_that_cannot_be_explained_stops_no_other_one(make_stations: Make) -> None:
    made = make_stations(stations=2)
    made.field.run(
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no room'; end $$; "
    )
    made.field.run(
        f"create trigger refuse before insert on area_report for each row when (new.area_id = {made.areas['S1A0']}) "
        "execute function refuse()"
    )
    done = nightly(made, "--workers", "1")
    assert done.returncode == 1
    assert "not explained: S1: " in done.stderr
    assert "no room" in done.stderr
    assert done.stdout.startswith("1 of 2 stations explained")
    assert [report["code"] for report in made.reports()] == ["S2A0"]
    assert made.field.one("select count(*) from finding where area_id = %s", [made.areas["S1A0"]]) == 0, "whole or not"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_ends_after_the_stations_in_hand(make_stations: Make, workers: str) -> None:
    made = make_stations(stations=5)
    with made.field.store.transaction() as holder:
        # Whoever comes to the second station waits within its transaction, which is kept.
        holder.execute(b"select from area where code = 'S2A0' for update")
        running = subprocess.Popen(
            [*HEADEND, "nightly", "--workers", workers],
            env=environment(HEADEND_DATABASE__DSN=made.field.store.dsn, **made.settings),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        until(lambda: made.field.waiting() >= 1, "it waits for the area")
        running.send_signal(signal.SIGINT)
        if workers == "2":
            until(lambda: made.field.one("select count(*) from area_report") >= 1, "the other one ends what it has")
    out, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130, err
    assert "stations are done; what is explained is kept" in err
    done = [report["code"] for report in made.reports()]
    assert "S2A0" in done, "what was in hand was kept"
    assert out.startswith(f"{len(done)} of 5 stations explained")
    assert nightly(made).returncode == 0
    assert len(made.reports()) == 5, "asked again it goes on where it was"


def test_workers_and_a_cluster_are_two_answers(make_stations: Make) -> None:
    made = make_stations(stations=1)
    done = nightly(made, "--workers", "2", "--cluster", "tcp://127.0.0.1:1")
    assert (done.returncode, done.stderr) == (
        1, "headend: --workers are processes on this host: with --cluster there are none\n",
    )  # fmt: skip


def test_another_share_of_meters_on_wrong_areas_is_explained_anew_once(make_stations: Make) -> None:
    made = make_stations(stations=1)
    assert nightly(made, "--workers", "1").stdout.startswith("1 of 1 stations")
    other = made.settings | {"HEADEND_SETTLEMENT__WRONG_AREA_RATE": "0.2"}
    first, second = (headend("nightly", dsn=made.field.store.dsn, **other).stdout for _ in range(2))
    assert first.startswith("1 of 1 stations")
    assert "nothing under it has changed: 1" in second
