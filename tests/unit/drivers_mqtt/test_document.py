"""Paths into a decoded message: what they find, what they refuse."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from drivers.errors import PayloadError
from drivers.mqtt.document import PathError, parse_path

DOCUMENT: dict[str, Any] = {
    "a": {"b": 1, "em:0": {"v": 2}, "1.8.0": 3},
    "list": [10, {"x": 11}, None],
    "obis": [{"code": "1.8.0", "n": 1}, {"code": "2.8.0", "n": 2}, "noise", {"code": 7, "n": 3}, {"n": 4}],
    "twice": [{"k": "a"}, {"k": "a"}],
    "phases": [Decimal("1.5"), 2],
    "null": None,
    "lone": 5,
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b", 1),
        ('a."em:0".v', 2),
        ("a.em:0.v", 2),
        ('a."1.8.0"', 3),
        ("list[0]", 10),
        ("list[1].x", 11),
        ("list[2]", None),
        ("list[9]", None),
        ("obis[code=2.8.0].n", 2),
        ("obis[code=7].n", 3),
        ("obis[code=3.8.0].n", None),
        ("phases[*]", [Decimal("1.5"), 2]),
        ("lone[*]", [5]),
        ("lone[0]", 5),
        ("lone[1]", None),
        ("null.x", None),
        ("a.missing.deeper", None),
        ("$", DOCUMENT),
    ],
)
def test_found(path: str, found: Any) -> None:
    assert parse_path(path).find(DOCUMENT, "t") == found


@pytest.mark.parametrize(
    ("path", "reason", "where"),
    [
        ("a.b.c", "wrong_type", "'c' is looked for in int '1'"),
        ("list.x", "wrong_type", "no object"),
        ("a[0]", "wrong_type", "no list"),
        ("a[*]", "wrong_type", "no list"),
        ("twice[k=a]", "bad_shape", "stands 2 times"),
    ],
)
def test_another_shape_is_refused(path: str, reason: str, where: str) -> None:
    with pytest.raises(PayloadError, match=r"^topic: ") as refused:
        parse_path(path).find(DOCUMENT, "topic")
    assert refused.value.reason == reason
    assert where in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", ".", "a.", "a..b", " a", "[*].a", "a[*][0]", "a[x]", 'a"b"', "a[-1]", '"open', "a[=1]"]
)
def test_a_path_that_cannot_be_read(text: str) -> None:
    with pytest.raises(PathError, match="wanted"):
        parse_path(text)
