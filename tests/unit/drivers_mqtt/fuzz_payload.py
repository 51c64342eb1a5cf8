"""Coverage-guided fuzzing of every decoder with atheris: `python -m tests.unit.drivers_mqtt.fuzz_payload COUNT SEED`.

The first byte of an input picks the topic, the second whether it was retained and whether the router is a fresh one;
the rest is the payload. It begins with the schemas' examples and with messages as devices send them. A find ends the
run with an exit code other than 0 and its input as bytes literal on stderr. Not collected: test_fuzz.py runs it.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import atheris  # noqa: E402
from google.protobuf.message import DecodeError  # noqa: E402

with atheris.instrument_imports(include=["drivers.mqtt", "drivers.base", "support.decoding"]):
    from drivers.mqtt.map_file import load_maps
    from drivers.mqtt.router import Router
    from drivers.mqtt.sparkplug import Payload
    from support.decoding import TOPICS, check
    from support.mapped import NOW_US

MAX_LENGTH: Final = 2048
MAPS: Final = load_maps()
_EXAMPLES: Final = {"reading": 0, "batch": 1, "columns": 2, "event": 3, "profile": 4}
_S: Final = NOW_US // 10**6
_DEVICES: Final = {
    "shellypro3em-1/events/rpc": {
        "src": "shellypro3em-1", "method": "NotifyStatus",
        "params": {"ts": _S + 0.78, "emdata:0": {"a_total_act_energy": 1.01, "total_act": 6.51, "total_act_ret": 3.0}}},
    "shellypro3em-1/status/emdata:0": {"id": 0, "total_act": 6.51, "total_act_ret": 3.0, "c_total_act_energy": None},
    "shellypro3em-1/status/em1data:1": {"id": 1, "total_act_energy": 6644.90, "total_act_ret_energy": 2595.26},
    "shellypro3em-1/online": True,
    "shellies/shellyem-1/emeter/0/total": 5323.4,
    "tele/p/SENSOR": {"Time": "2026-11-23T13:15:00", "ENERGY": {"Total": 12.345, "Voltage": [227, 228], "Power": 40}},
    "zigbee2mqtt/p": {"energy": 31.02, "power": 1, "power_phase_b": 2, "power_phase_c": 3, "last_seen": _S * 1000},
    "zigbee2mqtt/p/availability": {"state": "offline"},
    "ams/1": {"t": _S, "data": {"meterId": "1", "tPI": 91234.567, "tPO": 0.0, "U1": 234.4, "I1": 0.0, "rtc": _S}},
    "dt/b/1/ds": {"meter": {"ts": "2026-11-23T05:15:00+00:00", "1.8.0": 31550191.0, "1.8.1": 1, "1.8.2": 2}},
    "smartmeter/1/ACTIVE_ENERGY_P": {"value": 31550191.0, "timestamp": _S, "obis": "1.8.0"},
}  # fmt: skip
_TOKENS: Final = (
    "true", "false", "null", "1e999", "-0", "1e-99", "0e9999999", "NaN", "\\\\ud800", "\\\\u0000", "9" * 20,
    "2026-11-23T05:15:00Z", "2026-03-29T02:30:00", "online", "offline", "Acme/1", "headend.profile/1", "phase_lost",
)  # fmt: skip


def corpus() -> list[bytes]:
    """What the fuzzer begins with."""
    seeds = []
    for name, place in _EXAMPLES.items():
        schema = json.loads(files("drivers.mqtt").joinpath("schema", f"{name}.json").read_text("utf-8"))
        seeds += [bytes([place, 0]) + json.dumps(example).encode() for example in schema["examples"]]
    seeds += [bytes([TOPICS.index(t), 0]) + json.dumps(document).encode() for t, document in _DEVICES.items()]
    seeds += [bytes([TOPICS.index("tele/p/LWT"), 1]) + b"Offline", bytes([6, 0]) + b"online"]
    birth = Payload(timestamp=_S * 1000)
    birth.metrics.add(name="import_wh", alias=5, datatype=8, long_value=1, timestamp=_S * 1000)
    birth.metrics.add(name="voltage_l1_v", alias=6, datatype=9, float_value=230.1)
    data = Payload(timestamp=_S * 1000)
    data.metrics.add(alias=5, long_value=2, is_historical=True, timestamp=_S * 1000 - 900_000)
    data.metrics.add(alias=5, long_value=3)
    for topic in (t for t in TOPICS if t.startswith("spB")):
        seeds += [bytes([TOPICS.index(topic), 2]) + p.SerializeToString() for p in (birth, data)]
    return seeds


def words() -> set[str]:
    """Keys and words that no mutation would find by chance, as libFuzzer's dictionary has them."""
    found = {json.dumps(key) + ":" for seed in corpus() for key in _keys(seed[2:])}
    return found | set(_TOKENS)


def _keys(payload: bytes) -> set[str]:
    found: set[str] = set()

    def note(pairs: list[tuple[str, object]]) -> None:
        found.update(key for key, _ in pairs)

    try:
        json.loads(payload, object_pairs_hook=note)
    except ValueError:
        return set()
    return found


