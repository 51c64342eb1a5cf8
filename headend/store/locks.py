"""One at a time among all processes that share the store, for as long as a block runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headend.store import queries
from headend.store.pool import Connection, Store

_q = queries.load("locks")


@contextmanager
def alone(store: Store, what: str) -> Iterator[bool]:
    """Whether nobody else is doing this just now; if so, nobody else does until the block ends. Raises StoreError.

    The lock is held by a transaction of its own, so it ends with its holder, however that ends.
    """
    with store.transaction() as connection:
        yield connection.execute(_q["try"], {"what": what}).fetchone() == (True,)


def held(connection: Connection, what: str) -> bool:
    """Whether anybody holds the lock of that name in this database."""
    return connection.execute(_q["held"], {"what": what}).fetchone() == (True,)
