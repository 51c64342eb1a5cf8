"""What the store can answer instead of rows; psycopg's own errors do not leave this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout

_PASSES = (errors.ReadOnlySqlTransaction, errors.IdleInTransactionSessionTimeout)
"""It is a standby just now, or cut us off; psycopg counts their class among its internal errors."""
_TOO_LARGE = (errors.ProgramLimitExceeded, errors.StatementTooComplex)
"""PostgreSQL cannot hold it, however often it is tried; psycopg counts their class among the outages."""


class StoreError(Exception):
    """The database refused or failed."""


class StoreUnavailable(StoreError):
    """The database cannot be reached now; trying again later is right."""


class StoreConflict(StoreError):
    """Somebody else changed the same thing, or the rows contradict what is stored; names the constraint."""

    def __init__(self, message: str, *, constraint: str | None) -> None:
        super().__init__(message)
        self.constraint = constraint


class StoreRefused(StoreError):
    """What is in the rows does not go into the database; the same rows never will."""


class SchemaError(StoreError):
    """The schema is not the one that this program needs."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg's errors into the store's: the one place where that happens."""
    try:
        yield
    except (psycopg.DataError, *_TOO_LARGE) as error:
        raise StoreRefused(str(error).strip()) from error
    except (psycopg.OperationalError, PoolTimeout, psycopg.InterfaceError, *_PASSES) as error:
        if isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected):
            raise StoreConflict(str(error).strip(), constraint=None) from error
        raise StoreUnavailable(str(error).strip()) from error
    except psycopg.IntegrityError as error:
        raise StoreConflict(str(error).strip(), constraint=error.diag.constraint_name) from error
    except psycopg.errors.UndefinedTable as error:
        raise SchemaError(f"{error.diag.message_primary}: has `headend migrate` been run?") from error
    except psycopg.Error as error:
        raise StoreError(str(error).strip()) from error
