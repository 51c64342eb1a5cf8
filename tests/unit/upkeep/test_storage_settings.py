"""How long readings are kept never undercuts what may still come in, is still settled, or is still counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headend.domain.gaps import GAP_DAYS
from headend.settings import Settings, SettingsError, load_settings
from headend.store import readings
from headend.upkeep.storage import StorageChores

LEAST: dict[str, Any] = {"ingest": {"oldest_days": 30}, "settlement": {"window_days": 28, "grace_days": 3}}


def settings(keep: int | None, **sections: Any) -> Settings:
    return Settings.model_validate(
        {"database": {"dsn": "dbname=nowhere"}, "storage": {"keep_readings_days": keep}} | LEAST | sections
    )


@pytest.mark.parametrize(
    ("sections", "days", "key"),
    [
        ({"ingest": {"oldest_days": 60}}, 60, "ingest.oldest_days"),
        ({"settlement": {"window_days": 50, "grace_days": 10}}, 60, "settlement.window_days + grace_days"),
        ({"objectives": {"back_days": 60}}, 60, "objectives.back_days"),
    ],
)
def test_the_longest_need_decides(sections: dict[str, Any], days: int, key: str) -> None:
    assert settings(days + GAP_DAYS, **sections).storage.keep_readings_days == days + GAP_DAYS
    assert settings(None, **sections).storage.keep_readings_days is None
    with pytest.raises(ValueError, match=r"storage\.keep_readings_days = 99 is less than 100: ") as refused:
        settings(99, **sections)
    assert f"{key} = 60 days" in str(refused.value)


def test_a_file_is_refused_in_one_line_that_names_both_keys(tmp_path: Path) -> None:
    file = tmp_path / "headend.toml"
    file.write_text('[database]\ndsn = "x"\n[storage]\nkeep_readings_days = 400\n', encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load_settings(file)
    message = str(refused.value)
    assert message.startswith(
        f"{file}: storage.keep_readings_days = 400 is less than 840: ingest.oldest_days = 800 days"
    )
    assert "\n" not in message


def test_a_gap_reaches_equally_far_for_ingest_and_for_what_is_kept() -> None:
    assert readings.MOST_DAYS == GAP_DAYS


def test_every_chore_of_storage_has_a_name_of_its_own() -> None:
    chores = StorageChores(None, settings(None), lambda: None).chores()  # type: ignore[arg-type,return-value]
    assert len({chore.name for chore in chores}) == len(chores) == 4
    assert all(chore.every_s >= 600 for chore in chores)
