"""`headend quarantine`: what could not be understood, searched, looked at, replayed."""
# ruff: noqa: PLC0415, PLR0917

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headend.cli.common import Config, fail, settings_of

if TYPE_CHECKING:
    from headend.ingest.quarantine import Batch, Quarantine, Replayed, Summary
    from headend.settings import Settings
    from headend.store.quarantine import Search, State

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="What could not be understood: search it, look at it, replay it.",
)

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

Reason = Annotated[str | None, typer.Option(help="Only this reason, such as unknown_meter.")]
Source = Annotated[str | None, typer.Option(help="Only mqtt, or only modbus.")]
Origin = Annotated[
    str | None, typer.Option(help="Only origins (topics, bus addresses) that begin so; * stands for anything.")
]
Device = Annotated[
    str | None, typer.Option(help="Only what names this unknown device: MANUFACTURER/SERIAL, or a concentrator's code.")
]
Detail = Annotated[str | None, typer.Option(help="Only where the detail holds this, in upper or lower case.")]
Content = Annotated[str | None, typer.Option(help="Only where the payload holds this text, or 0x… these bytes.")]
Since = Annotated[
    datetime | None, typer.Option(help="Only what came then or later; local without offset.", formats=_FORMATS)
]
Until = Annotated[datetime | None, typer.Option(help="Only what came before.", formats=_FORMATS)]
AsJson = Annotated[bool, typer.Option("--json", help="A JSON object a line.")]


@contextmanager
def _opened(config: Path | None) -> Iterator[tuple[Settings, Quarantine]]:
    settings = settings_of(config)
    from drivers.errors import DriverConfigError
    from headend.domain.clock import system_clock
    from headend.ingest.quarantine import Quarantine
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    try:
        with Store(settings.database.dsn, pool_max=2, prepare=settings.database.prepare) as store:
            yield settings, Quarantine(store, settings, system_clock)
    except DriverConfigError as error:
        fail(f"payload maps: {error}")
    except StoreError as error:
        fail(f"database: {error}")


def _search(settings: Settings, **said: Any) -> Search:
    """What the options say; instants without an offset are the settlement zone's."""
    from zoneinfo import ZoneInfo

    from headend.store.quarantine import Search, content_of

    for key in ("since", "until"):
        if said[key] is not None and said[key].tzinfo is None:
            said[key] = said[key].replace(tzinfo=ZoneInfo(settings.settlement.zone))
    if said["content"] is not None:
        said["content"] = content_of(said["content"])
    return Search(**said)


