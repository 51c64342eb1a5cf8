"""Packing a picture changes no sample of it, whichever filters it was written with."""

from __future__ import annotations

import random
import struct
import zlib

import pytest

from headend.web.png_pack import packed

SEED = 7


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(rows: list[bytes], step: int, filters: list[int], level: int = 0) -> bytes:
    """A picture written row by row with the given filters, forwards as the specification has it."""
    width = len(rows[0]) // step
    data, above = bytearray(), bytes(len(rows[0]))
    for row, method in zip(rows, filters, strict=True):
        data.append(method)
        for i, sample in enumerate(row):
            a = row[i - step] if i >= step else 0
            b, c = above[i], above[i - step] if i >= step else 0
            p = a + b - c
            near = sorted((abs(p - v), order, v) for order, v in enumerate((a, b, c)))[0][2]
            data.append((sample - (0, a, b, (a + b) // 2, near)[method]) & 0xFF)
        above = row
    head = struct.pack(">IIBBBBB", width, len(rows), 8, {3: 2, 4: 6}[step], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"tEXt", b"a\0b")
        + _chunk(b"IDAT", zlib.compress(bytes(data), level)) + _chunk(b"IEND", b"")
    )  # fmt: skip


def _samples(png: bytes, size: int) -> list[bytes]:
    at = png.index(b"IDAT")
    (length,) = struct.unpack_from(">I", png, at - 4)
    data = zlib.decompress(png[at + 4 : at + 4 + length])
    assert set(data[:: size + 1]) == {0}
    return [data[k + 1 : k + 1 + size] for k in range(0, len(data), size + 1)]


@pytest.mark.parametrize("step", [3, 4])
def test_every_filter_is_undone(step: int) -> None:
    rng = random.Random(SEED)
    print("seed", SEED)
    rows = [bytes(rng.choice((0, 90, 200, 255)) for _ in range(20 * step)) for _ in range(25)]
    made = packed(png := _png(rows, step, [k % 5 for k in range(25)]))
    assert len(made) < len(png)
    assert _samples(made, 20 * step) == rows


def test_what_gains_nothing_or_is_something_else_stays_as_it_is() -> None:
    flat = _png([bytes(30)] * 10, 3, [0] * 10, level=9)
    best = packed(flat)
    assert packed(best) == best
    assert packed(b"no picture") == b"no picture"
    palette = flat.replace(struct.pack(">BB", 8, 2), struct.pack(">BB", 8, 3), 1)
    assert packed(palette) == palette
