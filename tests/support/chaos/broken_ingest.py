"""An ingest with a defect, to see that the chaos finds it: arguments are the defect, and those of `headend run`.

`acknowledges-early`: what it takes is committed a moment after it was acknowledged and confirmed.
`counts-twice`: a batch that is written again is counted again.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from headend.cli import main
from headend.ingest.item import Item, WriteResult
from headend.ingest.writer import ReadingWriter
from headend.store.errors import StoreError
from headend.store.pool import Store

_LATE_S = 0.4


def acknowledge_early() -> None:
    """Let `write` return before anything is written."""
    right = ReadingWriter.write
    waiting: queue.SimpleQueue[tuple[ReadingWriter, Sequence[Item]]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            writer, items = waiting.get()
            time.sleep(_LATE_S)
            while True:
                try:
                    right(writer, items)
                    break
                except StoreError:
                    time.sleep(0.1)

    def write(self: ReadingWriter, items: Sequence[Item]) -> WriteResult:
        waiting.put((self, items))
        return WriteResult()

    threading.Thread(target=work, daemon=True).start()
    ReadingWriter.write = write  # type: ignore[method-assign]


def count_twice() -> None:
    """Let a batch with anything in it that is stored already be counted as if it were new."""
    right = ReadingWriter.write

    def write(self: ReadingWriter, items: Sequence[Item]) -> WriteResult:
        result = right(self, items)
        store: Any = self._store
        assert isinstance(store, Store)
        if result.duplicates:
            with store.transaction() as connection:
                connection.execute(b"update latest_reading set readings_mqtt = readings_mqtt + 1 where meter_id = 1")
        return result

    ReadingWriter.write = write  # type: ignore[method-assign]


if __name__ == "__main__":
    {"acknowledges-early": acknowledge_early, "counts-twice": count_twice}[sys.argv.pop(1)]()
    main()
