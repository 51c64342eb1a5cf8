"""The chore that keeps the quarantine within its bounds, and tells an operator when messages are not kept."""

from __future__ import annotations

from headend import metrics
from headend.domain.alerts import AlertKind
from headend.domain.clock import Clock
from headend.log import get_logger
from headend.settings import Settings
from headend.store import alerts, quarantine, quarantine_bounds
from headend.store.pool import Store
from headend.store.quarantine_bounds import Bounds
from headend.upkeep.chore import Chore

_log = get_logger(__name__)


class QuarantineBounds:
    """What the chore does."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._bounds = Bounds.of(settings.quarantine)
        self._clock = clock
        self._seen: set[str] = set()
        """Reasons whose gauges say something."""

    def do(self) -> None:
        """Let go what is beyond the bounds, count it, tell it. Raises StoreError."""
        now = self._clock()
        for (reason, why), messages in quarantine_bounds.enforce(self._store, self._bounds, now).items():
            metrics.QUARANTINE_GIVEN_UP.labels(reason, why).inc(messages)
            _log.warning("messages of the quarantine were given up", reason=reason, why=why, messages=messages)
        with self._store.transaction() as connection:
            spells = quarantine_bounds.lately(connection, now)
            for spell in spells:
                alerts.raise_alert(
                    connection,
                    AlertKind.QUARANTINE_FULL,
                    spell.reason,
                    detail=f"{spell.messages} messages ({spell.reason}) since {spell.since_at:%Y-%m-%d %H:%M %Z} were "
                    f"counted and not kept, most of them from {', '.join(spell.worst)}. Mend the cause or replay what "
                    "is there; see `headend quarantine list --summary`, settings [quarantine].",
                    value=spell.messages,
                    now=now,
                )
            over = {
                alert["subject"]
                for alert in alerts.standing(connection)
                if alert["kind"] == AlertKind.QUARANTINE_FULL.value
            } - {spell.reason for spell in spells}
            alerts.clear(connection, AlertKind.QUARANTINE_FULL, over, now)
            self._gauge({row["reason"]: (row["messages"], row["bytes"]) for row in quarantine.counts(connection)})

    def _gauge(self, standing: dict[str, tuple[int, int]]) -> None:
        for reason in self._seen | standing.keys():
            messages, size = standing.get(reason, (0, 0))
            metrics.QUARANTINE_OPEN.labels(reason).set(messages)
            metrics.QUARANTINE_OPEN_BYTES.labels(reason).set(size)
        self._seen |= standing.keys()


def chore(store: Store, settings: Settings, clock: Clock) -> Chore:
    """Looked after as often as anything is."""
    return Chore("quarantine", settings.upkeep.check_s, QuarantineBounds(store, settings, clock).do)
