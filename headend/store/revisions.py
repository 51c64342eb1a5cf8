"""Other values that came for an instant whose reading was stored already: both values, and the rule that chose."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from headend.store.pool import Connection, Row, rows
from headend.store.queries import load


def of_meter(
    connection: Connection, meter_id: int, *, limit: int, before: tuple[datetime, datetime, UUID] | None = None
) -> list[Row]:
    """A meter's revisions, newest noted first: kept_* as it stood when other_* came, phases by their columns.

    `before` is (noted_at, ts, digest) of the last one of the page before.
    """
    noted_at, ts, digest = before or (None, None, None)
    parameters = {"before_noted_at": noted_at, "before_ts": ts, "before_digest": digest}
    return rows(connection, load("revisions")["of_meter"], {"meter_id": meter_id, "limit": limit} | parameters)