_SCALARS: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**63, -(2**70), 0.1, 1e300, -5.5, _S, _S * 1000, "", "1", "offline",
    "2026-11-23T05:15:00Z", "2026-10-25T02:30:00", "Acme/1", "phase_lost", [], {}, [None], [1, 2, 3], [[1, 2, None]],
)  # fmt: skip


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Half of the time as bytes; else as what the payload is, so that what is behind the parsers is reached as well."""
    chance = random.Random(seed)
    if chance.random() < 0.5 or len(data) < 3:
        return bytes(atheris.Mutate(data, max_size))
    head, payload = data[:2], data[2:]
    if TOPICS[head[0] % len(TOPICS)].startswith("spB"):
        mutated = _mutated_metrics(payload, chance)
    else:
        try:
            mutated = json.dumps(_mutated(json.loads(payload), chance)).encode()
        except (ValueError, RecursionError):
            mutated = bytes(atheris.Mutate(payload, max_size - 2))
    return (head + mutated)[:max_size]


def _mutated(document: Any, chance: random.Random) -> Any:
    """One place of it replaced, removed, added or doubled."""
    if chance.random() < 0.15 or not isinstance(document, (dict, list)) or not document:
        return chance.choice(_SCALARS) if not isinstance(document, (int, float)) else _near(document, chance)
    keys: list[Any] = list(document) if isinstance(document, dict) else list(range(len(document)))
    key, kind = chance.choice(keys), chance.random()
    if kind < 0.7:
        document[key] = _mutated(document[key], chance)
    elif kind < 0.8:
        del document[key]
    elif isinstance(document, list):
        document.insert(key, document[key])
    else:
        document[chance.choice((key, "import_wh", "energy", "meter", "ts", "Total"))] = chance.choice(_SCALARS)
    return document


def _near(number: float, chance: random.Random) -> Any:
    return chance.choice((number + 1, -number, number * 10, number / 3, number * 1e9, str(number), *_SCALARS))


def _mutated_metrics(payload: bytes, chance: random.Random) -> bytes:
    message = Payload()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return bytes(atheris.Mutate(payload, MAX_LENGTH))
    if not message.metrics or chance.random() < 0.2:
        message.metrics.add(
            name=chance.choice(("import_wh", "export_wh", "power_w", "")), datatype=chance.randrange(20)
        )
    metric = chance.choice(message.metrics)
    number = chance.choice((0, 1, 2**31, 2**32 - 1, 123456, chance.randrange(2**32)))
    changes: tuple[Callable[[], Any], ...] = (
        lambda: setattr(metric, "long_value", number * chance.choice((1, 2**31))),
        lambda: setattr(metric, "int_value", number),
        lambda: setattr(metric, "float_value", float(number) / 7),
        lambda: setattr(metric, "double_value", chance.choice((float(number), -0.5, float("nan"), 1e300, 1e-300))),
        lambda: setattr(metric, "string_value", chance.choice(("1", "x"))),
        lambda: setattr(metric, "datatype", chance.randrange(40)),
        lambda: setattr(metric, "alias", chance.choice((5, 6, number))),
        lambda: setattr(metric, "timestamp", chance.choice((0, _S * 1000, 2**63))),
        lambda: setattr(metric, "is_historical", chance.random() < 0.5),
        lambda: setattr(metric, "is_null", chance.random() < 0.5),
        lambda: metric.ClearField(chance.choice(("name", "timestamp", "datatype", "alias"))),
        lambda: message.metrics.add().CopyFrom(metric),
        lambda: message.ClearField("timestamp"),
    )
    chance.choice(changes)()
    return bytes(message.SerializeToString())


class Target:
    """One input at a time; tells at the end how many were understood, so that a run which reaches nothing is seen."""

    def __init__(self, count: int) -> None:
        self._count, self._inputs, self._understood = count, 0, 0
        self._router = Router("headend/v1", MAPS)
        self._began_s = time.perf_counter()

    def __call__(self, data: bytes) -> None:
        self._inputs += 1
        if len(data) >= 2:
            if data[1] & 4:
                self._router = Router("headend/v1", MAPS)
            try:
                self._understood += check(self._router, TOPICS[data[0] % len(TOPICS)], data[2:], bool(data[1] & 1))
            except BaseException:
                print(f"input: {data!r}", file=sys.stderr, flush=True)
                raise
        if self._inputs == self._count:  # libFuzzer ends the process without telling Python
            took_s = round(time.perf_counter() - self._began_s, 1)
            told = {"inputs": self._inputs, "understood": self._understood, "took_s": took_s}
            print(json.dumps(told), flush=True)


def main(count: int, seed: int) -> None:
    """Run `count` inputs; the process ends with them."""
    with tempfile.TemporaryDirectory() as folder:
        (seeds := Path(folder, "corpus")).mkdir()
        for place, data in enumerate(corpus()):
            (seeds / f"{place:03}").write_bytes(data)
        dictionary = Path(folder, "words")
        escaped = (w.replace("\\", "\\\\").replace('"', '\\"') for w in sorted(words()))
        dictionary.write_text("".join(f'"{w}"\n' for w in escaped), encoding="utf-8")
        options = {
            "runs": count, "seed": seed, "max_len": MAX_LENGTH, "timeout": 10, "rss_limit_mb": 4096, "dict": dictionary,
            "artifact_prefix": f"{folder}/", "print_final_stats": 1, "verbosity": 0, "len_control": 0,
        }  # fmt: skip
        atheris.Setup(
            [sys.argv[0], *(f"-{k}={v}" for k, v in options.items()), str(seeds)], Target(count), custom_mutator=mutate
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
