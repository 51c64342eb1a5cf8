"""A meter that still serves has no end register: one would be a reading at the end of time."""

from __future__ import annotations

import pytest

from headend.domain.changes import CorrectInstallation, SwapMeter
from support.field import T0
from support.yard import NOON_8, Yard


@pytest.mark.parametrize("given", [{"end_import_wh": 240_000}, {"valid_to": None, "end_export_wh": 0}])
def test_none_is_noted_while_it_serves(yard: Yard, given: dict[str, object]) -> None:
    refused = yard.refused(CorrectInstallation(usage_point="U1", since=T0, given=given))
    assert refused.reason == "the meter still serves: it has no end register"
    assert refused.field in given


def test_it_goes_with_an_end_that_never_was(yard: Yard) -> None:
    new = yard.meter("NEW")
    yard.change(SwapMeter(usage_point="U1", at=NOON_8, manufacturer="Acme", serial="NEW", end_import_wh=156_000))
    yard.run("delete from installation where meter_id = %s", [new])
    yard.change(CorrectInstallation(usage_point="U1", since=T0, given={"valid_to": None}))
    (row,) = yard.rows(
        "select valid_to, end_import_wh from installation join usage_point u using (usage_point_id) where u.code = 'U1'"
    )
    assert row == {"valid_to": None, "end_import_wh": None}
    yard.settle()
    assert set(yard.days_wh("U1").values()) == {24_000}
