"""Forms of changes: of a correction only what was changed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from headend.domain.changes import ChangeKind
from headend.web.change_forms import FORMS, prefilled, read

BERLIN = ZoneInfo("Europe/Berlin")


def test_of_a_correction_only_what_was_changed_is_read() -> None:
    form = FORMS[ChangeKind.CORRECT_INSTALLATION]
    stored = {
        "valid_from": datetime(2026, 10, 25, 1, 30, 0, 500_000, tzinfo=UTC), "valid_to": None, "manufacturer": "Acme",
        "serial": "1", "multiplier": Decimal("40.0000"), "sign": 1, "start_import_wh": 1_234_500,
        "start_export_wh": None, "end_import_wh": None, "end_export_wh": None, "seal": "S-1",
    }  # fmt: skip
    shown = prefilled(form, stored, BERLIN)
    assert (shown["valid_from"], shown["multiplier"], shown["start_import_wh"]) == (
        "2026-10-25T02:30:00+01:00", "40", "1234.5",
    )  # fmt: skip
    assert read(form, shown, stored, BERLIN) == ({"set": {}}, {})
    changed = shown | {"seal": "", "start_import_wh": "1234,6", "serial": "2", "valid_to": "2026-11-01T00:00"}
    values, faults = read(form, changed, stored, BERLIN)
    assert faults == {}
    assert values == {
        "set": {
            "seal": None, "start_import_wh": 1_234_600, "manufacturer": "Acme", "serial": "2",
            "valid_to": "2026-10-31T23:00:00+00:00",
        }
    }  # fmt: skip
    assert read(form, shown | {"multiplier": ""}, stored, BERLIN)[1] == {"multiplier": "is needed"}


def test_every_kind_has_its_form() -> None:
    assert set(FORMS) == set(ChangeKind)
