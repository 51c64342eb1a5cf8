"""The forms of a case as a browser sends them: what was sent before, what is no id, and times as they were entered."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from support.nights import Nights


@pytest.fixture
def finding(nights: Nights) -> int:
    nights.seen(0)
    return int(nights.case()["finding_id"])


def _send(client: TestClient, finding: int, move: str, event_id: str, **fields: str) -> Response:
    entered = {"event_id": event_id, "by": "Li Wei"} | fields
    return client.post(f"/findings/{finding}/{move}", data=entered, follow_redirects=False)


def _next_id(page: Response) -> str:
    (found,) = set(re.findall(r'name="event_id" value="([^"]*)"', page.text))
    return str(found)


def test_a_form_sent_again_after_the_back_button_can_be_meant(client: TestClient, nights: Nights, finding: int) -> None:
    """The browser shows the page from before, with the id that was used meanwhile."""
    first = str(uuid4())
    assert _send(client, finding, "assign", first, assigned_to="crew 3").status_code == 303
    assert _send(client, finding, "assign", first, assigned_to="crew 3").status_code == 303, "a double click"
    stale = _send(client, finding, "assign", first, assigned_to="crew 4")
    assert "send it once more" in stale.text
    assert "请再次提交" in stale.text
    assert first not in stale.text
    assert _send(client, finding, "assign", _next_id(stale), assigned_to="crew 4").status_code == 303
    assert nights.case()["assigned_to"] == "crew 4"
    assert nights.life(finding) == ["opened", "assign", "assign"]


def test_what_is_wrong_keeps_its_id_and_what_is_no_id_gets_one(client: TestClient, finding: int) -> None:
    """Sent twice at once after a mistake was put right, it is still one event."""
    own = str(uuid4())
    assert _next_id(_send(client, finding, "assign", own)) == own
    for none in ("", "seventeen"):
        assert UUID(_next_id(_send(client, finding, "assign", none, assigned_to="crew 3")))


def test_a_visit_in_the_future_is_told_by_the_clock_on_the_wall(client: TestClient, finding: int) -> None:
    page = _send(client, finding, "inspect", str(uuid4()), cause="bypass", visited_at="2027-03-03T10:00")
    assert "2027-03-03 10:00 has not come yet" in page.text
