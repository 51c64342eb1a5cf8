"""Settings: every wrong key is named with file, key, value and what would be right; a secret is never shown."""

from __future__ import annotations

import os
from datetime import time
from pathlib import Path

import pytest

from headend.settings import Billing, Settings, SettingsError, load_settings

DSN = '[database]\ndsn = "dbname=headend"\n'
SECRET = "hunter2-and-more"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("HEADEND_") and "__" in n]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "headend.toml"


def refusal(file: Path, text: str) -> str:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load_settings(file)
    return str(refused.value)


@pytest.mark.parametrize("written", ['"02:30"', "02:30:00"])
def test_a_time_of_day_is_written_as_text_or_as_toml_has_it(file: Path, written: str) -> None:
    file.write_text(f"{DSN}[settlement]\nreconcile_at = {written}\n", encoding="utf-8")
    assert load_settings(file).settlement.reconcile_at == time(2, 30)


def test_a_file_with_the_database_alone_is_enough(file: Path) -> None:
    file.write_text(DSN, encoding="utf-8")
    settings = load_settings(file)
    assert settings.database.dsn == "dbname=headend"
    assert (settings.web.host, settings.settlement.zone) == ("127.0.0.1", "Asia/Shanghai")


@pytest.mark.parametrize(
    ("text", "key", "value", "right"),
    [
        ('[web]\nport = "80a"', "web.port", "'80a'", "valid integer"),
        ("[web]\nport = 70000", "web.port", "70000", "65535"),
        ('[web]\nhost = "0.0.0.0"', "web.host", "'0.0.0.0'", "only 127.0.0.1 is allowed"),
        ('[web]\nhost = "192.168.1.5"', "web.host", "'192.168.1.5'", "only 127.0.0.1 is allowed"),
        ('[web]\nhost = "meters.example"', "web.host", "'meters.example'", "loopback address such as 127.0.0.1"),
        ('[settlement]\nzone = "Mars/Olympus"', "settlement.zone", "'Mars/Olympus'", "such as Asia/Shanghai"),
        ('[settlement]\nzone = "/etc/localtime"', "settlement.zone", "'/etc/localtime'", "IANA"),
        ('[settlement]\nzone = ""', "settlement.zone", "''", "IANA"),
        ("[settlement]\ninterval_s = 600", "settlement.interval_s", "600", "300, 900, 1800 or 3600"),
        ('[settlement]\nreconcile_at = "25:00"', "settlement.reconcile_at", "'25:00'", "hour value is outside"),
        (
            '[settlement]\nreconcile_at = "02:30+08:00"',
            "settlement.reconcile_at",
            "'02:30+08:00'",
            "wanted a time of day",
        ),
        ("[settlement]\nreconcile_at = 230", "settlement.reconcile_at", "230", "such as 02:30"),
        ("[settlement]\nwrong_area_rate = 1", "settlement.wrong_area_rate", "1", "less than 1"),
        ("[settlement]\ncoverage_limit = 1.5", "settlement.coverage_limit", "1.5", "less than or equal to 1"),
        ("[billing]\nretry_first_s = inf", "billing.retry_first_s", "inf", "finite"),
        ("[ingest]\nflush_age_s = nan", "ingest.flush_age_s", "nan", "finite"),
        ('[mqtt]\nprefix = "a/+/b"', "mqtt.prefix", "'a/+/b'", "pattern"),
        ('[billing]\nendpoint_url = ""\nsecret = "s"', "billing.endpoint_url", "''", "https?://"),
        ('[log]\nlevel = "loud"', "log.level", "'loud'", "'debug', 'info', 'warning' or 'error'"),
        ("[web]\nprot = 80\nport = 80", "web.prot", "", "unknown key; known are host, port"),
        ("[wed]\nport = 80", "wed", "", "unknown key; known are billing, clock, commands, database"),
        ("[mqtt]\nhost = 5", "mqtt.host", "5", "valid string"),
    ],
)
def test_a_wrong_value_is_named_with_file_key_value_and_what_is_right(
    file: Path, text: str, key: str, value: str, right: str
) -> None:
    message = refusal(file, DSN + text)
    assert message.startswith(f"{file}: {key}{' = ' if value else ''}{value}: ")
    assert right in message
    assert "\n" not in message


