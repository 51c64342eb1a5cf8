"""The tables of the settings file: every key with its description, bounds and a default that is right for most."""

from __future__ import annotations

import ipaddress
from datetime import date, time
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from headend.settings.errors import SettingsError


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as unknown:
        raise ValueError(f"{name!r} is no time zone of the IANA database, such as Asia/Shanghai") from unknown
    return name


def _time_of_day(value: object) -> object:
    """Raises ValueError for a bare number, which would be taken for seconds since midnight."""
    if isinstance(value, int | float) or (isinstance(value, str) and value.strip().replace(".", "").isdecimal()):
        raise ValueError(f"{value} is a bare number; wanted a time of day such as 02:30")
    return value


def _without_offset(at: time) -> time:
    if at.tzinfo is not None:
        raise ValueError(f"{at} has an offset; wanted a time of day in `zone`, such as 02:30")
    return at


def _stable_client_id(name: str) -> str:
    """Raises ValueError for what would not name the same session after a restart."""
    if "{" in name.replace("{host}", "") or "}" in name.replace("{host}", ""):
        raise ValueError(
            f"{name!r}: only {{host}} is filled in; a name that changes with every start would leave its session, and "
            "the messages in it, behind"
        )
    return name


def _bytes_of_file(key: str, file: Path) -> bytes:
    """A secret's file without white space around it. Raises SettingsError when it cannot be read or is empty."""
    try:
        found = file.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"{key} {file}: {error.strerror}") from error
    if not found:
        raise SettingsError(f"{key} {file} is empty")
    return found


def _of_file(key: str, file: Path) -> str:
    """The same as text."""
    try:
        return _bytes_of_file(key, file).decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{key} {file} is not UTF-8") from error


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError as wrong:
        raise ValueError(f"{host!r} is no IP address; only a loopback address such as 127.0.0.1 is allowed") from wrong
    if not address.is_loopback:
        raise ValueError(
            f"{host!r} would be reachable from outside; there is no login yet, so only 127.0.0.1 is allowed"
        )
    return host


