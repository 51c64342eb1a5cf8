"""`python -m drivers.simulator export|run`: the neighbourhood on paper, and the neighbourhood alive."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from drivers.errors import DriverConfigError
from drivers.simulator.days import from_us, to_us
from drivers.simulator.devices import Devices
from drivers.simulator.export import write_import_files, write_truth
from drivers.simulator.faults import Stranger
from drivers.simulator.live import LiveMeters
from drivers.simulator.meter_bus import MeterBus, meter_buses
from drivers.simulator.modbus_server import start_gateways
from drivers.simulator.modem import Modem
from drivers.simulator.mqtt_publisher import Concentrator
from drivers.simulator.profile import Profiles
from drivers.simulator.scenario import ModemGateway, Scenario, demo_scenario, load_scenario
from drivers.simulator.self_publishing import SinglePublishers, StrangerPublisher
from drivers.simulator.state import StateDir, StateError, write_atomically
from drivers.simulator.stranger import StrangerDevice
from drivers.simulator.world import World


def _ports(text: str) -> tuple[int, ...]:
    ports = tuple(int(p) for p in text.split(","))
    if any(not 0 <= p <= 65535 for p in ports):
        raise argparse.ArgumentTypeError(f"{text!r}: ports are 0..65535 (0 = any free one)")
    return ports


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: wanted HOST:PORT")
    return host, int(port)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted an instant with its offset, such as 2026-11-23T05:00:00Z")
    return instant


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m drivers.simulator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--scenario", type=Path, default=demo_scenario(), help="TOML file (default: the demonstration's)"
    )
    common.add_argument("--state", type=Path, required=True, help="directory that outlives the process")
    common.add_argument("--seed", type=int, help="instead of the scenario's; the same one each time")
    common.add_argument("--epoch", type=_instant, help="first start, where the state has none yet (default: now)")
    common.add_argument(
        "--modbus-ports",
        type=_ports,
        required=True,
        help="one for each area, with commas; a modem has no use for its own",
    )
    export = commands.add_parser("export", parents=[common], help="write import files and truth.json")
    export.add_argument("--out", type=Path, required=True, help="directory to write to")
    export.add_argument("--host", default="127.0.0.1", help="where the head-end will find the gateways")
    run = commands.add_parser("run", parents=[common], help="answer Modbus, upload and publish over MQTT")
    run.add_argument("--mqtt", type=_address, required=True, metavar="HOST:PORT")
    run.add_argument("--modbus-host", default="127.0.0.1")
    run.add_argument(
        "--dialin", type=_address, metavar="HOST:PORT", help="where modems connect to; wanted where an area has one"
    )
    run.add_argument("--prefix", default="headend/v1", help="of all topics")
    run.add_argument("--ready-file", type=Path, help="written once everything listens")
    run.add_argument("--die-with-stdin", action="store_true", help="stop when standard input closes")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 something a person has to mend."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        scenario: Scenario = load_scenario(args.scenario)
        if args.seed is not None:
            scenario = msgspec.structs.replace(scenario, seed=args.seed)
        if len(args.modbus_ports) != len(scenario.areas):
            raise DriverConfigError(f"--modbus-ports: {len(args.modbus_ports)} for {len(scenario.areas)} areas")
        state = StateDir(args.state)
        world = state.world(scenario, to_us(args.epoch or datetime.now(UTC)))
        if args.command == "export":
            write_import_files(world, args.out, host=args.host, ports=args.modbus_ports)
            write_truth(world, args.out)
            return 0
        if args.dialin is None and any(isinstance(a.gateway, ModemGateway) for a in scenario.areas):
            raise DriverConfigError("--dialin: missing; wanted HOST:PORT, an area of the scenario has a modem")
        asyncio.run(_run(world, state, args))
    except (DriverConfigError, StateError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


async def _run(world: World, state: StateDir, args: argparse.Namespace) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if args.die_with_stdin:
        threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True).start()
    await asyncio.to_thread(world.day, world.days.of(_now_us()))
    await asyncio.to_thread(state.keep_prefix, world)
    buses = meter_buses(Devices(world, state.changed(), state.keep_changed), _now_us)
    gateways = await start_gateways(world, args.modbus_host, args.modbus_ports, _now_us, buses)
    roles = [*_over_mqtt(world, state, args, stop), *(m.run(stop) for m in _modems(world, buses, args))]
    if args.ready_file:
        ready = {
            "pid": os.getpid(),
            "modbus_ports": [p for _, p in gateways],
            "epoch": from_us(world.epoch_us).isoformat(),
        }
        write_atomically(args.ready_file, json.dumps(ready).encode())
    try:
        tasks = [asyncio.create_task(role) for role in [*roles, _keep_days(world, state, stop)]]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        stop.set()  # one that failed takes the others with it, in order
        await asyncio.gather(*tasks)
    finally:
        for gateway, _ in gateways:
            await gateway.stop()


def _over_mqtt(
    world: World, state: StateDir, args: argparse.Namespace, stop: asyncio.Event
) -> list[Coroutine[Any, Any, None]]:
    host, port = args.mqtt
    roles = []
    for area in range(len(world.scenario.areas)):
        own = {"host": host, "port": port, "prefix": args.prefix, "now_us": _now_us}
        roles.append(Concentrator(Profiles(world, area), state, **own).run(stop))
        roles.append(SinglePublishers(world, area, **own).run(stop))
    strangers = [f for f in world.scenario.faults if isinstance(f, Stranger)]
    for stranger in strangers:
        device = StrangerDevice(world, LiveMeters(world), stranger)
        roles.append(StrangerPublisher(device, host=host, port=port, now_us=_now_us).run(stop))
    return roles


def _modems(world: World, buses: Sequence[MeterBus], args: argparse.Namespace) -> list[Modem]:
    return [
        Modem(area.gateway, bus, *args.dialin)
        for area, bus in zip(world.scenario.areas, buses, strict=True)
        if isinstance(area.gateway, ModemGateway)
    ]


async def _keep_days(world: World, state: StateDir, stop: asyncio.Event) -> None:
    """Compute each day a little before it begins, and remember its start registers."""
    while not stop.is_set():
        soon = world.days.of(_now_us() + 600_000_000)
        if world.known_prefix()[0] <= soon:
            await asyncio.to_thread(world.day, soon)
            await asyncio.to_thread(state.keep_prefix, world)
        waiting = asyncio.ensure_future(stop.wait())
        await asyncio.wait({waiting}, timeout=60)
        waiting.cancel()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):  # not through the buffer, whose lock would be held at exit
        pass
    if not loop.is_closed():
        loop.call_soon_threadsafe(stop.set)


def _now_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    sys.exit(main())
