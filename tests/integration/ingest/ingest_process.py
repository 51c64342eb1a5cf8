"""An ingest in a process of its own, to be killed: arguments DSN, broker port, client id, `run` or how to die, and the
share group where it is in one.

With `die-after-commit` it ends by SIGKILL between the first commit that stores rows and the acknowledgement; with
`hold` it takes messages and never gets them committed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

from headend.ingest.item import Item, WriteResult
from headend.ingest.service import IngestService
from headend.settings import Settings
from headend.store.pool import Store

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)


async def main(dsn: str, port: str, client_id: str, mode: str, share_group: str | None = None) -> None:
    settings = Settings(
        database={"dsn": dsn},
        mqtt={"port": int(port), "client_id": client_id, "share_group": share_group, "unshared": share_group is None},
        ingest={"flush_age_s": 0.2, "flush_quiet_s": 0.05},
    )
    with Store(dsn) as store:
        service = IngestService(store, settings, lambda: NOW)
        if mode == "die-after-commit":
            write = service._writer.write

            def dying(items: Sequence[Item]) -> WriteResult:
                write(items)
                os.kill(os.getpid(), signal.SIGKILL)
                raise AssertionError("not reached")

            service._writer.write = dying
        if mode == "hold":
            service._writer.write = lambda _: threading.Event().wait()
        await service.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
