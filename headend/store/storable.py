"""What PostgreSQL's text can hold, of whatever a device says."""

from __future__ import annotations


def storable(text: str) -> str:
    """The text without NUL and lone surrogates, which are written out instead."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