@app.command("list")
def list_(
    config: Config = None,
    reason: Reason = None,
    source: Source = None,
    origin: Origin = None,
    device: Device = None,
    detail: Detail = None,
    content: Content = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was answered already.")] = False,
    closed: Annotated[bool, typer.Option("--closed", help="Only what was answered already.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    before: Annotated[int | None, typer.Option(help="Only numbers below: the next page.", min=1)] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="How many are open of each reason, and what was not kept, instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Messages in the quarantine, newest first."""
    with _opened(config) as (settings, quarantine):
        if summary:
            _summary_of_all(quarantine, as_json=as_json)
            return
        wanted = _search(
            settings, reason=reason, source=source, origin=origin, device=device, detail=detail, content=content,
            since=since, until=until,
        )  # fmt: skip
        state: State = "closed" if closed else "all" if everything else "open"
        found = quarantine.search(wanted, state=state, before=before, limit=limit)
        for row in found.rows:
            if as_json:
                typer.echo(_json(row))
                continue
            received = row["received_at"].isoformat(timespec="seconds")
            typer.echo(f"{row['quarantine_id']:>8}  {received}  {row['reason']:<20} {row['origin']}")
            typer.echo(f"          {row['detail']}")
        if found.before is not None:
            so_far = f"looked back to {found.looked_back_to:%Y-%m-%d %H:%M %Z}; " if found.looked_back_to else ""
            typer.echo(f"{so_far}there is more: --before {found.before}", err=True)


@app.command()
def show(
    number: Annotated[int, typer.Argument(help="Number from the list.")],
    config: Config = None,
    raw: Annotated[bool, typer.Option("--raw", help="Only the payload, byte for byte.")] = False,
    as_json: AsJson = False,
) -> None:
    """One message: why it is here, and its payload (text as text, anything else as a hex dump)."""
    with _opened(config) as (_, quarantine):
        row = quarantine.show(number)
        if row is None:
            fail(f"quarantine has no message {number}")
        payload = bytes(row.pop("payload"))
        if raw:
            sys.stdout.buffer.write(payload)
            sys.stdout.buffer.flush()
            return
        if as_json:
            typer.echo(_json(row | {"payload_base64": base64.b64encode(payload).decode()}))
            return
        for name, value in row.items():
            typer.echo(f"{name}: {value}")
        typer.echo("")
        from headend.web.payload import whole

        typer.echo(whole(payload))


@app.command()
def replay(
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers from the list; none with a filter.")] = None,
    config: Config = None,
    reason: Reason = None,
    source: Source = None,
    origin: Origin = None,
    device: Device = None,
    detail: Detail = None,
    content: Content = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that is open.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would happen: every batch is undone again.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the summary.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try messages again, once their cause is mended; what is understood now is stored, the rest stays.

    In the order in which they came, and safe while the head-end runs: nothing is stored twice, and whoever was
    interrupted starts it again. Exit status 0: everything was understood; 1: something stays, or it could not be done.
    """
    said = {
        "reason": reason, "source": source, "origin": origin, "device": device, "detail": detail, "content": content,
        "since": since, "until": until,
    }  # fmt: skip
    filtered = any(value is not None for value in said.values())
    if not numbers and not filtered and not everything:
        fail("say which: numbers, --reason or --origin, another filter, or --all")
    if numbers and (filtered or everything):
        fail("numbers or a filter, not both")
    with _opened(config) as (settings, quarantine):
        from headend.ingest.quarantine import SINGLY, Summary
        from headend.store.errors import StoreError

        done = Summary()
        try:
            if numbers:
                total, batches = len(set(numbers)), quarantine.replay_named(numbers, rehearse=dry_run)
            else:
                wanted = _search(settings, **said)
                total = quarantine.count(wanted)
                batches = quarantine.replay_all(wanted, singly=total <= SINGLY, rehearse=dry_run)
            for batch in _with_progress(batches, total):
                done.add(batch)
                for message in () if quiet else batch.messages:
                    typer.echo(_json(_as_object(message)) if as_json else _line(message))
        except LookupError as error:
            fail(str(error))
        except StoreError as error:
            if not done.messages:
                raise
            fail(f"database: {error}; {done.messages} of {total} messages were done by then: run it again to go on")
        _tell(done, dry_run=dry_run)
    raise typer.Exit(1 if done.left else 0)


def _with_progress(batches: Iterator[Batch], total: int) -> Iterator[Batch]:
    """The batches, with a bar on a terminal that looks at stderr."""
    if not sys.stderr.isatty():
        yield from batches
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        for batch in batches:
            yield batch
            bar.advance(task, len(batch.messages))


def _line(message: Replayed) -> str:
    from headend.ingest.quarantine import Outcome

    why = "; ".join(entry.detail for entry in message.still)
    said = {
        Outcome.UNDERSTOOD: "",
        Outcome.STAYS: f"stays: {why}",
        Outcome.BECAME: f"now {message.became}: {why}",
        Outcome.ELSEWHERE: "left to another replay",
    }[message.outcome]
    counts = "" if message.stored is None else f"{message.stored} stored, {message.duplicates} known already"
    return f"{message.quarantine_id}: {', '.join(filter(None, (counts, said))) or 'understood'}"


def _tell(done: Summary, *, dry_run: bool) -> None:
    from headend.ingest.quarantine import Outcome

    words = {
        Outcome.UNDERSTOOD: "understood",
        Outcome.BECAME: "in here for another reason now",
        Outcome.STAYS: "stay",
        Outcome.ELSEWHERE: "left to another replay",
    }
    parts = [f"{done.outcomes[outcome]} {word}" for outcome, word in words.items() if done.outcomes[outcome]]
    parts.append(f"readings: {done.stored} stored, {done.duplicates} known already")
    head = f"{done.messages} messages" + (", if it were done" if dry_run else "")
    typer.echo(f"{head}: {'; '.join(parts)}", err=True)
    for reason, count in done.reasons.most_common():
        typer.echo(f"  {reason}: {count}", err=True)


def _summary_of_all(quarantine: Quarantine, *, as_json: bool) -> None:
    counts, given_up = quarantine.summary()
    if as_json:
        typer.echo(_json({"open": counts, "given_up": given_up}))
        return
    for row in counts:
        typer.echo(f"{row['messages']:>10}  {row['reason']:<24} {row['bytes']:>14} bytes")
    for row in given_up:
        origin = row["origin"] or "(origins of whom nothing is left)"
        last = row["last_at"].isoformat(timespec="seconds")
        typer.echo(f"{row['messages']:>10}  {row['reason']:<24} not kept ({row['why']}), last {last}  {origin}")


def _as_object(message: Replayed) -> dict[str, Any]:
    return {
        "quarantine_id": message.quarantine_id,
        "outcome": message.outcome,
        "became_id": message.became,
        "stored": message.stored,
        "known_already": message.duplicates,
        "still": [{"reason": entry.reason, "detail": entry.detail} for entry in message.still],
    }


def _json(row: dict[str, Any] | Sequence[Any]) -> str:
    return json.dumps(row, ensure_ascii=False, default=lambda value: value.isoformat())
