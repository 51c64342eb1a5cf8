"""Documents that name the rules which judged settled days, each kept once under a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headend.store import queries
from headend.store.pool import Connection, row, rows

_SQL = queries.load("rule_sets")


@dataclass(frozen=True, slots=True)
class KeptRuleSet:
    """One document."""

    number: int
    rules: dict[str, Any]
    first_used_at: datetime | None
    """None: before it was kept."""


def number_of(connection: Connection, digest: bytes, canonical: str, now: datetime) -> int:
    """The number of a document, which is kept from now on if it was not before."""
    wanted = {"digest": digest, "rules": canonical, "now": now}
    found = row(connection, _SQL["find"], wanted)
    if found is None:
        connection.execute(_SQL["add"], wanted)
        found = row(connection, _SQL["find"], wanted)
    if found is None:
        raise LookupError("a rule set that was just kept is not there")
    return int(found["rule_set_id"])


def known(connection: Connection, digest: bytes) -> int | None:
    """The number of a document; None: nothing was settled by it yet."""
    found = row(connection, _SQL["find"], {"digest": digest})
    return None if found is None else int(found["rule_set_id"])


def get(connection: Connection, numbers: Sequence[int]) -> dict[int, KeptRuleSet]:
    """Documents by number; unknown ones are not in it."""
    found = rows(connection, _SQL["get"], {"numbers": sorted(set(numbers))})
    return {r["rule_set_id"]: KeptRuleSet(r["rule_set_id"], r["rules"], r["first_used_at"]) for r in found}
