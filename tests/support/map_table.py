"""Writes the table of payload maps into drivers/mqtt/payloads/README.md anew: `python tests/support/map_table.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from drivers.mqtt.map_file import load_maps
from drivers.mqtt.map_table import markdown

README: Final = Path(__file__).parents[2] / "drivers" / "mqtt" / "payloads" / "README.md"
BEGIN: Final = "<!-- maps: made by tests/support/map_table.py from the files beside this one -->\n"
END: Final = "<!-- end of maps -->\n"


def with_table(text: str) -> str:
    """The README's text, its table as the maps would have it."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + markdown(load_maps()) + END + after


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
