"""`headend reconcile FILE…`: the engine on exported data, without database or service; a report as HTML and JSON."""
# ruff: noqa: PLC0415, PLR0917

from __future__ import annotations

import math
import os
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn
from zoneinfo import ZoneInfo

import typer

from headend.cli.common import fail

if TYPE_CHECKING:
    from headend.workbench.load import Loaded, Options

WRONG_INPUT: Final = 2
"""Exit status where a file or an option is not what was expected; findings do not change it."""
REPORT_DIR: Final = Path("reconcile-report")

LAYOUT: Final = """
**Files**, in any number and mix; `.csv`, `.csv.gz`, `.parquet` (extra `parquet`), `.npz`. Delimiter `,` `;` tab `|`, \
byte order mark, decimal commas: all understood. An empty cell is *not measured*, never zero.

**Long**: a row for each meter and instant. Columns: `meter`; `timestamp` (or `interval_start`, `interval_end`); \
`area` where there are several; `role` (`household`, or `area` for the meter at the transformer); and what was read: \
`import_wh` `export_wh` (energy of the interval), or `register_wh` `register_export_wh` (counters, at any instant); \
`voltage_v`, or `voltage_l1_v` … `voltage_l3_v`. For the area meter by phase: `import_l1_wh` `export_l1_wh` … or \
`net_l1_wh` …, or `register_l1_wh` `register_export_l1_wh` …, and busbar voltages `voltage_l1_v` …. \
`_kwh` in place of `_wh` everywhere.

**Wide**: `timestamp`, then a column `METER:QUANTITY` each (`M17:import_kwh`, `M17:voltage_v`, `area:import_kwh`), or \
bare meters' names with `--wide import_kwh`.

**Area meter** in a file of its own: a long table without the column `meter`.

**Meters** (recommended; `june.meters.csv` beside `june.csv` is read by itself): `meter`, `area`, `role`, \
`phases` (1, 3), `multiplier` (of readings that are not primary already), `resolution_wh` and `digits` of the register.

**NPZ**: arrays by name as `reconciliation.AreaWindow` has them, `AREA/` before the names where there are several areas.

Areas of one run are taken for neighbours: a meter listed on the wrong one is looked for on the others. \
Layouts in full: headend/workbench/README.md. Exit status: 0 done, whatever was found; 1 the report could not be \
written, an older one is as it was; 2 wrong input.
"""


