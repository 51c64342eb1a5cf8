"""The published JSON Schemas and the decoder say the same of the same payload."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from drivers.errors import PayloadError
from drivers.mqtt.messages import ConfirmMessage, encode
from drivers.mqtt.payload import decode

PREFIX = "headend/v1"
TOPICS = {
    "reading": f"{PREFIX}/meter/Acme/210001/reading",
    "batch": f"{PREFIX}/meter/Acme/210001/batch",
    "columns": f"{PREFIX}/meter/Acme/210001/columns",
    "event": f"{PREFIX}/meter/Acme/210001/event",
    "profile": f"{PREFIX}/concentrator/C1/profile",
}
NAMES = ["batch", "columns", "confirm", "event", "profile", "reading", "state"]


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(files("drivers.mqtt").joinpath("schema", f"{name}.json").read_text("utf-8"))
    return loaded


def validator(name: str) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema(name))
    return jsonschema.Draft202012Validator(schema(name), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def test_every_schema_is_tested() -> None:
    found = sorted(f.name for f in files("drivers.mqtt").joinpath("schema").iterdir())
    assert found == ["README.md", *(f"{name}.json" for name in NAMES)]


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_valid(name: str) -> None:
    examples = schema(name)["examples"]
    assert examples
    for example in examples:
        validator(name).validate(example)


@pytest.mark.parametrize("name", TOPICS)
def test_examples_are_decoded(name: str) -> None:
    for example in schema(name)["examples"]:
        decode(TOPICS[name], json.dumps(example).encode(), prefix=PREFIX, received_us=0)


def test_state_examples_are_decoded() -> None:
    for example in schema("state")["examples"]:
        decode(f"{PREFIX}/concentrator/C1/state", example.encode(), prefix=PREFIX, received_us=0)


def test_what_we_send_is_valid() -> None:
    validator("confirm").validate(json.loads(encode(ConfirmMessage(confirmed=[1, 2]))))


def refusal(topic: str, payload: Any) -> PayloadError | None:
    try:
        decode(topic, json.dumps(payload).encode(), prefix=PREFIX, received_us=0)
    except PayloadError as error:
        return error
    return None


DAMAGE: list[Any] = [None, True, -1, 1.5, 10**16, "x", "2026-11-23T05:15:00", [], {}, [None], [[None]], {"x": 1}]


def damaged(value: Any) -> list[Any]:
    """The value with one place replaced, removed or added, in all ways."""
    results = list(DAMAGE)
    if isinstance(value, dict):
        for key in value:
            results.append({k: v for k, v in value.items() if k != key})
            results += [value | {key: inner} for inner in damaged(value[key])]
        results.append(value | {"surplus": 1})
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            results.append(value[:i] + value[i + 1 :])
            results += [[*value[:i], other, *value[i + 1 :]] for other in damaged(inner)]
    return results


BEYOND_A_SCHEMA = {"identity_mismatch", "bad_shape", "no_energy", "bad_timestamp"}
"""What the decoder alone can see: lengths against each other, order, the topic, instants that no calendar has."""


@pytest.mark.parametrize("name", TOPICS)
def test_schema_and_decoder_agree_on_damaged_examples(name: str) -> None:
    check = validator(name)
    seen = {"both": 0, "neither": 0}
    for example in schema(name)["examples"]:
        for candidate in damaged(example):
            valid = check.is_valid(candidate)
            refused = refusal(TOPICS[name], candidate)
            if refused is None:
                assert valid, (candidate, next(check.iter_errors(candidate)).message)
                seen["both"] += 1
            else:
                assert not valid or refused.reason in BEYOND_A_SCHEMA, (candidate, str(refused))
                seen["neither"] += not valid
    assert min(seen.values()) > 5, seen


SHOWN = re.compile(r"^`(headend/v1/\S+)`\n\n```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_readme_shows_every_message_rightly() -> None:
    text = files("drivers.mqtt").joinpath("schema", "README.md").read_text("utf-8")
    shown = SHOWN.findall(text)
    for topic, body in shown:
        decode(topic, body.encode(), prefix=PREFIX, received_us=0)
        validator(topic.rpartition("/")[2]).validate(json.loads(body))
    assert {topic.rpartition("/")[2] for topic, _ in shown} == set(TOPICS)
    assert all(f"({name}.json)" in text for name in NAMES)
