"""What a validation rule says of itself: code, version, flag, thresholds with unit, bounds, default and reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciliation.validation.flags import Flag


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """One number that a rule goes by."""

    name: str
    """With its unit at the end where it has one; the key in the settings."""
    unit: str
    """Empty: a pure number."""
    default: float
    least: float
    most: float
    says: str
    """For a person, and where the default is from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule."""

    code: str
    version: int
    """Rises whenever the rule would give another answer on the same values and thresholds."""
    flag: Flag
    says: str
    """What it means that an interval fails it."""
    thresholds: tuple[Threshold, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.code != (self.flag.name or "").lower():
            raise ValueError(f"rule {self.code!r} sets {self.flag!r}: a rule is called as its flag")
        for t in self.thresholds:
            if not t.least <= t.default <= t.most:
                raise ValueError(f"{self.code}.{t.name} = {t.default} lies outside {t.least} … {t.most}")

    @property
    def defaults(self) -> dict[str, float]:
        """Threshold → its default."""
        return {t.name: t.default for t in self.thresholds}
