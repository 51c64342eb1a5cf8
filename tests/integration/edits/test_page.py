"""The usage point's page: what was said of a day, trying out, setting, refusing, undoing; and the audit."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from headend.web.app import create_app
from support.editor import Editor

PAGE = "/usage-points/H%201"


@pytest.fixture
def client(editor: Editor) -> TestClient:
    """The household, at a usage point whose code has to be quoted; asked as a browser does."""
    editor.household("H 1", days=2, without=range(41, 51))
    app = create_app(editor.field.store, editor.field.settings, lambda: editor.now)
    return TestClient(app, headers={"accept": "text/html"})


def _form(client: TestClient, **typed: str) -> dict[str, str]:
    html = client.get(PAGE, params={"day": "2026-03-02"}).text
    (edit_id,) = set(re.findall(r'name="edit_id" value="([^"]+)"', html))
    said = {"edit_id": edit_id, "day": "2026-03-02", "direction": "import", "by": "Li Wei", "reason": "pump was off"}
    return said | {"from": "2026-03-02T10:15", "to": "2026-03-02T10:45"} | typed


def test_the_day_says_what_was_found_by_which_threshold(client: TestClient) -> None:
    html = client.get(PAGE, params={"day": "2026-03-02"}).text
    assert "Reading missing" in html
    assert "缺数" in html
    assert re.search(r"10:00–12:45", html)
    assert "version" in html
    assert '"estimated"' in html
    assert html.count("set aside …") == 87
    assert 'href="/usage-points/H%201/history"' in html
    assert client.get(PAGE, params={"day": "2026-03-20"}).status_code == 200
    assert "has not been settled" in client.get(PAGE, params={"day": "2026-03-20"}).text
    assert client.get("/usage-points/X").status_code == 404
    assert client.get(PAGE, params={"day": "0001-01-01"}).status_code == 422


def test_tried_out_then_made_then_undone(client: TestClient, editor: Editor) -> None:
    form = _form(client, energies="0.010 0.02")
    tried = client.post(f"{PAGE}/edits", data=form | {"action": "preview"})
    assert tried.status_code == 200, tried.text
    assert "0.200 → <strong>0.030</strong> kWh" in tried.text
    assert "1.100 → <strong>1.100</strong> kWh" in tried.text
    assert "Make this edit" in tried.text
    assert editor.field.one("select count(*) from edit") == 0

    made = client.post(f"{PAGE}/edits", data=form | {"action": "make"}, follow_redirects=False)
    assert (made.status_code, made.headers["location"]) == (303, "/usage-points/H%201?day=2026-03-02#edits")
    html = client.get(PAGE, params={"day": "2026-03-02"}).text
    assert "waiting to be settled again" in html
    assert 'value="Li Wei"' in html, "the name is remembered"
    editor.settle()
    html = client.get(PAGE, params={"day": "2026-03-02"}).text
    assert "0.200 → <strong>0.030</strong> kWh" in html
    assert "waiting to be settled again" not in html
    assert '"before_kwh":[' in html
    audit = client.get("/edits").text
    assert "Li Wei: pump was off" in audit
    assert re.search(r'<span class="badge state-normal"[^>]*>holds</span>', audit)

    said = {"by": "Wang Fang", "reason": "it was on", "day": "2026-03-02"}
    nobody = client.post(f"{PAGE}/edits/{form['edit_id']}/undo", data=said | {"by": " "})
    assert (nobody.status_code, "who takes it back" in nobody.text) == (422, True)
    assert client.post(f"{PAGE}/edits/{form['edit_id']}/undo", data=said, follow_redirects=False).status_code == 303
    editor.settle()
    assert editor.energies("H 1", 0) == [100] * 96
    assert "Wang Fang: it was on" in client.get("/edits").text
    assert "Nobody has edited anything that fits" in client.get("/edits", params={"standing": "true"}).text


def test_a_refusal_is_shown_with_its_numbers_beside_what_was_entered(client: TestClient, editor: Editor) -> None:
    form = _form(client, total="0.09", **{"from": "2026-03-02T05:00", "to": "2026-03-02T05:15"})
    tried = client.post(f"{PAGE}/edits", data=form | {"action": "preview"})
    assert "the registers say 0.100 kWh, the edit gives 0.090 kWh" in tried.text
    assert "Make this edit" not in tried.text
    made = client.post(f"{PAGE}/edits", data=form | {"action": "make"})
    assert made.status_code == 409
    assert "can take the 0.010 kWh left" in made.text
    assert 'value="2026-03-02T05:00"' in made.text
    assert 'value="pump was off"' in made.text
    assert editor.field.one("select count(*) from edit") == 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"energies": "0.1"}, "1 values for 2 intervals"),
        ({"energies": "0.1 x"}, "is no number of kWh"),
        ({"total": "0.00001"}, "at most three decimals"),
        ({"total": "-1"}, "greater than or equal to 0"),
        ({}, "give either the energies or a total_wh"),
        ({"total": "1", "from": ""}, "from when until when?"),
        ({"total": "1", "from": "2026-03-02T10:07"}, "does not lie on the grid"),
        ({"total": "1", "by": ""}, "who answers for it?"),
    ],
)
def test_a_fault_stands_beside_its_field(client: TestClient, typed: dict[str, str], said: str) -> None:
    answer = client.post(f"{PAGE}/edits", data=_form(client, **typed) | {"action": "make"})
    assert answer.status_code == 422
    assert said in answer.text


def test_readings_are_set_aside_from_the_table(client: TestClient, editor: Editor) -> None:
    html = client.get(PAGE, params={"day": "2026-03-02"}).text
    link = re.findall(r'href="(\?day=2026-03-02&amp;aside=[^"]+)#aside"', html)[20].replace("&amp;", "&")
    filled = client.get(PAGE + link).text
    (at,) = set(re.findall(r'id="aside-(?:from|to)" name="[a-z]+" value="([^"]+)"', filled))
    form = _form(client, meter="Acme/h") | {"from": at, "to": at}
    done = client.post(f"{PAGE}/set-aside", data=form, follow_redirects=False)
    assert done.status_code == 303, done.text
    editor.settle()
    html = client.get(PAGE, params={"day": "2026-03-02"}).text
    assert "set aside by Li Wei" in html
    assert "Reading set aside" in html
    refused = client.post(
        f"{PAGE}/set-aside",
        data=_form(client, meter="Acme/h", **{"from": "2026-03-02T11:00", "to": "2026-03-02T11:00"}),
    )
    assert refused.status_code == 409
    assert "there is no reading of Acme/h" in refused.text
