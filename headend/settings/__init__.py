"""Settings: one TOML file, checked whole before anything starts; `HEADEND_<SECTION>__<KEY>` in the environment wins.

A wrong value names file, key, value and what would be right. Secrets come from the environment or from a file.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from headend.settings.errors import SettingsError
from headend.settings.field import Clock, Commands, Poll
from headend.settings.sections import Billing, Database, Events, Findings, Ingest, Log, Metrics, Mqtt, Settlement, Web
from headend.settings.upkeep import Objectives, Quarantine, Storage, Upkeep
from headend.settings.validation import Validation

__all__ = [
    "Billing",
    "Clock",
    "Commands",
    "Database",
    "Events",
    "Findings",
    "Ingest",
    "Log",
    "Metrics",
    "Mqtt",
    "Objectives",
    "Poll",
    "Quarantine",
    "Settings",
    "SettingsError",
    "Settlement",
    "Storage",
    "Upkeep",
    "Validation",
    "Web",
    "load_settings",
]

_PREFIX = "HEADEND_"


class Settings(BaseSettings):
    """Everything the service can be told."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=_PREFIX, env_nested_delimiter="__")

    database: Database
    mqtt: Mqtt = Mqtt()
    ingest: Ingest = Ingest()
    events: Events = Events()
    poll: Poll = Poll()
    commands: Commands = Commands()
    clock: Clock = Clock()
    settlement: Settlement = Settlement()
    validation: Validation = Validation()
    billing: Billing = Billing()
    findings: Findings = Findings()
    upkeep: Upkeep = Upkeep()
    storage: Storage = Storage()
    quarantine: Quarantine = Quarantine()
    objectives: Objectives = Objectives()
    web: Web = Web()
    metrics: Metrics = Metrics()
    log: Log = Log()

    @model_validator(mode="after")
    def _kept_as_long_as_needed(self) -> Self:
        self.storage.check(
            {
                "ingest.oldest_days": self.ingest.oldest_days,
                "settlement.window_days + grace_days": self.settlement.window_days + self.settlement.grace_days,
                "objectives.back_days": self.objectives.back_days,
            }
        )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 the framework names them
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; nothing else is read."""
        return env_settings, init_settings


def load_settings(path: Path | None) -> Settings:
    """Read and check the whole file. Raises SettingsError naming file, key, value and what would be right."""
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: not valid TOML: {error}") from error
    if unknown := _unknown_sections():
        raise SettingsError("\n".join(unknown))
    try:
        return Settings(**data)
    except UnreadableVariable as error:
        raise SettingsError(f"environment: {error}; a section is set key by key, HEADEND_<SECTION>__<KEY>") from None
    except ValidationError as error:
        raise SettingsError("\n".join(_complaint(path, e) for e in error.errors())) from None


def _unknown_sections() -> list[str]:
    """Variables that look like ours and would be passed over in silence."""
    known = {name.upper() for name in Settings.model_fields}
    return [
        f"environment: {name}: unknown section; known are {', '.join(sorted(known))}"
        for name in sorted(os.environ)
        if name.startswith(_PREFIX) and "__" in name and name.removeprefix(_PREFIX).partition("__")[0] not in known
    ]


def _complaint(path: Path | None, error: Any) -> str:
    """One line: where, key, value, what would be right. A value that may hold a secret is not shown."""
    names = [str(part) for part in error["loc"]]
    if not names:  # several sections that do not fit together; the words name the keys
        return f"{path or 'environment'}: {error['msg'].removeprefix('Value error, ')}"
    if error["type"] == "missing" and len(names) == 1:  # a whole section: what it cannot do without
        names += [key for key, field in _section(names).model_fields.items() if field.is_required()][:1]
    key, value = ".".join(names), error["input"]
    variable = _PREFIX + "__".join(names).upper()
    where = f"environment: {variable}" if variable in os.environ or path is None else f"{path}: {key}"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key; known are {', '.join(sorted(_section(names[:-1]).model_fields))}"
    if error["type"] == "missing":
        return f"{where}: is required"
    may_be_secret = any(word in key for word in ("secret", "password", "dsn")) or len(names) == 1
    shown = "" if may_be_secret or isinstance(value, dict) else f" = {value!r}"
    return f"{where}{shown}: {error['msg'].removeprefix('Value error, ')}"


def _section(names: list[str]) -> Any:
    model: Any = Settings
    for name in names:
        model = model.model_fields[name].annotation
    return model
