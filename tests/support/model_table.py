"""Writes the table of meter models into drivers/modbus/maps/README.md anew: `python tests/support/model_table.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from drivers.modbus.map_file import load_models
from drivers.modbus.model_table import markdown

README: Final = Path(__file__).parents[2] / "drivers" / "modbus" / "maps" / "README.md"
BEGIN: Final = "<!-- models: made by tests/support/model_table.py from the files beside this one -->\n"
END: Final = "<!-- end of models -->\n"


def with_table(text: str) -> str:
    """The README's text, its table as the maps would have it."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + markdown(load_models().values()) + END + after


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
