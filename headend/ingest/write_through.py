"""Writes items so that one which the database refuses for what is in it holds up no other. Shared by all who write."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headend.ingest.item import Item, WriteResult, refused
from headend.log import get_logger
from headend.metrics import STORE_ERRORS
from headend.store.errors import StoreConflict, StoreRefused

_log = get_logger(__name__)


def write_through(write: Callable[[Sequence[Item]], WriteResult], items: Sequence[Item], *, often: bool = False) -> int:
    """Commit the items, whatever is in them; readings stored. One that is refused goes to the quarantine whole.

    Raises any other StoreError, which is no item's fault (a right that is lacking, a column, a damaged index would put
    the whole field into the quarantine): write all of them again later.
    `often`: these have met a conflict so often that what contradicts a constraint is refused, too.
    """
    try:
        return write(items).stored
    except (StoreRefused, StoreConflict) as error:
        if isinstance(error, StoreConflict) and (error.constraint is None or not often):
            raise
        STORE_ERRORS.labels(type(error).__name__).inc()
        if len(items) > 1:
            middle = len(items) // 2
            stored = write_through(write, items[:middle], often=often)
            return stored + write_through(write, items[middle:], often=often)
        _log.warning("the database refused a message", origin=items[0].origin, error=str(error))
        return write([refused(items[0], error)]).stored