def test_every_wrong_key_has_its_own_line(file: Path) -> None:
    message = refusal(file, '[web]\nport = 0\nhost = "10.0.0.1"\n[log]\nformat = "xml"')
    assert [line.removeprefix(f"{file}: ").split()[0] for line in message.splitlines()] == [
        "database.dsn:",
        "web.host",
        "web.port",
        "log.format",
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1"])
def test_loopback_addresses_are_taken(file: Path, host: str) -> None:
    file.write_text(f'{DSN}[web]\nhost = "{host}"', encoding="utf-8")
    assert load_settings(file).web.host == host


def test_localhost_means_the_loopback_address_whatever_a_resolver_says(file: Path) -> None:
    file.write_text(f'{DSN}[web]\nhost = "localhost"', encoding="utf-8")
    assert load_settings(file).web.host == "127.0.0.1"


def test_the_environment_wins_key_by_key(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(f'{DSN}[web]\nport = 8081\n[mqtt]\nport = 1884\nhost = "127.0.0.2"', encoding="utf-8")
    monkeypatch.setenv("HEADEND_MQTT__PORT", "1885")
    monkeypatch.setenv("HEADEND_DATABASE__DSN", "dbname=other")
    settings = load_settings(file)
    assert (settings.web.port, settings.mqtt.port, settings.mqtt.host) == (8081, 1885, "127.0.0.2")
    assert settings.database.dsn == "dbname=other"


def test_a_whole_installation_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADEND_DATABASE__DSN", "dbname=headend")
    monkeypatch.setenv("HEADEND_POLL__PERIOD_S", "60")
    assert load_settings(None).poll.period_s == 60


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("HEADEND_WEB__PORT", "99999", "HEADEND_WEB__PORT = '99999'"),
        ("HEADEND_WEB__PROT", "80", "HEADEND_WEB__PROT: unknown key; known are host, port"),
        ("HEADEND_WEBB__PORT", "80", "HEADEND_WEBB__PORT: unknown section; known are BILLING, CLOCK, COMMANDS"),
        ("HEADEND_DATABASE", f"password={SECRET}", '"database"'),
    ],
)
def test_a_wrong_variable_is_named_as_a_variable(
    file: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    message = refusal(file, DSN)
    assert message.startswith("environment: ")
    assert told in message
    assert str(file) not in message
    assert SECRET not in message


def test_without_a_database_the_variable_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^environment: HEADEND_DATABASE__DSN: is required$"):
        load_settings(None)


@pytest.mark.parametrize(
    "text",
    [
        f'database = "host=db password={SECRET}"',
        f'[database]\ndsn = ["host=db password={SECRET}"]',
        f'[[database]]\ndsn = "password={SECRET}"',
        DSN + f'[mqtt]\npasswort = "{SECRET}"',
        DSN + f'[mqtt]\npassword = ["{SECRET}"]',
        DSN + f'[billing]\nsecret = ["{SECRET}"]',
        DSN + f'[billing]\nsecret = {{ key = "{SECRET}" }}',
        DSN + f'billing = "{SECRET}"',
    ],
)
def test_no_message_shows_what_may_be_a_secret(file: Path, text: str) -> None:
    assert SECRET not in refusal(file, text)


def test_secrets_are_not_in_the_settings_text(file: Path) -> None:
    file.write_text(f'{DSN}[billing]\nsecret = "{SECRET}"\n[mqtt]\npassword = "{SECRET}"', encoding="utf-8")
    settings = load_settings(file)
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    assert SECRET not in settings.model_dump_json()
    assert settings.billing.key() == SECRET.encode()


def test_rounds_of_area_meters_fit_into_those_of_all(file: Path) -> None:
    assert load_settings(_written(file, "[poll]\nperiod_s = 900\narea_period_s = 300")).poll.area_period_s == 300
    assert refusal(file, DSN + "[poll]\nperiod_s = 900\narea_period_s = 600") == (
        f"{file}: poll: area_period_s = 600 is no divisor of period_s = 900: "
        "a round of all meters would fall between two of the area meters"
    )


def test_a_listener_for_modems_is_a_table_of_its_own(file: Path) -> None:
    assert load_settings(_written(file, "")).poll.dialin is None
    told = load_settings(_written(file, "[poll.dialin]\nport = 5021\nregistration = [{ length = 11 }]")).poll.dialin
    assert told == {"port": 5021, "registration": [{"length": 11}]}


def _written(file: Path, text: str) -> Path:
    file.write_text(DSN + text, encoding="utf-8")
    return file


def test_batches_are_always_signed(file: Path) -> None:
    message = refusal(file, DSN + '[billing]\nendpoint_url = "http://127.0.0.1/import"')
    assert message == (
        f"{file}: billing: endpoint_url is set but neither secret nor secret_file: batches are always signed"
    )


def test_the_key_comes_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    kept = tmp_path / "billing.key"
    kept.write_bytes(b"0123abcd\n")
    assert Billing(endpoint_url="http://127.0.0.1/", secret_file=kept).key() == b"0123abcd"


def test_a_key_file_that_is_empty_or_absent_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.key"
    empty.touch()
    with pytest.raises(SettingsError, match=f"billing.secret_file {empty} is empty"):
        Billing(secret_file=empty).key()
    with pytest.raises(SettingsError, match=r"billing\.secret_file .*absent\.key: No such file"):
        Billing(secret_file=tmp_path / "absent.key").key()
    with pytest.raises(SettingsError, match="both unset"):
        Billing().key()


@pytest.mark.parametrize(("content", "told"), [(b"[web\n", "not valid TOML"), (b"\xff\xfe", "not valid TOML")])
def test_what_is_no_toml_is_refused_with_its_file(file: Path, content: bytes, told: str) -> None:
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=told) as refused:
        load_settings(file)
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(file)


def test_settings_cannot_be_changed_afterwards(file: Path) -> None:
    file.write_text(DSN, encoding="utf-8")
    settings = load_settings(file)
    with pytest.raises(ValueError, match="frozen"):
        settings.web.port = 1  # type: ignore[misc]
    assert isinstance(settings, Settings)
