"""A message's bytes as a person can look at them: text where it is text, a hex dump where it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_SHOWN: Final = 16_384
"""Bytes on a page; the whole message is a download."""
_PER_LINE: Final = 16


@dataclass(frozen=True, slots=True)
class Shown:
    """What a page shows of a payload."""

    text: str
    size: int
    """Of the whole payload [bytes]."""
    kind: str
    """`text` or `bytes`."""
    cut: bool
    """There is more than is shown."""


def shown(payload: bytes) -> Shown:
    """The beginning of a payload, unchanged: nothing is put in order, so that what is wrong with it stays visible."""
    head = payload[:MOST_SHOWN]
    cut = len(payload) > MOST_SHOWN
    text = _as_text(head, cut)
    if text is None:
        return Shown(hex_dump(head), len(payload), "bytes", cut)
    return Shown(text, len(payload), "text", cut)


def whole(payload: bytes) -> str:
    """All of it, for a terminal. Some bytes that are no UTF-8 stand as \\xNN in what is text otherwise."""
    text = payload.decode("utf-8", "backslashreplace")
    spoilt = len(payload) - len(payload.decode("utf-8", "ignore").encode())
    if 2 * spoilt > len(payload) or not all(c.isprintable() or c in "\n\r\t" for c in text):
        return hex_dump(payload)
    return text


def _as_text(head: bytes, cut: bool) -> str | None:
    """UTF-8 text, or None. A character that the cut has split is left off."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if not (cut and error.reason == "unexpected end of data"):
            return None
        text = head[: error.start].decode("utf-8")
    return text if all(c.isprintable() or c in "\n\r\t" for c in text) else None


def hex_dump(data: bytes) -> str:
    """Sixteen bytes a line: where they stand, what they are, and as ASCII."""
    lines = []
    for at in range(0, len(data), _PER_LINE):
        row = data[at : at + _PER_LINE]
        plain = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in row)
        lines.append(f"{at:06x}  {row.hex(' '):<{3 * _PER_LINE - 1}}  {plain}")
    return "\n".join(lines)
