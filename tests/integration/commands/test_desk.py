"""Where commands are asked for: once each, and only what can be done."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from headend.domain.commands import CommandKind, CommandState
from headend.ingest.commands import desk
from headend.settings import Settings
from headend.store.commands import CommandIdTaken
from headend.store.pool import Store
from headend.store.topology import find_meter
from support.switchable import PLAIN


@pytest.fixture
def ask(store: Store, settings: Settings, clock: Any, order: Any) -> Any:
    def asked(serial: str, kind: str, wanted: str, *, of: Settings | None = None, **more: Any) -> Any:
        return desk.submit(store, of or settings, clock, ("Eastron", serial), order(kind, wanted, **more))

    return asked


def test_sending_it_again_changes_nothing(load: Any, told: None, ask: Any, clock: Any, look: Any) -> None:
    load(("120001", 3, 502))
    command_id = uuid4()
    first, new = ask("120001", "relay", "open", command_id=command_id)
    assert (new, first.state) == (True, CommandState.QUEUED)
    assert first.expires_at - first.requested_at == timedelta(seconds=60)
    clock.by += timedelta(hours=5)  # from the time of the request, not of its repetition
    again, new = ask("120001", "relay", "open", command_id=command_id)
    assert (new, again) == (False, first)
    assert len(look(command_id)[1]) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"wanted": "closed"},
        {"requested_by": "Wang Fang"},
        {"reason": "another"},
        {"note": "another"},
        {"ttl_s": 61},
        {"serial": "120002"},
        {"kind": "tariff", "wanted": "1"},
    ],
)
def test_the_same_id_with_another_content_is_a_conflict(load: Any, told: None, ask: Any, other: dict[str, Any]) -> None:
    load(("120001", 3, 502), ("120002", 4, 502))
    command_id = uuid4()
    ask("120001", "relay", "open", command_id=command_id)
    changed = {"serial": "120001", "kind": "relay", "wanted": "open"} | other
    with pytest.raises(CommandIdTaken, match="was sent before with another content: relay open, by Li Wei"):
        ask(**changed, command_id=command_id)


def test_what_cannot_be_asked_for(store: Store, load: Any, told: None, ask: Any, settings: Settings) -> None:
    load(("120001", 3, 502), ("120002", 4, 502, PLAIN), ("120003", 5, None))
    off = settings.model_copy(update={"commands": settings.commands.model_copy(update={"relay": False})})
    for code, says, serial, kind, wanted, of in (
        ("not-allowed", "switched off by the settings: commands.relay = false", "120001", "relay", "open", off),
        ("model-cannot", "knows no relay", "120002", "relay", "open", settings),
        ("model-cannot", "knows no way to set its clock", "120002", "clock", "now", settings),
        ("model-cannot", "knows tariff 1, 2, not 7", "120001", "tariff", "7", settings),
        ("not-reached", "has no Modbus endpoint", "120003", "relay", "open", settings),
    ):
        with pytest.raises(desk.CommandNotTaken, match=says) as refused:
            ask(serial, kind, wanted, of=of)
        assert refused.value.code == code
    with pytest.raises(desk.UnknownMeter):
        ask("999999", "relay", "open")
    assert store.rows(b"select * from device_command") == []


def test_until_a_polling_process_has_told_nobody_knows_what_a_model_can(
    store: Store, load: Any, ask: Any, settings: Settings
) -> None:
    load(("120001", 3, 502))
    with pytest.raises(desk.CommandNotTaken, match="is one running") as refused:
        ask("120001", "relay", "open")
    assert refused.value.code == "model-not-told"


def test_what_is_offered(store: Store, load: Any, told: None, settings: Settings) -> None:
    load(("120001", 3, 502))
    off = settings.model_copy(update={"commands": settings.commands.model_copy(update={"relay": False})})
    with store.transaction() as connection:
        meter = find_meter(connection, "Eastron", "120001")
        assert meter is not None
        offers = desk.offers(connection, off, meter)
    assert {kind: offer.states for kind, offer in offers.items()} == {
        CommandKind.RELAY: (),
        CommandKind.CLOCK: ("now",),
        CommandKind.TARIFF: ("1", "2"),
    }
    assert offers[CommandKind.RELAY].why_not is not None
    assert offers[CommandKind.RELAY].why_not.code == "not-allowed"


def test_an_order_says_what_is_wrong_with_it(order: Any) -> None:
    for says, kind, wanted, more in (
        ("wanted: 'ajar' is none of open, closed", "relay", "ajar", {}),
        ("ttl_s: 3601 is not within 1 to 3600", "relay", "open", {"ttl_s": 3601}),
        ("ttl_s: 0", "relay", "open", {"ttl_s": 0}),
        ("reason: is required", "relay", "open", {"reason": "  "}),
        ("requested_by: is required", "relay", "open", {"requested_by": ""}),
        ("note: wanted at most", "relay", "open", {"note": "x" * 501}),
        ("reason: wanted at most", "relay", "open", {"reason": "a\x00b"}),
        ("across_intervals: has a meaning only for kind clock", "relay", "open", {"across_intervals": True}),
    ):
        with pytest.raises(ValueError, match=says):
            order(kind, wanted, **more)
