"""The chaos: numbered readings from a foreign field, faults at random instants, books that have to be even after each.

`python -m support.chaos --rounds 200 --seed 1`: a line a round, then the totals as one line of JSON; exit 1 when
anything acknowledged is missing, stored twice, or anything else than what was sent.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from support.chaos.audit import Findings, audit, missing
from support.chaos.book import Book
from support.chaos.faults import ROUND_S, Fault, plan
from support.chaos.house import FieldProcess, House, Saving, Started, headend_run
from support.chaos.numbers import KEEPING_METERS, Numbers

PATIENCE_S: Final = 90.0
"""Until the books are even after a round; longer than any back-off of the head-end's."""
DAYS_BACK: Final = 5
"""The field's clock begins so long ago, and stays in the past."""
FULL_AUDIT_EVERY: Final = 25
"""Rounds between two complete audits."""
KEEPING_SENDERS: Final = frozenset(f"meter-{meter}" for meter in KEEPING_METERS)


@dataclass
class Outcome:
    """What became of a run."""

    seed: int
    rounds: int = 0
    deeds: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)
    uneven: str | None = None
    """Which round's books did not get even."""
    longest_s: float = 0.0
    seconds: float = 0.0
    ingest_starts: int = 0
    role_failures: int = 0

    @property
    def good(self) -> bool:
        """Nothing lost, nothing twice, nothing else than sent."""
        return self.uneven is None and not self.findings.wrong

    def as_json(self) -> dict[str, Any]:
        """One line of figures."""
        return {
            "chaos": "ok" if self.good else "FAILED",
            "seed": self.seed,
            "rounds": self.rounds,
            "seconds": round(self.seconds, 1),
            "longest_recovery_s": round(self.longest_s, 1),
            "acknowledged_lost": self.findings.counts.get("acknowledged and not stored", 0),
            "duplicates": self.findings.counts.get("stored more than once", 0)
            + self.findings.counts.get("counted otherwise than stored", 0),
            **self.findings.totals,
            "ingest_starts": self.ingest_starts,
            "role_failures": self.role_failures,
            "deeds": dict(sorted(self.deeds.items())),
            **({"uneven": self.uneven} if self.uneven else {}),
            **({"wrong": self.findings.wrong, "counts": self.findings.counts} if self.findings.wrong else {}),
        }


def say(line: str) -> None:
    """At once, also into a pipe."""
    print(line, flush=True)


def run(
    directory: Path,
    seed: int,
    faults: Sequence[Sequence[Fault]],
    *,
    command: Started = headend_run,
    saving: Saving = "shipped",
    ingests: int = 2,
    patience_s: float = PATIENCE_S,
) -> Outcome:
    """So many rounds in a directory; ends at the first one whose books do not get even.

    Two ingests share their subscription, which Mosquitto 2.0.11 does not restore when it is started again: until one of
    them is back, what is published has no subscriber. Only MQTT 5 tells a plain publisher so, and a plain publisher
    speaks it here then; to a single ingest, whose subscription is restored, all speak MQTT 3.1.1.
    """
    outcome, began = Outcome(seed), time.monotonic()
    numbers = Numbers((int(time.time()) - DAYS_BACK * 86_400) * 1_000_000)
    directory.mkdir(parents=True, exist_ok=True)
    house = House(directory / "house", ingests=ingests, command=command, saving=saving)
    options = directory / "field.json"
    book = Book(directory / "book.jsonl")
    book.path.touch()
    options.write_text(
        json.dumps(
            {
                "host": "127.0.0.1",
                "port": house.field_line.port,
                "version": 5 if ingests > 1 else 4,
                "base_us": numbers.base_us,
                "seed": seed,
                "book": str(book.path),
            }
        )
    )
    book.doubts = house.doubts
    people: FieldProcess | None = None
    try:
        house.start()
        people = FieldProcess(directory, options)
        for number, of_round in enumerate(faults, 1):
            outcome.rounds = number
            outcome.deeds.update(fault.deed.value for fault in of_round)
            _round(number, len(faults), of_round, house, people, book, numbers, outcome, patience_s)
            if outcome.uneven is not None:
                break
            if number % FULL_AUDIT_EVERY == 0 and audit(house.dsn, book, numbers).wrong:
                break
        outcome.findings = audit(house.dsn, book, numbers)
        if house.saves_in_time and (left := [e for e in book.in_doubt() if e.sender in KEEPING_SENDERS]):
            outcome.findings.wrong["kept by its meter and still in doubt"] = [str(entry) for entry in left[:5]]
    finally:
        outcome.seconds = time.monotonic() - began
        outcome.ingest_starts = sum(ingest.starts for ingest in house.ingests)
        if people is not None:
            people.close()
        house.close()
        outcome.role_failures = sum(i.log.read_bytes().count(b"role failed") for i in house.ingests if i.log.exists())
    return outcome