def reconcile(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE…", help="Readings, meters, windows.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help=f"Directory for report.html and report.json [default: {REPORT_DIR}].", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the JSON report to stdout; write files only where --out is given.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show the report in the browser.")] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Write a small simulated data set into the directory, and take that.")
    ] = False,
    zone: Annotated[
        str, typer.Option(help="Time zone of local days, and of instants without an offset.")
    ] = "Asia/Shanghai",
    label: Annotated[
        str, typer.Option(help="What `timestamp` names of an energy's interval: start or end.", metavar="start|end")
    ] = "start",
    interval: Annotated[
        float | None,
        typer.Option(help="Length of tables’ intervals [min]; read off the rows where absent.", show_default=False),
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", help="First local day.", formats=["%Y-%m-%d"], show_default=False)
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", help="Last local day.", formats=["%Y-%m-%d"], show_default=False)
    ] = None,
    area_meter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METER", help="Measures what goes into its area, where no file says so.", show_default=False
        ),
    ] = None,
    wide: Annotated[
        str | None,
        typer.Option(
            metavar="QUANTITY", help="What a wide table's bare columns hold: import_kwh …", show_default=False
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Leave a column out.", show_default=False)
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(help="Of CSV files: gb18030 … [default: UTF-8, or by byte order mark]", show_default=False),
    ] = None,
    decimal: Annotated[
        str,
        typer.Option(help="Decimal sign [auto: a comma where cells are parted by anything else].", metavar="auto|.|,"),
    ] = "auto",
    price: Annotated[
        float | None, typer.Option(min=0, help="Of a kWh, to show money at stake.", show_default=False)
    ] = None,
    currency: Annotated[str, typer.Option(help="Of the price.")] = "CNY",
) -> None:
    """Explain the losses of transformer areas from exported readings: why, how much, and which door."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from headend.workbench.errors import WrongInput

    directory = out or (None if as_json else REPORT_DIR)
    given = list(files or [])
    if not given and not example:
        refuse("name at least one file, or --example; --help shows the layouts")
    try:
        options = _options(
            zone=zone, label=label, interval=interval, first=first, last=last, area_meter=area_meter or [],
            wide=wide, ignore=ignore or [], encoding=encoding, decimal=decimal,
        )  # fmt: skip
        if price is not None and not math.isfinite(price):
            raise WrongInput("--price", "an amount of money", found=f"{price:g}")
        if example:
            given = [*_example(directory or REPORT_DIR), *given]
        document = run(given, options, price=price, currency=currency)
    except WrongInput as wrong:
        refuse(str(wrong))
    except OSError as error:
        refuse(f"{error.filename}: {error.strerror}")
    written = _written(document, directory) if directory is not None else None
    if as_json:
        import json

        typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1))
    else:
        _show(document)
        typer.echo(f"report: {written}")
    if open_ and written is not None:
        webbrowser.open(written.resolve().as_uri())


def refuse(message: str) -> NoReturn:
    """End the command with the status of wrong input and a message on stderr."""
    typer.echo(f"headend: {message}", err=True)
    raise typer.Exit(WRONG_INPUT)


def _example(directory: Path) -> list[Path]:
    """Files of the example, written and told."""
    from headend.cli.reconcile_example import write_example

    try:
        made = write_example(directory)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    typer.echo(f"example data: {', '.join(map(str, made))}", err=True)
    return made


def _options(
    *,
    zone: str,
    label: str,
    interval: float | None,
    first: datetime | None,
    last: datetime | None,
    area_meter: Sequence[str],
    wide: str | None,
    ignore: Sequence[str],
    encoding: str | None,
    decimal: str,
) -> Options:
    from headend.workbench.errors import WrongInput
    from headend.workbench.load import Options
    from headend.workbench.windows import Choices, interval_of

    try:
        local = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise WrongInput("--zone", "a zone of the IANA database, such as Europe/Berlin", found=zone) from None
    if label not in ("start", "end"):
        raise WrongInput("--label", "start or end", found=label)
    if decimal not in ("auto", ".", ","):
        raise WrongInput("--decimal", "auto, . or ,", found=decimal)
    if first is not None and last is not None and last < first:
        raise WrongInput("--to", f"a day not before {first.date()}", found=str(last.date()))
    return Options(
        choices=Choices(
            zone=local,
            label=_LABELS[label],
            interval_s=None if interval is None else interval_of(interval),
            first=_day(first),
            last=_day(last),
            area_meters=frozenset(area_meter),
        ),
        encoding=encoding,
        decimal=_DECIMALS[decimal],
        wide=wide,
        ignored=frozenset(name.lower() for name in ignore),
    )


_LABELS: Final[Mapping[str, Literal["start", "end"]]] = {"start": "start", "end": "end"}
_DECIMALS: Final[Mapping[str, Literal["auto", ".", ","]]] = {"auto": "auto", ".": ".", ",": ","}


def _day(at: datetime | None) -> date | None:
    return None if at is None else at.date()


def run(
    files: Sequence[Path], options: Options, *, price: float | None = None, currency: str = "CNY"
) -> dict[str, Any]:
    """Read, analyse, and say it as a document. Raises WrongInput, OSError."""
    from importlib.metadata import version

    from headend.domain.clock import system_clock
    from headend.workbench.document import Frame, document
    from headend.workbench.load import load
    from reconciliation import analyse

    with _progress(files) as (read, working):
        loaded: Loaded = load(files, options, told=read)
        working(f"analysing {len(loaded.windows)} areas, {sum(w.n_meters for w in loaded.windows)} meters")
        reports = analyse(loaded.windows)
    frame = Frame(
        made_at=system_clock(), program=version("headend"), zone=options.choices.zone, price_per_kwh=price,
        currency=currency,
    )  # fmt: skip
    return document(loaded.windows, reports, frame, files=loaded.read, notes=loaded.notes)


@contextmanager
def _progress(files: Sequence[Path]) -> Iterator[tuple[Callable[[Path, int], None], Callable[[str], None]]]:
    """A bar over the files' bytes, then what is being done, on the terminal's stderr; nothing where that is none."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=sum(p.stat().st_size for p in files if p.is_file()) or None)
        done: dict[Path, int] = {}

        def read(path: Path, count: int) -> None:
            done[path] = count
            progress.update(task, description=f"reading {path.name}", completed=sum(done.values()))

        def working(what: str) -> None:
            progress.update(task, description=what, total=None)

        yield read, working


def _written(document: Mapping[str, Any], directory: Path) -> Path:
    """report.html and report.json; the path of the former."""
    import json

    from headend.workbench.html import html
    from headend.workbench.results import write_together

    texts = {
        directory / "report.json": json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        + "\n",
        directory / "report.html": html(document),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_together(texts)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    return directory / "report.html"


def _show(document: Mapping[str, Any]) -> None:
    """A line an area, and what was done to the data."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from headend.web import text

    table = Table(box=box.SIMPLE, pad_edge=False)
    for name, justify in (("area", "left"), ("loss", "right"), ("score", "right"), ("what the data say", "left")):
        table.add_column(name, justify=justify, no_wrap=name != "what the data say")  # type: ignore[arg-type]
    for area in document["areas"]:
        blind = area["report"]["cause"] == "not_computable"
        score = text.MISSING if blind else text.number(area["report"]["anomaly_score"])
        table.add_row(area["area"], text.percent(area["totals"]["loss_rate"]), score, area["verdict"]["en"])
    Console(highlight=False, markup=False).print(table)
    for note in document["notes"]:
        typer.echo(f"note: {note['area'] + ': ' if note['area'] else ''}{note['en']}")
