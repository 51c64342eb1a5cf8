"""The table of payload maps for a person to read: made from the maps, so that it can say nothing else than they do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from drivers.mqtt.payload_map import MessageRule, PayloadMap

HEADINGS: Final = ("id", "devices", "topics", "delivers", "stamped by", "documentation", "compared with")
_PHASE: Final = re.compile(r"_l[123]_")
_RATE: Final = re.compile(r"_t[1-8]_")


def row(map_: PayloadMap) -> tuple[str, ...]:
    """One map's cells, in the order of HEADINGS."""
    read = [rule for rule in map_.messages if rule.ignore is None]
    return (
        map_.map_id,
        map_.name,
        ", ".join(dict.fromkeys(f"`{rule.topic.text}`" for rule in read)),
        delivers(read),
        ", ".join(dict.fromkeys(_stamp(rule) for rule in read if rule.values)),
        map_.manual,
        "; ".join(map_.sources),
    )


def delivers(rules: Iterable[MessageRule]) -> str:
    """`import_wh (kWh), …; events communication_lost, …`: quantities with the units that the maker writes them in."""
    rules = list(rules)
    quantities = dict.fromkeys(
        f"{_RATE.sub('_t1…8_', _PHASE.sub('_l1…3_', q.value))} ({v.unit})"
        for rule in rules
        for q, v in rule.values.items()
    )
    kinds = dict.fromkeys(
        kind.value for rule in rules for event in rule.events for kind in (event.set, event.cleared) if kind is not None
    )
    told = [", ".join(quantities)] + ([f"events {', '.join(kinds)}"] if kinds else [])
    return "; ".join(part for part in told if part)


def _stamp(rule: MessageRule) -> str:
    """`Time (local, ± 1 s), arrival (± 5 s)`."""
    return ", ".join(
        f"{'' if s.at is None else s.at.text + ' '}({s.format.value}, ± {s.uncertainty_ms / 1000:g} s)"
        for s in rule.stamps
    )


def markdown(maps: Iterable[PayloadMap]) -> str:
    """The whole table, by id; a line break at its end."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(row(m) for m in sorted(maps, key=lambda m: m.map_id))]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n" for cells in rows)