class Section(BaseModel):
    """A table of the file; an unknown key is an error, not a shrug."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Database(Section):
    """Where the store is."""

    dsn: str = Field(
        min_length=1, description="libpq connection string of PostgreSQL >= 15, with or without TimescaleDB"
    )
    pool_max: int = Field(
        8, ge=1, le=100, description="connections of one process at the most; with role upkeep at least 3"
    )
    prepare: bool = Field(True, description="server-side prepared statements; off behind a transaction pooler")


class Mqtt(Section):
    """The broker that meters and concentrators publish to."""

    host: str = "127.0.0.1"
    port: int = Field(1883, ge=1, le=65535)
    client_id: Annotated[str, AfterValidator(_stable_client_id)] = Field(
        "headend-ingest",
        pattern=r"^[^#+/\s]+$",
        description="names the persistent session: one per ingest process; {host} stands for the host's name",
    )
    prefix: str = Field(
        "headend/v1", pattern=r"^[^#+/]+(/[^#+/]+)*$", description="topic prefix, without a slash at the end"
    )
    receive_maximum: int = Field(
        4000, ge=1, le=65535, description="un-acknowledged messages that the broker may send us"
    )
    session_expiry_s: int = Field(
        7 * 86400, ge=0, description="how long the broker keeps our session while we are away"
    )
    keepalive_s: int = Field(30, ge=5, le=3600)
    share_group: str | None = Field(
        None,
        pattern=r"^[^#+/\s]+$",
        description="several ingest processes share the messages under this name; each has a client_id of its own",
    )
    unshared: bool = Field(
        True,
        description="in a share group: also take what only one may take (decoders with a memory); off in all but one",
    )
    takeover_s: float = Field(
        60.0, gt=0, description="in a share group: another process gone for so long has its session emptied by this one"
    )
    payloads: tuple[str, ...] | None = Field(
        None, description="payload maps of foreign devices in use, by id; unset: all there are, empty: none"
    )
    payloads_dir: Path | None = Field(
        None, description="a directory with payload maps of your own, besides the built-in ones"
    )
    username: str | None = None
    password: SecretStr | None = Field(None, description="from the environment or password_file")
    password_file: Path | None = None
    tls: bool = Field(False, description="TLS; the broker's certificate has to name `host`, which cannot be turned off")
    tls_ca_file: Path | None = Field(None, description="who may vouch for the broker (PEM); unset: the system's")
    tls_cert_file: Path | None = Field(None, description="our own certificate (PEM), where the broker wants one")
    tls_key_file: Path | None = Field(None, description="its key; unset: it is in tls_cert_file")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file are both set; one of them would be passed over")
        if self.tls_key_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_key_file is set but tls_cert_file is not: a key alone proves nothing")
        if not self.tls and (self.tls_ca_file or self.tls_cert_file):
            raise ValueError("tls_ca_file or tls_cert_file is set but tls is not: the connection would be in the clear")
        return self

    def secret(self) -> str | None:
        """The password, if there is one. Raises SettingsError when its file cannot be read or is empty."""
        if self.password is not None:
            return self.password.get_secret_value()
        return None if self.password_file is None else _of_file("mqtt.password_file", self.password_file)


class Ingest(Section):
    """The write path."""

    flush_rows: int = Field(50_000, ge=1, description="a batch is written when it has so many readings")
    flush_age_s: float = Field(0.5, gt=0, le=60, description="... or when its oldest message is so old")
    flush_quiet_s: float = Field(0.02, gt=0, le=60, description="... or when nothing more has come for so long")
    future_tolerance_s: int = Field(600, ge=0, description="readings stamped later than this from now are refused")
    oldest_days: int = Field(
        800, ge=1, description="readings older than this are refused (partitions are made on demand)"
    )
    discovered_most: int = Field(
        10_000, ge=1, description="devices not imported that are listed at the most; the stalest ones go first"
    )


class Events(Section):
    """Events that readings show by themselves; limits as the meter shows the values, without a transformer ratio."""

    over_voltage_v: float = Field(253.0, gt=0, description="an over-voltage begins above (230 V + 10 %)")
    under_voltage_v: float = Field(195.5, gt=0, description="an under-voltage begins below (230 V - 15 %)")
    voltage_hysteresis_v: float = Field(3.0, ge=0, description="... and either ends so far inside its limit")
    phase_lost_v: float = Field(
        138.0, gt=0, description="a phase is lost below this while another one of its meter is live (60 % of 230 V)"
    )
    reversed_a: float = Field(0.2, gt=0, description="a smaller current, either way, says nothing of its direction")
    reversed_w: float = Field(50.0, gt=0, description="the same for power")
    feeds_in_wh: int = Field(
        10_000, ge=0, description="a meter whose export register stands above this feeds in as a matter of course"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.phase_lost_v < self.under_voltage_v < self.over_voltage_v:
            raise ValueError("phase_lost_v, under_voltage_v and over_voltage_v have to rise in this order")
        if self.over_voltage_v - self.under_voltage_v <= 2 * self.voltage_hysteresis_v:
            raise ValueError("voltage_hysteresis_v leaves no voltage at which both episodes end")
        return self


class Accuracy(Section):
    """How far meters may be off: what the uncertainty of a balance is made of (`reconciliation/uncertainty.py`)."""

    area_class: float = Field(
        0.5, gt=0, le=10, description="limit of error of area meters [%] where the topology names no class of the meter"
    )
    household_class: float = Field(1.0, gt=0, le=10, description="the same of household and shared meters")
    transformer_class: float = Field(
        0.5, ge=0, le=10, description="of current transformers [%]; counts where an installation has a multiplier"
    )
    sigma_rule: Literal["normal_99", "uniform"] = Field(
        "normal_99",
        description="what the limit means: 99 % of the meters are within it (accepted by sampling, IEC 62058-31), SD = "
        "limit / 2.576; or nothing but the limit is known, SD = limit / 1.732",
    )
    skew_s: float = Field(30.0, ge=0, le=3600, description="SD of a meter's clock")
    fluctuation_s: float = Field(
        900.0, ge=0, le=86400, description="how long a household's power stays as it is, about: an appliance's run"
    )
    estimate_share: float = Field(
        0.3, ge=0, le=2, description="SD of mean power after a midnight that was not read, against before it"
    )
    technical_share: float = Field(0.2, ge=0, le=2, description="SD of the technical-loss model, as share of it")


class Settlement(Section):
    """Intervals, balances, findings."""

    zone: Annotated[str, AfterValidator(_known_zone)] = "Asia/Shanghai"
    interval_s: Literal[300, 900, 1800, 3600] = 900
    tolerance_s: int = Field(
        900, ge=0, description="registers this close on both sides of a grid instant give an interpolated value"
    )
    line_gap_s: int = Field(
        7200, ge=0, description="gaps up to this are estimated by a straight line, longer ones by reference days"
    )
    holidays: tuple[date, ...] = Field(
        (), description="days off from Monday to Friday: estimates count them as weekend days"
    )
    working_days: tuple[date, ...] = Field(
        (), description="Saturdays and Sundays that are worked instead: estimates count them as working days"
    )
    prolonged_estimation_h: float = Field(
        24.0, gt=0, le=9600, description="a meter estimated for so long without a break is a finding"
    )
    high_loss_rate: float = Field(0.07, gt=0, lt=1)
    high_loss_sigmas: float = Field(
        3.0, gt=0, le=100, description="also high: a loss above the technical one by so many standard deviations"
    )
    negative_loss_rate: float = Field(-0.01, gt=-1, lt=0)
    coverage_limit: float = Field(
        0.9, gt=0, le=1, description="share of metering-point intervals below which a balance is not computable"
    )
    grace_days: int = Field(3, ge=0, le=60, description="an incomplete day becomes final after so many days")
    window_days: int = Field(28, ge=3, le=400, description="days that the reconciliation looks at")
    reconcile_at: Annotated[time, BeforeValidator(_time_of_day), AfterValidator(_without_offset)] | None = Field(
        None,
        description="local time of day from which a station is explained, once a day; unset: as soon as it is settled",
    )
    wrong_area_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of meters expected to be listed on the wrong area: several per cent while a rollout's "
        "records are young; unset: the engine's own",
    )
    silent_concentrator_s: int = Field(
        3600, ge=1, description="a concentrator silent for so long no longer holds its area's history open"
    )
    quiet_s: float = Field(
        1.0, ge=0, description="a touched area-day is settled once no reading has touched it for so long"
    )
    accuracy: Accuracy = Accuracy()

    @model_validator(mode="after")
    def _either_way(self) -> Self:
        if both := sorted({*self.holidays} & {*self.working_days}):
            raise ValueError(f"{both[0]} is in both holidays and working_days")
        return self


class Billing(Section):
    """The billing system's import endpoint."""

    endpoint_url: str | None = Field(
        None, pattern=r"^https?://", description="POST target of batches; unset: batches are made and wait"
    )
    secret: SecretStr | None = Field(None, description="key of the signature; from the environment or secret_file")
    secret_file: Path | None = None
    timeout_s: float = Field(10.0, gt=0, le=300)
    batch_rows: int = Field(10_000, ge=1, le=1_000_000, description="determinants of one batch at the most")
    retry_first_s: float = Field(1.0, gt=0)
    retry_most_s: float = Field(300.0, gt=0)

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.endpoint_url and not (self.secret or self.secret_file):
            raise ValueError("endpoint_url is set but neither secret nor secret_file: batches are always signed")
        return self

    def key(self) -> bytes:
        """The signing key. Raises SettingsError when the file cannot be read or is empty."""
        if self.secret is not None:
            return self.secret.get_secret_value().encode()
        if self.secret_file is None:
            raise SettingsError("billing.secret and billing.secret_file are both unset")
        return _bytes_of_file("billing.secret_file", self.secret_file)


