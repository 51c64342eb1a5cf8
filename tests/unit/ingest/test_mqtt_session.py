"""Who we are at the broker, what we listen to, what is made of what the broker grants. No broker needed."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import ValidationError
from structlog.testing import capture_logs

from drivers.mqtt.broker import Broker, Granted, Listening, Message
from drivers.mqtt.client import RECONNECT_MOST_S, MqttClient, granted_of
from drivers.mqtt.map_file import load_maps
from drivers.mqtt.router import Router
from headend.ingest import mqtt_session
from headend.ingest.heirs import Heirs
from headend.settings import Mqtt

PREFIX = "headend/v1"


def test_a_client_id_names_the_same_session_after_every_start() -> None:
    host = socket.gethostname()
    assert mqtt_session.client_id_of(Mqtt(client_id="ingest-{host}-1")) == f"ingest-{host}-1"
    for changing in ("ingest-{pid}", "ingest-{random}", "ingest-}"):
        with pytest.raises(ValidationError, match=r"only \{host\} is filled in"):
            Mqtt(client_id=changing)
    for wrong in ("a/b", "a+b", "a#", "a b", ""):
        with pytest.raises(ValidationError):
            Mqtt(client_id=wrong)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"tls_ca_file": "ca.pem"}, "tls is not: the connection would be in the clear"),
        ({"tls": True, "tls_key_file": "key.pem"}, "a key alone proves nothing"),
        ({"password": "x", "password_file": "y"}, "one of them would be passed over"),
        ({"tls_insecure": True}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Mqtt(**keys)


def test_alone_we_listen_to_everything_ourselves() -> None:
    router = Router(PREFIX)
    wanted = mqtt_session.listening(Mqtt(), router)
    assert [w.filter for w in wanted] == [s.filter for s in router.subscriptions()]
    assert not any(w.filter.startswith("$share") for w in wanted)


def test_in_a_share_group_all_is_shared_but_what_one_alone_may_take() -> None:
    router = Router(PREFIX, load_maps(None))
    subscriptions = router.subscriptions()
    assert {s.shareable for s in subscriptions} == {True, False}, "some maps have a memory"
    one = {w.filter: w.qos for w in mqtt_session.listening(Mqtt(share_group="g"), router)}
    other = {w.filter: w.qos for w in mqtt_session.listening(Mqtt(share_group="g", unshared=False), router)}
    states = f"{PREFIX}/headend/+/state"
    assert one == {(f"$share/g/{s.filter}" if s.shareable else s.filter): s.qos for s in subscriptions} | {states: 1}
    assert other == {f"$share/g/{s.filter}": s.qos for s in subscriptions if s.shareable} | {states: 1}


def connack(**properties: int) -> Properties:
    found = Properties(PacketTypes.CONNACK)
    for name, value in properties.items():
        setattr(found, name, value)
    return found


def test_what_a_broker_grants() -> None:
    assert granted_of(True, None) == granted_of(True, connack()) == Granted(session_present=True)
    assert granted_of(
        False,
        connack(
            ReceiveMaximum=20, MaximumPacketSize=4096, MaximumQoS=1, RetainAvailable=0, SessionExpiryInterval=60,
            SharedSubscriptionAvailable=0, ServerKeepAlive=15,
        ),
    ) == Granted(
        session_present=False, receive_maximum=20, maximum_packet=4096, maximum_qos=1, retain=False,
        session_expiry_s=60, shared_subscriptions=False, keepalive_s=15,
    )  # fmt: skip


def test_what_is_not_as_asked_for_is_said() -> None:
    with capture_logs() as logs:
        mqtt_session.report(Mqtt(), Granted(session_present=True))
    assert [line["log_level"] for line in logs] == ["info"]
    poor = Granted(session_present=False, session_expiry_s=60, maximum_qos=0, shared_subscriptions=False)
    with capture_logs() as logs:
        mqtt_session.report(Mqtt(share_group="g"), poor)
    said = " ".join(line["event"] for line in logs)
    assert "shorter time than mqtt.session_expiry_s" in said
    assert "QoS 0 only" in said
    assert "mqtt.share_group is set and the broker has no shared subscriptions" in said


class Line:
    """What the client asks of paho, written down."""

    def __init__(self) -> None:
        self.subscribed: list[str] = []
        self.published: list[tuple[str, int, bool]] = []

    def subscribe(self, wanted: list[tuple[str, Any]]) -> None:
        self.subscribed += [topic for topic, _ in wanted]

    def publish(self, topic: str, _payload: bytes, *, qos: int, retain: bool) -> Any:
        self.published.append((topic, qos, retain))
        return type("Info", (), {"rc": 0})


def client(said: list[str], *filters: str) -> tuple[MqttClient, Line]:
    made = MqttClient(
        Broker(host="127.0.0.1", port=1, client_id="x"),
        [Listening(f) for f in filters],
        lambda _: None,
        on_problem=said.append,
        chance=random.Random(7),
    )
    line = Line()
    made._client = line  # type: ignore[assignment]
    return made, line


def test_a_broker_without_shared_subscriptions_is_not_asked_for_one() -> None:
    said: list[str] = []
    made, line = client(said, "$share/g/a", "b")
    made._subscribe(Granted(session_present=False, shared_subscriptions=False))
    assert line.subscribed == ["b"]
    assert said == ["broker has no shared subscriptions, so nothing comes for $share/g/a"]


def test_limits_of_the_broker_are_heeded() -> None:
    said: list[str] = []
    made, line = client(said)
    made._open = True
    made._granted = Granted(session_present=False, receive_maximum=2, maximum_packet=100, maximum_qos=1, retain=False)
    assert not made.publish("t", b"x" * 100)
    assert said == ["not published to t: 133 bytes, the broker takes 100 at most"]
    assert [made.publish("t", b"x", retain=True) for _ in range(3)] == [True, True, False], "two may be under way"
    assert line.published == [("t", 1, False)] * 2


def test_pauses_grow_to_a_bound_and_are_left_to_chance() -> None:
    made = MqttClient(Broker(host="127.0.0.1", port=1, client_id="x"), [], lambda _: None, chance=random.Random(7))
    pauses = []
    for failures in range(12):
        made._failures = failures
        made._pause()
        pauses.append(float(made._client._reconnect_min_delay))
    for failures, pause in enumerate(pauses):
        longest = min(2.0**failures, RECONNECT_MOST_S)
        assert longest / 2 <= pause <= longest
    assert len(set(pauses)) == 12


def test_only_members_of_the_group_that_are_offline_are_looked_after() -> None:
    heirs = Heirs(Mqtt(client_id="own", share_group="g", takeover_s=10), Router(PREFIX), lambda _: None)

    def heard(owner: str, state: str) -> bool:
        return heirs.heard(Message(f"{PREFIX}/headend/{owner}/state", state.encode(), 1, 1, 1))

    assert not heirs.heard(Message(f"{PREFIX}/meter/A/1/reading", b"{}", 1, 1, 1))
    for owner, state in (("gone", "offline g"), ("other", "offline h"), ("alone", "offline"), ("own", "offline g")):
        assert heard(owner, state)
    assert heirs._due(100.0) == []
    assert heirs._due(109.9) == [], "not before takeover_s"
    assert heirs._due(115.1) == ["gone"]
    assert heard("gone", "online g")
    assert heirs._due(10_000.0) == []
    assert heard("gone", ""), "its session was emptied by another heir"
    assert heirs._due(20_000.0) == []
