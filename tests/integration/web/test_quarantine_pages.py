"""The quarantine as pages: every message with its reason, whole, and never interpreted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from seed_base import NOW
from web_door import Door

from headend.settings import Database, Settings
from headend.store import quarantine
from headend.store.pool import Store
from headend.store.quarantine import Kept
from headend.web.app import create_app

HTML = {"Accept": "text/html"}
NASTY = b'{"ts": <script>alert(1)</script> \xe7\x94\xb5'


def _kept(reason: str, payload: bytes, origin: str = "headend/v1/meter/Chint/9/reading") -> Kept:
    return Kept(NOW - timedelta(hours=2), "mqtt", origin, reason, f"{origin}: <b>position 7</b>", payload)


@pytest.fixture
def filled(store: Store, dsn: str) -> TestClient:
    """Three messages, one of them sent twice, one replayed."""
    with store.transaction() as connection:
        quarantine.add(connection, [_kept("not_json", NASTY), _kept("unknown_meter", b"\x00\xff\x01")])
        quarantine.add(connection, [_kept("not_json", NASTY), _kept("bad_shape", b"{}")])
        (done,) = connection.execute("select quarantine_id from quarantine where reason = 'bad_shape'").fetchone() or (
            0,
        )
        quarantine.replayed(connection, done, NOW)
    return TestClient(create_app(store, Settings(database=Database(dsn=dsn)), lambda: NOW, rollout_door=Door()))


def _text(client: TestClient, path: str) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text[:1000]
    return answer.text


def _number(store: Store, reason: str) -> int:
    (row,) = store.rows(f"select quarantine_id from quarantine where reason = '{reason}'".encode())
    return int(row["quarantine_id"])


def test_the_areas_page_leads_to_what_was_not_understood(filled: TestClient) -> None:
    assert '<a href="/quarantine">2 in quarantine</a>' in _text(filled, "/")
    page = _text(filled, "/quarantine")
    assert "Not json" not in page
    assert "Not JSON" in page
    assert "Unknown meter" in page
    assert "Bad shape" not in page
    assert "headend/v1/meter/Chint/9/reading" in page
    assert "<b>position" not in page
    assert '<td data-label="Times" class="n">2</td>' in page
    assert "replayed</span>" in _text(filled, "/quarantine?everything=true")
    assert "Unknown meter</a>" not in _text(filled, "/quarantine?reason=not_json").split("<tbody>")[1]


def test_a_message_is_shown_whole_and_never_run(filled: TestClient, store: Store) -> None:
    number = _number(store, "not_json")
    page = _text(filled, f"/quarantine/{number}")
    assert "{&#34;ts&#34;: &lt;script&gt;alert(1)&lt;/script&gt; 电" in page
    raw = filled.get(f"/quarantine/{number}/payload")
    assert raw.content == NASTY
    assert raw.headers["content-type"] == "application/octet-stream"
    assert raw.headers["content-disposition"].startswith("attachment")
    assert "000000  00 ff 01" in _text(filled, f"/quarantine/{_number(store, 'unknown_meter')}")


def test_more_than_a_page_is_paged_without_loss(filled: TestClient, store: Store) -> None:
    with store.transaction() as connection:
        quarantine.add(connection, [_kept("bad_name", str(k).encode(), f"x/{k:04d}") for k in range(150)])
    first = _text(filled, "/quarantine?reason=bad_name")
    following = first.split('<p class="pager"><a class="button" href="')[1].split('"')[0].replace("&amp;", "&")
    second = _text(filled, following)
    seen = [k for k in range(150) if (f"x/{k:04d}</code>" in first) + (f"x/{k:04d}</code>" in second) == 1]
    assert len(seen) == 150


@pytest.mark.parametrize("path", ["/quarantine/424242", "/quarantine/424242/payload"])
def test_what_is_not_there_is_404(filled: TestClient, path: str) -> None:
    assert filled.get(path, headers=HTML).status_code == 404


@pytest.mark.parametrize("path", ["/quarantine/0", "/quarantine/x", "/quarantine?cursor=zz"])
def test_what_makes_no_sense_is_422(filled: TestClient, path: str) -> None:
    assert filled.get(path, headers=HTML).status_code == 422


def test_an_empty_quarantine_says_so(store: Store, dsn: str) -> None:
    client = TestClient(create_app(store, Settings(database=Database(dsn=dsn)), lambda: NOW, rollout_door=Door()))
    assert "Everything that came was understood" in _text(client, "/quarantine")
    assert "in quarantine" not in _text(client, "/")
