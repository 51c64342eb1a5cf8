"""An alert is raised once while its cause stands, keeps its beginning, and can stand again after it was cleared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from headend.domain.alerts import AlertKind
from headend.store import alerts
from headend.store.pool import Store

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
KIND = AlertKind.SPOOL_FULL


def test_raised_renewed_cleared_raised_again(store: Store) -> None:
    with store.transaction() as connection:
        assert alerts.raise_alert(connection, KIND, "reader", detail="3 given up", value=3, now=NOW)
        assert not alerts.raise_alert(connection, KIND, "reader", detail="5 given up", value=5, now=LATER)
        (one,) = alerts.standing(connection)
        assert (one["raised_at"], one["renewed_at"], one["value"], one["detail"]) == (NOW, LATER, 5, "5 given up")
        assert alerts.clear(connection, AlertKind.STORAGE, ["reader"], LATER) == 0
        assert alerts.clear(connection, KIND, ["reader", "another"], NOW - timedelta(hours=1)) == 1
        assert alerts.standing(connection) == []
        assert alerts.raise_alert(connection, KIND, "reader", detail="again", now=LATER)
        newest, oldest = alerts.listed(connection, limit=10)
        assert (newest["cleared_at"], oldest["cleared_at"]) == (None, NOW)
        before = (newest["raised_at"], newest["alert_id"])
        assert alerts.listed(connection, limit=10, kind=KIND, before=before) == [oldest]
        assert alerts.listed(connection, limit=10, area="TA-01") == []
