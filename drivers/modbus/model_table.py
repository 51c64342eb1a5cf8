"""The table of meter models for a person to read: made from the maps, so that it can say nothing else than they do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from drivers.base import IMPORT_TARIFFS, Quantity
from drivers.modbus.features import Features
from drivers.modbus.model import MeterModel

HEADINGS: Final = ("id", "meter", "phases", "transformer ratio", "delivers", "beside that", "manual", "compared with")
_TOTALS: Final = (
    ("import", "import_wh"),
    ("export", "export_wh"),
    ("power", "power_w"),
    ("power factor", "power_factor"),
    ("frequency", "frequency_hz"),
    ("CT ratio", "ct_ratio"),
    ("serial", "serial"),
    ("firmware", "firmware"),
)
_PER_PHASE: Final = (
    ("import", "import_l{}_wh"),
    ("export", "export_l{}_wh"),
    ("voltage", "voltage_l{}_v"),
    ("current", "current_l{}_a"),
    ("power", "power_l{}_w"),
)


def row(model: MeterModel) -> tuple[str, ...]:
    """One model's cells, in the order of HEADINGS."""
    return (
        model.id,
        f"{model.manufacturer} {model.name}",
        str(model.phases),
        model.transformer_ratio.value.replace("_", " "),
        delivers(model),
        beside(model.features),
        f"{model.manual.title}; {model.manual.where}",
        "; ".join(model.sources),
    )


def delivers(model: MeterModel) -> str:
    """What can be measured, in a few words: `import, export, power; per phase import, voltage`."""
    has = model.quantities
    totals = [name for name, quantity in _TOTALS if Quantity(quantity) in has]
    phases = [name for name, pattern in _PER_PHASE if any(Quantity(pattern.format(p)) in has for p in (1, 2, 3))]
    if rates := sum(quantity in has for quantity in IMPORT_TARIFFS):
        totals.append(f"import of {rates} rates")
    if model.phases == 1:
        return ", ".join([*totals, *phases])
    return "; per phase ".join(", ".join(names) for names in (totals, phases) if names)


def beside(features: Features) -> str:
    """What it can do beside being measured: `clock (set), relay, status, profile (day)`; a dash for nothing."""
    found = []
    if features.clock is not None:
        found.append("clock" if features.clock.write is None else "clock (set)")
    found += [
        n for n, given in (("relay", features.relay), ("tariff", features.tariff), ("status", features.status)) if given
    ]
    if features.profile is not None:
        period_s = features.profile.period_s
        found.append("profile (day)" if period_s == 86_400 else f"profile ({period_s // 60} min)")
    return ", ".join(found) or "–"


def markdown(models: Iterable[MeterModel]) -> str:
    """The whole table, by id; a line break at its end."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(row(m) for m in sorted(models, key=lambda m: m.id))]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n" for cells in rows)
