"""The import template's README names exactly the files and columns that the importer reads."""

from __future__ import annotations

import re
from pathlib import Path

from headend.ingest.topology_csv import SHEETS

README = Path(__file__).parents[3] / "config" / "import-template" / "README.md"


def test_every_column_is_documented_as_it_is() -> None:
    text = README.read_text(encoding="utf-8")
    parts = re.split(r"^## (\S+\.csv)( \(required\))?$", text, flags=re.MULTILINE)[1:]
    documented = {
        (file, bool(required)): re.findall(r"^\| `(\w+)`( \*)? \|", body, flags=re.MULTILINE)
        for file, required, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }
    assert documented == {
        (s.file, s.required): [(c.name, " *" if c.required else "") for c in s.columns] for s in SHEETS
    }


def test_the_example_has_every_file() -> None:
    assert {p.name for p in README.parent.glob("*.csv")} == {sheet.file for sheet in SHEETS}