Price = Annotated[float, Field(ge=0, le=1e6)]


class CategoryPrices(Section):
    """Prices of categories of usage points that differ."""

    residential: Price | None = None
    production: Price | None = None
    commercial: Price | None = None
    irrigation: Price | None = None
    public_lighting: Price | None = None
    temporary: Price | None = None


class Findings(Section):
    """What the energy of a finding is worth."""

    price_per_kwh: Price | None = Field(None, description="money at stake: energy times this; unset: energy only")
    category_price_per_kwh: CategoryPrices | None = Field(
        None, description="another price for a category of usage points"
    )
    currency: str = Field("CNY", min_length=1, max_length=8)

    def price_of(self, category: str | None) -> float | None:
        """The price [currency/kWh] for a category of usage points, or for an area as a whole; None: not known."""
        others = {} if self.category_price_per_kwh is None else self.category_price_per_kwh.model_dump()
        own: float | None = others.get(category or "")
        return self.price_per_kwh if own is None else own


class Web(Section):
    """Pages and API."""

    host: Annotated[str, AfterValidator(_loopback)] = "127.0.0.1"
    port: int = Field(8080, ge=1, le=65535)


class Metrics(Section):
    """Counters of a process that serves no pages."""

    port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="/metrics of this process on the loopback address; unset: only where role web runs",
    )
    most_series: int = Field(
        1000,
        ge=0,
        le=100_000,
        description="areas, and concentrators, that have series of their own: where there are more, the worst so many",
    )


class Log(Section):
    """Logs go to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
