"""What the verdicts of this utility have taught: the priors that the engine is given.

The rule it keeps: verdicts are counted by kind and by nothing else.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from headend.store import cases
from headend.store.pool import Connection
from reconciliation import FindingKind, Priors
from reconciliation.priors import learnt

LEARNT_FROM: Final = timedelta(days=730)
"""Older verdicts say little of the engine, the meters and the habits of today; and all seasons count alike."""


def learnt_priors(connection: Connection, now: datetime) -> Priors:
    """Priors of the engine's kinds after the verdicts that count at an instant."""
    known = {kind.value: kind for kind in FindingKind}
    counts = [count for count in cases.verdicts(connection, now - LEARNT_FROM, now) if count.kind in known]
    return learnt(
        {known[count.kind]: count.confirmed for count in counts},
        {known[count.kind]: count.rejected for count in counts},
    )
