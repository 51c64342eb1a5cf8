"""Which program this is: who settles together must be one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

_PARTS: Final = ("headend.domain", "headend.settlement", "headend.store", "reconciliation")
"""What decides a settled day."""


@cache
def program_digest() -> str:
    """Digest of the sources that decide a settled day."""
    digest = hashlib.sha256()
    for part in _PARTS:
        for name, text in sorted(_sources(files(part), part)):
            digest.update(f"{name} {len(text)}\n".encode())
            digest.update(text)
    return digest.hexdigest()


def _sources(directory: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in directory.iterdir():
        inside = f"{name}/{entry.name}"
        if entry.is_dir():
            yield from _sources(entry, inside)
        elif entry.name.endswith((".py", ".sql")):
            yield inside, entry.read_bytes()
