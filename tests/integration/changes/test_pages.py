"""The pages: a timeline of what was true, forms that are looked at before they are done, faults beside their field."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from headend.web.app import create_app
from support.yard import Yard

HTML = {"Accept": "text/html"}


@pytest.fixture
def client(yard: Yard) -> TestClient:
    app = create_app(yard.store, yard.settings, lambda: yard.now)
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


def get(client: TestClient, path: str, status: int = 200) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status, answer.text[:3000]
    return answer.text


def inputs(page: str) -> dict[str, str]:
    """What a browser would send of the (only) form."""
    form = page[page.index('<form method="post"') :]
    found = {}
    for tag in re.findall(r"<input [^>]*>", form):
        fields = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        found[fields["name"]] = fields.get("value", "")
    for name, body in re.findall(r'<select id="[^"]*" name="([^"]*)".*?>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', body)
        found[name] = chosen[1] if chosen else ""
    return found


def send(client: TestClient, fields: dict[str, str], step: str, status: int) -> Any:
    answer = client.post("/changes/new", data=fields | {"step": step}, headers=HTML)
    assert answer.status_code == status, answer.text[:3000]
    return answer


def test_a_swap_is_asked_for_looked_at_and_done(client: TestClient, yard: Yard) -> None:
    yard.meter("NEW")
    page = get(client, "/usage-points/U1/history")
    for shown in (
        "Swap the meter",
        "换表",
        "Move it",
        "Acme/M-U1",
        "2026-03-02 00:00",
        "since ever",
        "Nothing was changed",
    ):
        assert shown in page, shown
    assert "Remove the shared meter" not in page
    form = inputs(get(client, "/changes/new?kind=swap_meter&usage_point=U1"))
    assert set(form) >= {"change_id", "at", "serial", "manufacturer", "end_import_wh", "by", "reason"}
    entered = form | {
        "at": "2026-03-08T12:00", "manufacturer": "Acme", "serial": "NEW", "end_import_wh": "156", "by": "王芳",
        "reason": "display dead",
    }  # fmt: skip
    before = yard.everything()
    looked = send(client, entered, "look", 200).text
    assert yard.everything() == before
    for shown in (
        "What it would do", "<strong>5</strong> area-days are settled again", "A1 2026-03-08 – 2026-03-12",
        "Billing was told of <strong>4</strong>", "was read until 2026-03-12 00:00",
        "<s>still</s> → <b>2026-03-08 12:00</b>", "156.000 kWh",
    ):  # fmt: skip
        assert shown in looked, shown
    back = inputs(send(client, inputs(looked), "edit", 200).text)
    assert {name: back[name] for name in entered} == entered
    done = send(client, inputs(looked), "make", 303)
    assert done.headers["location"] == "/usage-points/U1/history#changes"
    page = get(client, "/usage-points/U1/history")
    for shown in ("Acme/NEW", "by 王芳: display dead", "5 area-days settled again", "Take it back"):
        assert shown in page, shown
    again = send(client, inputs(looked), "make", 303)  # sent twice: nothing more
    assert again.headers["location"] == done.headers["location"]
    assert len(yard.rows("select from topology_change")) == 1


def test_a_correction_sends_only_what_was_changed(client: TestClient, yard: Yard) -> None:
    page = get(client, "/usage-points/U1/history")
    link = re.search(r'href="(/changes/new\?kind=correct_installation[^"]*)"', page)
    assert link is not None
    form = inputs(get(client, link[1].replace("&amp;", "&")))
    assert (form["valid_from"], form["multiplier"], form["serial"]) == ("2026-03-02T00:00:00", "1", "M-U1")
    entered = form | {"multiplier": "2,5", "valid_from": "2026-03-02T00:00", "by": "Li", "reason": "name plate"}
    send(client, entered, "make", 303)
    (row,) = yard.rows("select asked -> 'given' as given, usage_points from topology_change")
    assert row["given"] == {"multiplier": "2.5"}


def test_faults_stand_beside_their_field(client: TestClient, yard: Yard) -> None:
    form = inputs(get(client, "/changes/new?kind=swap_meter&usage_point=U1"))
    page = send(client, form, "look", 422).text
    for name in ("at", "manufacturer", "serial", "by", "reason"):
        assert f'id="{name}-fault"' in page, name
    entered = form | {"at": "2026-03-08T12:00", "by": "Li", "reason": "x", "manufacturer": "Acme"}
    page = send(client, entered | {"serial": "NOWHERE"}, "look", 422).text
    assert "there is no meter Acme/NOWHERE" in page
    assert 'aria-describedby="serial-fault"' in page
    page = send(client, entered | {"serial": "M-U3"}, "look", 409).text
    assert "stands in the way" in page
    page = send(client, entered | {"serial": "M-U3", "end_import_wh": "a lot"}, "look", 422).text
    assert "is not a register in kWh" in page
    form = inputs(get(client, "/changes/new?kind=change_multiplier&usage_point=U1"))
    page = send(client, form | entered | {"kind": "change_multiplier", "multiplier": "0"}, "look", 422).text
    assert 'id="multiplier-fault"' in page
    assert yard.rows("select from topology_change") == []


def test_an_undo_is_looked_at_first(client: TestClient, yard: Yard) -> None:
    form = inputs(get(client, "/changes/new?kind=change_category&usage_point=U1"))
    entered = {"at": "2026-03-08T00:00", "category": "commercial", "by": "Li", "reason": "a shop"}
    send(client, form | entered, "make", 303)
    page = get(client, "/usage-points/U1/history")
    link = re.search(r'href="(/changes/new\?kind=undo[^"]*)"', page)
    assert link is not None
    page = get(client, link[1].replace("&amp;", "&"))
    assert "a shop" in page
    looked = send(client, inputs(page) | {"by": "Li", "reason": "no shop"}, "look", 200).text
    assert "never was so" in looked
    send(client, inputs(looked), "make", 303)
    page = get(client, "/usage-points/U1/history")
    assert "taken back" in page
    assert page.count("Take it back") == 1


def test_a_meter_is_corrected_and_changes_are_listed_by_area_and_meter(client: TestClient, yard: Yard) -> None:
    listed = get(client, "/changes?manufacturer=Acme&serial=M-U1")
    link = re.search(r'href="(/changes/new\?kind=correct_meter[^"]*)"', listed)
    assert link is not None
    form = inputs(get(client, link[1].replace("&amp;", "&")))
    assert (form["digits"], form["resolution_wh"], form["phases"]) == ("8", "1", "1")
    send(client, form | {"digits": "9", "by": "Li", "reason": "nine digits"}, "make", 303)
    for path in ("/changes", "/changes?area=A1", "/changes?manufacturer=Acme&serial=M-U1", "/usage-points/U1/history"):
        assert "nine digits" in get(client, path), path
    assert "nine digits" not in get(client, "/changes?area=A2")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/usage-points/U9/history", 404), ("/changes/new?kind=move&usage_point=U9", 404),
        ("/changes/new?kind=correct_installation&usage_point=U1&since=2020-01-01T00:00:00Z", 404),
        ("/changes/new?kind=correct_installation&usage_point=U1&since=yesterday", 422),
        ("/changes/new?kind=undo&undoes=x", 404), ("/changes/new?kind=dance", 422),
        ("/changes/new?kind=correct_meter&manufacturer=Acme&serial=X", 404), ("/changes?area=A9", 404),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(client: TestClient, path: str, status: int) -> None:
    get(client, path, status)
