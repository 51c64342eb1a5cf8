"""Several transactions as one: they take effect together, or, to see what they would do, not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headend.store.errors import translated
from headend.store.pool import Connection, Store


class _Joint(Store):
    """All its transactions are parts of one, on one connection."""

    def __init__(self, connection: Connection, dsn: str) -> None:
        self.dsn = dsn
        self._connection = connection

    @contextmanager
    def transaction(self, *, timeout_s: float | None = None) -> Iterator[Connection]:  # noqa: ARG002 it has its connection
        """A part: what it did is undone when it raises, and seen by nobody else before the whole is committed."""
        with translated(), self._connection.transaction():
            yield self._connection


@contextmanager
def joint(store: Store, *, keep: bool = True) -> Iterator[Store]:
    """A store to work on until the block ends; `keep` false: then it is as if nothing had been done. Raises StoreError.

    Rows stay locked until then: keep it short.
    """
    with store.transaction() as connection, connection.transaction(force_rollback=not keep):
        yield _Joint(connection, store.dsn)
