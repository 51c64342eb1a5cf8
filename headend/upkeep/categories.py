"""Categories that begin: one that was told in advance holds from its instant on without anybody's doing.

The rule it keeps: what is billed and settled asks for the category of its instant; only what people are shown as the
category *now* is renewed here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from headend.domain.clock import Clock
from headend.log import get_logger
from headend.store import changes
from headend.store.pool import Store
from headend.upkeep.chore import Chore

LOOK_S: Final = 60.0
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_log = get_logger(__name__)


def chore(store: Store, clock: Clock) -> Chore:
    """Renew what categories hold now."""

    def renew() -> None:
        with store.transaction() as connection:
            begun = changes.renew_categories(connection, _EVER, clock())
        if begun:
            _log.info("categories began", usage_points=begun)

    return Chore("categories", LOOK_S, renew)
