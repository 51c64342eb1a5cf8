"""A quarantine to work on in tests, and messages to put into it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from headend.ingest.quarantine import Quarantine, Summary
from headend.settings import Settings
from headend.store import quarantine
from headend.store.pool import Store
from headend.store.quarantine import Kept, Search, Share

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVERYTHING = Search()


def reading(at: datetime, import_wh: int) -> bytes:
    return json.dumps({"ts": at.isoformat(), "import_wh": import_wh}).encode()


def kept(
    serial: str = "New", payload: bytes = b"{}", *, reason: str = "unknown_meter", at: datetime = NOW, **more: Any
) -> Kept:
    origin = more.pop("origin", f"headend/v1/meter/Acme/{serial}/reading")
    return Kept(at, more.pop("source", "mqtt"), origin, reason, more.pop("detail", "not imported"), payload, **more)


class Desk:
    """The quarantine with what the tests ask of the store."""

    def __init__(self, store: Store, settings: Settings, kit: Any) -> None:
        self.store, self.settings, self._kit = store, settings, kit
        self.quarantine = Quarantine(store, settings, lambda: NOW)

    def keep(self, *messages: Kept, share: Share | None = None) -> dict[str, int]:
        with self.store.transaction() as connection:
            added = quarantine.add(connection, messages, *([] if share is None else [share]))
            return dict(added.given_up())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._kit.values(self.store, query)
        return found

    def import_meter(self, serial: str) -> None:
        with self.store.transaction() as connection:
            connection.execute(
                "insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
                "values ('Acme', %s, 'any', 1, 8, 10)",
                [serial],
            )

    def replay_all(self, wanted: Search = EVERYTHING, **options: Any) -> Summary:
        summary = Summary()
        for batch in self.quarantine.replay_all(wanted, **options):
            summary.add(batch)
        return summary
