"""The quarantine as pages: every message with its reason, whole, and never interpreted."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from seed_base import NOW
from web_door import Door

from headend.settings import Database, Settings
from headend.store import quarantine
from headend.store.pool import Store
from headend.store.quarantine import Kept, Share
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


def _many(filled: TestClient, store: Store) -> None:
    """Five more, of meters that nobody knows; the origin of the fifth floods."""
    body = b'{"ts": "%s", "import_wh": %d}'
    with store.transaction() as connection:
        for k in range(4):
            quarantine.add(
                connection,
                [
                    Kept(
                        NOW - timedelta(minutes=k),
                        "mqtt",
                        f"headend/v1/meter/Acme/N{k}/reading",
                        "unknown_meter",
                        f"not imported: Acme/N{k}",
                        body % ((NOW - timedelta(minutes=k)).isoformat().encode(), k),
                        (f"Acme/N{k}",),
                    )
                ],
            )
        flood = [_kept("bad_shape", str(k).encode(), "flood") for k in range(9)]
        quarantine.add(connection, flood, Share(messages=4, size=1000, payload=1000))


def _import(store: Store, serial: str) -> None:
    with store.transaction() as connection:
        connection.execute(
            "insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
            "values ('Acme', %s, 'any', 1, 8, 10)",
            [serial],
        )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("origin=headend/v1/meter/*/N1/*", ["N1"]),
        ("device=Acme/N2", ["N2"]),
        ("detail=IMPORTED%3A+acme%2Fn3", ["N3"]),
        ('content="import_wh"%3A 0', ["N0"]),
        (f"reason=unknown_meter&from={NOW:%Y-%m-%d}&source=mqtt", ["N3", "N2", "N1", "N0"]),
        ("to=2001-01-01", []),
        ("source=modbus", []),
    ],
)
def test_the_form_finds_by_everything_that_is_known(
    filled: TestClient, store: Store, query: str, found: list[str]
) -> None:
    _many(filled, store)
    page = _text(filled, f"/quarantine?{query}")
    assert [k for k in ("N3", "N2", "N1", "N0") if f"/{k}/reading</code>" in page] == found
    if not found:
        assert "No message fits" in page
    api = filled.get(f"/api/v1/quarantine?{query.replace('from=', 'since=').replace('to=', 'until=')}")
    if "from" not in query and "to=" not in query:
        assert [item["origin"].split("/")[-2] for item in api.json()["items"]] == found


def test_what_was_not_kept_is_seen(filled: TestClient, store: Store) -> None:
    _many(filled, store)
    page = _text(filled, "/quarantine")
    assert "Not kept" in page
    assert "its origin had filled its share" in page
    assert '<td data-label="Messages" class="n">5</td>' in page
    summary = filled.get("/api/v1/quarantine/summary").json()
    assert {row["reason"]: row["messages"] for row in summary["open"]}["bad_shape"] == 4
    assert [(row["origin"], row["why"], row["messages"]) for row in summary["given_up"]] == [("flood", "origin", 5)]


def test_a_message_is_replayed_from_its_page(filled: TestClient, store: Store) -> None:
    _many(filled, store)
    (row,) = store.rows(b"select quarantine_id from quarantine where origin like '%/N1/%'")
    where = f"/quarantine/{row['quarantine_id']}"
    assert f'<form method="post" action="{where}/replay">' in _text(filled, where)
    stays = filled.post(f"{where}/replay", headers=HTML)
    assert "Replayed 1: 0 understood, 0 readings stored; 1 not understood still." in stays.text
    _import(store, "N1")
    done = filled.post(f"{where}/replay", headers=HTML)
    assert done.url.path == where
    assert "Replayed 1: 1 understood, 1 readings stored." in done.text
    assert f'action="{where}/replay"' not in done.text
    assert store.rows(b"select count(*) as n from register_reading") == [{"n": 1}]


def test_what_a_search_found_is_replayed_together(filled: TestClient, store: Store) -> None:
    _many(filled, store)
    _import(store, "N1")
    _import(store, "N2")
    page = _text(filled, "/quarantine?reason=unknown_meter&origin=headend/v1/meter/Acme")
    assert "Replay 4 open" in page
    assert 'action="/quarantine/replay"' not in _text(filled, "/quarantine"), "everything at once is not a click"
    form = {"reason": "unknown_meter", "origin": "headend/v1/meter/Acme"}
    done = filled.post("/quarantine/replay", data=form, headers=HTML)
    assert "Replayed 4: 2 understood, 2 readings stored; 2 not understood still." in done.text
    assert dict(done.url.params)["reason"] == "unknown_meter"
    assert store.rows(b"select count(*) as n from register_reading") == [{"n": 2}]


def test_a_page_of_another_site_replays_nothing(filled: TestClient, store: Store) -> None:
    for path in ("/quarantine/replay", "/quarantine/1/replay", "/api/v1/quarantine/replay"):
        refused = filled.post(path, headers={"Sec-Fetch-Site": "cross-site"})
        assert refused.status_code == 403, path


def test_the_api_shows_and_replays(filled: TestClient, store: Store) -> None:
    _many(filled, store)
    _import(store, "N0")
    page = filled.get("/api/v1/quarantine", params={"reason": "unknown_meter", "limit": 3}).json()
    rest = filled.get(
        "/api/v1/quarantine", params={"reason": "unknown_meter", "limit": 3, "cursor": page["next"]}
    ).json()
    ids = [item["id"] for item in (*page["items"], *rest["items"])]
    assert (len(ids), sorted(ids, reverse=True), rest["next"]) == (5, ids, None)
    one = filled.get(f"/api/v1/quarantine/{ids[-2]}").json()
    assert base64.b64decode(one["payload"]) == filled.get(f"/api/v1/quarantine/{ids[-2]}/payload").content
    assert (one["devices"], one["closed_at"], one["came_from"]) == (["Acme/N0"], None, [])
    wanted = {"reason": "unknown_meter", "origin": "headend/v1/meter/Acme/"}
    dry = filled.post("/api/v1/quarantine/replay", json=wanted | {"dry_run": True}).json()
    assert store.rows(b"select count(*) as n from register_reading") == [{"n": 0}]
    done = filled.post("/api/v1/quarantine/replay", json=wanted).json()
    assert dry == done
    assert (done["stored"], done["outcomes"]) == (1, {"understood": 1, "stays": 3})
    again = filled.post(f"/api/v1/quarantine/{ids[-2]}/replay").json()
    assert (again["stored"], again["known_already"]) == (0, 1)
    assert filled.post("/api/v1/quarantine/424242/replay").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/quarantine?from=x", "/quarantine?from=2026-02-02&to=2026-02-01", "/quarantine?to=9999-12-31",
     "/quarantine?source=pigeon", "/api/v1/quarantine?since=20261101"],
)  # fmt: skip
def test_a_search_that_makes_no_sense_is_422(filled: TestClient, path: str) -> None:
    assert filled.get(path, headers=HTML).status_code == 422
