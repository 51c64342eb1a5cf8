"""The page of a finding whose meter was exchanged meanwhile: a crew is not sent to a meter that is not there."""

from __future__ import annotations

import re

from fastapi.testclient import TestClient

from support.nights import Nights


def test_a_meter_that_was_taken_away_says_until_when_it_was_there(client: TestClient, nights: Nights) -> None:
    nights.seen(0)
    finding = nights.case()["finding_id"]
    assert "there until" not in client.get(f"/findings/{finding}").text
    nights.field.run(
        "update installation set valid_to = %s, end_import_wh = 10 where meter_id = %s",
        [nights.at(0, hours=8), nights.meters["m1"]],
    )
    page = client.get(f"/findings/{finding}").text
    assert re.search(r"there until <time [^>]*>2026-03-03 08:00<", page)
    assert "已拆" in page