def _round(
    number: int,
    rounds: int,
    faults: Sequence[Fault],
    house: House,
    people: FieldProcess,
    book: Book,
    numbers: Numbers,
    outcome: Outcome,
    patience_s: float,
) -> None:
    began = time.monotonic()
    people.order("go")
    away = house.suffer(faults)
    time.sleep(max(0.0, began + ROUND_S - time.monotonic()))
    people.order("pause")
    paused = time.monotonic()
    while True:
        answer = json.loads(people.order("how"))
        if answer["open"] == 0:
            short = missing(house.dsn, book, numbers)
            if short == 0:
                break
        else:
            short = -1
        if time.monotonic() - paused > patience_s:
            outcome.uneven = f"round {number}: the field has {answer['open']} open messages, {short} readings differ"
            break
        time.sleep(0.1)
    recovery_s = time.monotonic() - paused
    outcome.longest_s = max(outcome.longest_s, recovery_s)
    house.recover(away)
    deeds = "; ".join(f"{fault.deed.value} at {fault.at_s:.2f} s" for fault in sorted(faults, key=lambda f: f.at_s))
    readings = sum(len(certain) for certain in book.certain.values())
    say(f"round {number}/{rounds}: {deeds}: even after {recovery_s:.1f} s, {readings} readings acknowledged")


def in_all(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The figures of several runs, added up."""
    told = [outcome.as_json() for outcome in outcomes]
    figures = [name for name, value in told[0].items() if isinstance(value, int | float) and name != "seed"]
    longest = max(outcome.longest_s for outcome in outcomes)
    added = {name: round(sum(one[name] for one in told), 1) for name in figures}
    good = all(outcome.good for outcome in outcomes)
    return (
        {"chaos": "ok" if good else "FAILED", "seed": outcomes[0].seed}
        | added
        | {"longest_recovery_s": round(longest, 1)}
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m support.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--workers", type=int, choices=(1, 2), help="ingest processes; unset: half of the rounds each")
    parser.add_argument("--saving", choices=get_args(Saving), default="shipped", help="of the broker's store")
    parser.add_argument("--keep", type=Path, help="where to keep everything; unset: a directory removed at the end")
    options = parser.parse_args()
    directory = options.keep or Path(tempfile.mkdtemp(prefix="headend-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    say(f"seed {options.seed}, {options.rounds} rounds, in {directory}")
    if options.workers is None:
        halves = {2: (options.rounds + 1) // 2, 1: options.rounds // 2}
    else:
        halves = {options.workers: options.rounds}
    outcomes: list[Outcome] = []
    for workers, rounds in halves.items():
        if rounds:
            of_these = plan(options.seed + workers, rounds, workers)
            outcome = run(
                directory / f"workers-{workers}", options.seed, of_these, saving=options.saving, ingests=workers
            )
            say(json.dumps({"workers": workers, **outcome.as_json()}))
            outcomes.append(outcome)
    good = all(outcome.good for outcome in outcomes)
    if len(outcomes) > 1:
        say(json.dumps(in_all(outcomes)))
    if good and options.keep is None:
        shutil.rmtree(directory, ignore_errors=True)
    elif not good:
        say(f"everything is kept in {directory}")
    sys.exit(0 if good else 1)
