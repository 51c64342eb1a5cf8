"""The shipped import template as bytes, and a way to read changed copies of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from headend.ingest.topology_csv import SHEETS, Table, read_sheet

TEMPLATE = Path(__file__).parents[3] / "config" / "import-template"

Files = dict[str, str]


@pytest.fixture
def files() -> Files:
    """Text of the template's files by name: change what a test is about."""
    return {sheet.file: (TEMPLATE / sheet.file).read_text(encoding="utf-8") for sheet in SHEETS}


@pytest.fixture
def tables() -> Callable[[Mapping[str, str]], dict[str, Table]]:
    def read(texts: Mapping[str, str]) -> dict[str, Table]:
        return {s.file: read_sheet(s, texts[s.file].encode()) for s in SHEETS if s.file in texts}

    return read
