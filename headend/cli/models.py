"""`headend models`: the register maps there are, and whether a new one is right before it meets a meter."""
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headend.cli.common import fail

if TYPE_CHECKING:
    from drivers.modbus.model import MeterModel

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Register maps of meter models: list them, look at one, check a new one.",
)

ModelsDir = Annotated[Path | None, typer.Option(help="Register maps of your own.", file_okay=False)]


@app.command("list")
def list_(models_dir: ModelsDir = None) -> None:
    """Every model: its id, what it is, requests a round takes, what it can do beside being measured."""
    models = _loaded(models_dir)
    width = max(map(len, models))
    for model in models.values():
        typer.echo(f"{model.id:<{width}}  {model.phases} ph  {_requests(model):>2} req  {_title(model)}")
        if can := _abilities(model):
            typer.echo(f"{'':<{width}}  {', '.join(can)}")
    typer.echo(f"{len(models)} models")


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Id, or the end of it: sdm630.")], models_dir: ModelsDir = None
) -> None:
    """One model: where it is from, its limits, its registers, and the requests that one round makes."""
    from drivers.errors import DriverConfigError
    from headend.ingest.probe_modbus import find_model

    try:
        chosen = find_model(_loaded(models_dir), model)
    except DriverConfigError as error:
        fail(str(error))
    typer.echo("\n".join(_described(chosen)))


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Register maps (*.toml).", dir_okay=False)],
    models_dir: ModelsDir = None,
) -> None:
    """Check maps as strictly as the service does: an error names file, line, key and what would be right.

    Exits 1 when a map is wrong. What is right but worth a thought is said with a `!`.
    """
    from drivers.errors import DriverConfigError
    from drivers.modbus.map_file import load_model

    known = dict(_loaded(models_dir))
    wrong = 0
    for file in files:
        try:
            model = load_model(file)
        except DriverConfigError as error:
            wrong += 1
            typer.echo(str(error), err=True)
            continue
        typer.echo(
            f"{file}: {model.id}, {_title(model)}: {len(model.registers)} registers, {_requests(model)} requests"
        )
        for remark in _remarks(model, known):
            typer.echo(f"  ! {remark}")
        known.setdefault(model.id, model)
    raise typer.Exit(1 if wrong else 0)


def _loaded(models_dir: Path | None) -> Mapping[str, MeterModel]:
    from drivers.errors import DriverConfigError
    from drivers.modbus.map_file import load_models

    try:
        return load_models(models_dir)
    except DriverConfigError as error:
        fail(str(error))


def _title(model: MeterModel) -> str:
    return f"{model.manufacturer} {model.name}"


def _requests(model: MeterModel) -> int:
    from drivers.modbus.plan import plan

    return len(plan(model.registers, model.limits))


def _abilities(model: MeterModel) -> list[str]:
    """What a map describes beside measurements, in words."""
    features = model.features
    told = []
    if features.clock is not None:
        told.append("clock" if features.clock.write is not None else "clock (read only)")
    if features.relay is not None:
        told.append("relay")
    if features.tariff is not None:
        told.append("tariff switch")
    if features.status:
        told.append("status bits")
    if (profile := features.profile) is not None:
        every = "day" if profile.period_s == 86_400 else f"{profile.period_s} s"
        told.append(f"stored profile ({profile.records} records, one each {every})")
    return told


def _described(model: MeterModel) -> list[str]:
    from drivers.modbus.plan import plan

    lines = [
        f"{model.id}: {_title(model)}, {model.phases} phase{'s' if model.phases > 1 else ''}",
        f"  transformer ratio: {model.transformer_ratio.value}",
        f"  manual: {model.manual.title}; {model.manual.where}",
        *(f"  compared with: {source}" for source in model.sources),
        f"  firmware: {' '.join(model.firmware_notes.split())}",
        *(f"  can: {ability}" for ability in _abilities(model)),
        "",
    ]
    for spec in model.registers:
        where = f"{spec.table.value} 0x{spec.address:04X}"
        kind = f"{spec.type.value} x {spec.count}" if spec.count > 4 else spec.type.value
        scale = "" if spec.scale == 1 else f"x {float(spec.scale):g} "
        step = f", step {float(spec.resolution):g}" if spec.resolution else ""
        lines.append(f"  {spec.quantity.value:<14} {where:<16} {kind:<8} {scale}{spec.unit}{step}")
    lines += ["", "  one round asks for:"]
    lines += [f"    {block}, {block.count} registers" for block in plan(model.registers, model.limits)]
    return lines


def _remarks(model: MeterModel, known: Mapping[str, MeterModel]) -> list[str]:
    """What a map may be and yet surprise somebody."""
    from drivers.base import Quantity
    from drivers.modbus.codec import step
    from drivers.modbus.register_map import ENERGIES

    told = []
    if known.get(model.id, model) != model:
        told.append(f"id {model.id} is taken by {_title(known[model.id])}: the service refuses a second one")
    if not model.quantities & {Quantity.IMPORT_WH, Quantity.EXPORT_WH}:
        told.append("no import_wh and no export_wh: nothing of it can be settled")
    if Quantity.SERIAL not in model.quantities:
        told.append("no serial: an exchanged meter is not noticed, and commissioning cannot compare it")
    if not any(q.value.startswith("voltage_") for q in model.quantities):
        told.append("no voltage: less is found about losses, and commissioning cannot check it")
    at = 100_000_000
    coarse = [(s, step(s, at)) for s in model.registers if s.quantity in ENERGIES]
    return told + [
        f"{s.quantity.value}: a {s.type.value} shows steps of {wh:g} Wh at 100,000 kWh"
        for s, wh in coarse
        if wh > 2 * float(s.resolution)
    ]
