"""The same in both languages of the pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Told:
    """What is said, in both languages."""

    english: str
    chinese: str
