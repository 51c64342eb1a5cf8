"""JSON as strictly as a meter's message deserves: one document, no key twice, no NaN; PayloadError otherwise.

Two parsers would be one too many on the hot path, so a key given twice (of which msgspec keeps the last in silence) is
first looked for by counting: only where the count leaves doubt is the text parsed again, pair by pair.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

import msgspec

from drivers.errors import PayloadError

_T = TypeVar("_T")

_KEYS: Final = re.compile(rb'"\s*:')
"""The end of a key; of a string that begins with a colon too, which only costs the second look."""


class _KeyTwice(ValueError):
    """The key that stands twice in one object."""


def _decimal(text: str) -> Decimal:
    """Exact; an exponent that no Decimal holds is infinite, which measures nothing."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


_documents: Final = msgspec.json.Decoder(float_hook=_decimal)


def decode_typed(decoder: msgspec.json.Decoder[_T], payload: bytes, topic: str) -> _T:
    """A message of the own format. Raises PayloadError with msgspec's own words for what is wrong and where."""
    try:
        message = decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise PayloadError(str(error), peer=topic, reason=_reason(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"not JSON: {error}", peer=topic, reason="not_json") from error
    if b"\\" in payload or len(_KEYS.findall(payload)) != len(_KEYS.findall(msgspec.json.encode(message))):
        _check_keys(payload, topic)
    return message


def decode_document(payload: bytes, topic: str) -> Any:
    """Any JSON: dict, list, str, bool, None, int, and Decimal for whatever has a point or an exponent."""
    try:
        document = _documents.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # ValidationError is a DecodeError
        raise PayloadError(f"not JSON: {error}", peer=topic, reason="not_json") from error
    _check_keys(payload, topic)
    return document


def _check_keys(payload: bytes, topic: str) -> None:
    try:
        json.loads(payload.decode(), object_pairs_hook=_unique, parse_int=str, parse_float=str)
    except _KeyTwice as error:
        raise PayloadError(f"{error} stands twice in one object", peer=topic, reason="duplicate_key") from error
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"not JSON: {error}", peer=topic, reason="not_json") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        raise _KeyTwice(repr(next(key for key, _ in pairs if key in seen or seen.add(key))[:80]))  # type: ignore[func-returns-value]
    return found


def _reason(complaint: str) -> str:
    """Machine word for msgspec's sentence; its wording is pinned by the tests."""
    for words, reason in (
        ("unknown field", "unknown_key"),
        ("missing required field", "missing_key"),
        ("of length", "bad_shape"),
        ("RFC3339", "bad_timestamp"),
        ("timezone", "bad_timestamp"),
        ("out of range", "out_of_range"),
        (">", "out_of_range"),
        ("<=", "out_of_range"),
    ):
        if words in complaint:
            return reason
    return "wrong_type"
