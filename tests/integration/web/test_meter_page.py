"""The page of one meter and its API: what is shown, what may be asked for, and what is refused with which words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import seed as seeding
from fastapi.testclient import TestClient
from seed_base import Seeded
from seed_commands import SWITCHED, WAITING, command_id

from headend.settings import Commands, Database, Settings
from headend.store.pool import Store
from headend.web.app import create_app

HTML = {"Accept": "text/html"}
METER = f"/meters/{SWITCHED}"
API = f"/api/v1{METER}"


@pytest.fixture
def allowing(seeded_store: Store, seeded: Seeded) -> Iterator[TestClient]:
    """The application where relays may be switched; what tests ask for there is taken away again."""
    settings = Settings(database=Database(dsn=seeded_store.dsn), commands=Commands(relay=True))
    yield TestClient(create_app(seeded_store, settings, lambda: seeding.NOW), raise_server_exceptions=False)
    ours = b"select command_id from device_command where requested_by = 'Test'"
    with seeded_store.transaction() as connection:
        connection.execute(b"set local session_replication_role = replica")  # the audit lets nobody, a test neither
        connection.execute(b"delete from device_command_step where command_id in (" + ours + b")")
        connection.execute(b"delete from device_command where requested_by = 'Test'")
        connection.execute(b"delete from device_request where meter_id = %s", [seeded.meters[SWITCHED]])


def asked(**changes: Any) -> dict[str, Any]:
    given = {"command_id": str(uuid4()), "kind": "relay", "wanted": "open", "requested_by": "Test", "reason": "a test"}
    return given | changes


def page_of(client: TestClient, path: str, status: int = 200) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status, answer.text[:2000]
    return answer.text


def test_the_page_shows_where_it_is_and_how_it_is_reached(client: TestClient) -> None:
    page = page_of(client, METER)
    for shown in (
        SWITCHED, "DDSU666", 'href="/areas/A1"', "modbus+tcp://10.20.0.11:502", "unit 2", "Read", "41.0 ms",
        "+5.86", "drifted", "s a day", "after being set",
    ):  # fmt: skip
        assert shown in page, shown


def test_commands_show_their_whole_life(client: TestClient) -> None:
    page = page_of(client, METER)
    for shown in (
        "Relay → open", "Clock → ours", "Tariff → 2", "Confirmed", "Unconfirmed", "Refused", "Expired", "by Wang Fang",
        "(by policy)", "closed → <strong>open</strong>", "was 1 · ", "AAAA", "Marked as sent", "Read back",
        "whether the meter obeyed is not known", "it was closed already: nothing was written",
        "never sent: nobody took it in time",
    ):  # fmt: skip
        assert shown in page, shown


def test_what_cannot_be_done_says_why(client: TestClient) -> None:
    page = page_of(client, METER)
    assert "Relay: switched off by the settings: commands.relay = false" in page
    assert 'kind=relay&amp;wanted=open"' not in page
    assert 'kind=clock&amp;wanted=now"' in page
    other = page_of(client, "/meters/Eastron/901001")
    assert "Relay: the register map of eastron-sdm630 knows no relay" in other
    assert "The register map of this model knows no clock." in other


def test_a_page_with_something_under_way_is_looked_at_more_often(client: TestClient) -> None:
    assert 'data-refresh-s="20"' in page_of(client, METER)
    waiting = page_of(client, f"/meters/{WAITING}")
    assert 'data-refresh-s="2"' in waiting
    assert "Sent, reading back" in waiting


def test_meters_are_linked_where_they_are_named(client: TestClient, seeded: Seeded) -> None:
    link = f'href="{METER}"'
    assert link in page_of(client, "/areas/A1")
    assert 'href="/meters/' in page_of(client, f"/findings/{seeded.findings['under_registering']}")
    assert 'href="/meters/' in page_of(client, "/findings?state=any")
    assert page_of(client, "/meters/Chint/000000", 404)


def test_a_question_comes_before_a_command(allowing: TestClient) -> None:
    page = page_of(allowing, f"{METER}/command?kind=relay&wanted=open")
    assert "Disconnect this supply?" in page
    assert "Last 4 characters of the serial" in page
    refused = page_of(allowing, "/meters/Eastron/901001/command?kind=relay&wanted=open", 409)
    assert "knows no relay" in refused
    assert "<form" not in refused
    assert "is none of the states" in page_of(allowing, f"{METER}/command?kind=tariff&wanted=7", 409)
    page_of(allowing, f"{METER}/command?kind=fuse&wanted=open", 422)


def test_switched_off_is_403_with_the_reason(client: TestClient) -> None:
    assert "commands.relay = false" in page_of(client, f"{METER}/command?kind=relay&wanted=open", 403)
    answer = client.post(f"{API}/commands", json=asked())
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:headend:problem:command-not-allowed"
    assert answer.json()["detail"] == "switched off by the settings: commands.relay = false"


def test_a_form_is_a_command_once(allowing: TestClient) -> None:
    form = {
        "command_id": str(uuid4()), "kind": "relay", "wanted": "open", "by": "Test", "reason": "a test", "note": "",
        "ttl_s": "300", "last_digits": "1003",
    }  # fmt: skip
    for _ in range(2):
        answer = allowing.post(f"{METER}/command", data=form, headers=HTML, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{METER}#commands")
    found = allowing.get(f"{API}/commands/{form['command_id']}").json()
    assert (found["state"], found["requested_by"], found["wanted"]) == ("queued", "Test", "open")
    assert [s["step"] for s in found["steps"]] == ["requested"]
    assert "waits for the process that owns the meter’s bus" in page_of(allowing, METER)


def test_a_form_sent_again_with_another_content_says_so_and_may_become_another_command(allowing: TestClient) -> None:
    """Back in the browser, the reason changed: it is no repetition, and the operator decides."""
    form = {
        "command_id": str(uuid4()), "kind": "relay", "wanted": "open", "by": "Test", "reason": "a test", "note": "",
        "ttl_s": "300", "last_digits": "1003",
    }  # fmt: skip
    allowing.post(f"{METER}/command", data=form, headers=HTML, follow_redirects=False)
    changed = form | {"reason": "another"}
    answer = allowing.post(f"{METER}/command", data=changed, headers=HTML, follow_redirects=False)
    assert answer.status_code == 409
    assert "was sent before with another content" in answer.text
    assert "Sent again, this form asks for another command." in answer.text
    (offered,) = re.findall(r'name="command_id" value="([^"]+)"', answer.text)
    answer = allowing.post(
        f"{METER}/command", data=changed | {"command_id": offered}, headers=HTML, follow_redirects=False
    )
    assert answer.status_code == 303
    newest = allowing.get(f"{API}/commands").json()["items"][:2]
    assert sorted(c["reason"] for c in newest) == ["a test", "another"]


def test_what_cannot_be_known_of_the_door_is_not_promised(allowing: TestClient, seeded_store: Store) -> None:
    question = f"{METER}/command?kind=relay&wanted=open"
    assert "makes sure that this very meter answers" in page_of(allowing, question)
    tells = b"update meter_model set tells_serial = %s where model = 'chint-ddsu666'"
    with seeded_store.transaction() as connection:
        connection.execute(tells, [False])
    try:
        page = page_of(allowing, question)
    finally:
        with seeded_store.transaction() as connection:
            connection.execute(tells, [True])
    assert "makes sure that this very meter answers" not in page
    assert "whatever meter answers at this address is commanded" in page


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"last_digits": "1006"}, "these are not the last 4 characters"),
        ({"reason": " "}, "why is it done?"),
        ({"by": ""}, "who answers for it?"),
        ({"command_id": "x"}, "The form has lost its id"),
        ({"ttl_s": "99999"}, "less than or equal to 3600"),
    ],
)
def test_a_form_says_what_is_wrong(allowing: TestClient, wrong: dict[str, str], says: str) -> None:
    form = {
        "command_id": str(uuid4()), "kind": "relay", "wanted": "open", "by": "Test", "reason": "to see", "note": "",
        "ttl_s": "300", "last_digits": "1003",
    } | wrong  # fmt: skip
    answer = allowing.post(f"{METER}/command", data=form, headers=HTML, follow_redirects=False)
    assert answer.status_code == 422
    assert says in answer.text
    assert "to see" in answer.text or "reason" in wrong  # what was entered is still there
    assert allowing.get(f"{API}/commands").json()["items"][0]["requested_by"] != "Test"


def test_the_api_is_idempotent_and_notices_another_content(allowing: TestClient) -> None:
    wanted = asked(kind="clock", wanted="now")
    first = allowing.post(f"{API}/commands", json=wanted)
    again = allowing.post(f"{API}/commands", json=wanted)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json() == again.json()
    assert first.json()["expires_at"] == "2026-11-23T06:41:00Z"
    other = allowing.post(f"{API}/commands", json=wanted | {"reason": "another"})
    assert (other.status_code, other.json()["type"]) == (409, "urn:headend:problem:command-id-taken")


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"wanted": "ajar"}, "#/wanted"),
        ({"ttl_s": 3601}, "#/ttl_s"),
        ({"reason": ""}, "#/reason"),
        ({"reason": "   "}, "#/reason"),
        ({"requested_by": None}, "#/requested_by"),
        ({"across_intervals": True}, "#/across_intervals"),
        ({"kind": "fuse"}, "#/kind"),
        ({"fuse": 1}, "#/fuse"),
    ],
)
def test_the_api_names_what_is_wrong(allowing: TestClient, wrong: dict[str, Any], pointer: str) -> None:
    answer = allowing.post(f"{API}/commands", json=asked() | wrong)
    assert answer.status_code == 422
    assert [e["pointer"] for e in answer.json()["errors"]] == [pointer]


def test_the_api_says_what_cannot_be_done(allowing: TestClient) -> None:
    answer = allowing.post("/api/v1/meters/Eastron/901001/commands", json=asked())
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:headend:problem:command-model-cannot")
    assert allowing.post("/api/v1/meters/Eastron/0/commands", json=asked()).status_code == 404


def test_the_api_lists_commands_and_the_clock(client: TestClient) -> None:
    found: list[Any] = []
    cursor = None
    for _ in range(9):
        answer = client.get(f"{API}/commands", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += answer["items"]
        if (cursor := answer["next"]) is None:
            break
    assert [c["command_id"] for c in found] == [str(command_id(n)) for n in (6, 5, 4, 3, 2, 1)]
    one = client.get(f"{API}/commands/{command_id(2)}").json()
    assert (one["before_state"], one["after_state"], one["state"]) == ("closed", "open", "confirmed")
    assert [s["words"] for s in one["steps"] if s["step"] == "sent"] == [[0xAAAA]]
    assert client.get(f"/api/v1/meters/{WAITING}/commands/{command_id(2)}").status_code == 404
    clock = client.get(f"{API}/clock").json()
    assert clock["latest"] == clock["readings"][0]
    assert clock["drift"]["ppm"] == pytest.approx(520 / 86.4, abs=0.1)
    assert (clock["threshold_s"], clock["setting"]) == (5.0, "never")
    never = client.get("/api/v1/meters/Eastron/901001/clock").json()
    assert (never["latest"], never["drift"], never["readings"]) == (None, None, [])


def test_live_reads_are_asked_for_and_waited_for(allowing: TestClient) -> None:
    answer = allowing.post(f"{API}/reads", json={"what": "clock"})
    assert (answer.status_code, answer.json()["state"], answer.json()["what"]) == (202, "queued", "clock")
    request_id = answer.json()["request_id"]
    assert allowing.get(f"{API}/reads/{request_id}").json()["request_id"] == request_id
    assert allowing.get(f"/api/v1/meters/{WAITING}/reads/{request_id}").status_code == 404
    form = allowing.post(f"{METER}/reads", data={"what": "registers"}, headers=HTML, follow_redirects=False)
    assert form.status_code == 303
    page = page_of(allowing, form.headers["location"].partition("#")[0])
    assert "the head-end is asking the meter" in page
    assert 'data-refresh-s="2"' in page


def test_a_foreign_page_cannot_command(allowing: TestClient) -> None:
    answer = allowing.post(f"{API}/commands", json=asked(), headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 403
    assert allowing.get(f"{API}/commands").json()["items"][0]["requested_by"] != "Test"
