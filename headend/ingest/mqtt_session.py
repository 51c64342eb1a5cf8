"""From the settings to a session at the broker: who we are, what we listen to, and what is said about what we got.

With a share group every process subscribes to `$share/GROUP/…`: the broker gives each message to one of them. Messages
of one concentrator may then be handled at once by two processes and be committed in either order; the store does not
mind (rows have keys, uploads have numbers, states have instants).
"""

from __future__ import annotations

import socket
from typing import Final

from drivers.mqtt.broker import Broker, Granted, Listening, Tls, Will
from drivers.mqtt.router import Router
from headend.log import get_logger
from headend.settings import Mqtt

ONLINE: Final = "online"
OFFLINE: Final = "offline"
_log = get_logger(__name__)


def client_id_of(mqtt: Mqtt) -> str:
    """The name of our session."""
    return mqtt.client_id.replace("{host}", socket.gethostname())


def broker_of(mqtt: Mqtt, *, client_id: str | None = None, session_expiry_s: int | None = None) -> Broker:
    """The broker as the settings name it. Raises SettingsError when the password's file cannot be read."""
    tls = Tls(ca_file=mqtt.tls_ca_file, cert_file=mqtt.tls_cert_file, key_file=mqtt.tls_key_file)
    return Broker(
        host=mqtt.host,
        port=mqtt.port,
        client_id=client_id_of(mqtt) if client_id is None else client_id,
        receive_maximum=mqtt.receive_maximum,
        session_expiry_s=mqtt.session_expiry_s if session_expiry_s is None else session_expiry_s,
        keepalive_s=mqtt.keepalive_s,
        username=mqtt.username,
        password=mqtt.secret(),
        tls=tls if mqtt.tls else None,
    )


def check_files(mqtt: Mqtt) -> None:
    """Raises SettingsError or DriverConfigError when a file that the settings name cannot be used."""
    if (tls := broker_of(mqtt).tls) is not None:
        tls.context()


def state_topic(mqtt: Mqtt, client_id: str) -> str:
    """Where a head-end process says whether it is there; retained, and the broker's to say when it vanishes."""
    return f"{mqtt.prefix}/headend/{client_id}/state"


def state_payload(mqtt: Mqtt, state: str) -> bytes:
    """`online` or `offline`, and the share group where there is one."""
    return (state if mqtt.share_group is None else f"{state} {mqtt.share_group}").encode()


def will_of(mqtt: Mqtt) -> Will:
    """What the broker says when we vanish."""
    return Will(state_topic(mqtt, client_id_of(mqtt)), state_payload(mqtt, OFFLINE))


def listening(mqtt: Mqtt, router: Router) -> list[Listening]:
    """What to subscribe to."""
    wanted = [s for s in router.subscriptions() if s.shareable or mqtt.share_group is None or mqtt.unshared]
    shared = f"$share/{mqtt.share_group}/"
    found = [
        Listening(shared + s.filter if mqtt.share_group is not None and s.shareable else s.filter, s.qos)
        for s in wanted
    ]
    return found if mqtt.share_group is None else [*found, Listening(state_topic(mqtt, "+"))]


def outgrown(mqtt: Mqtt, router: Router) -> list[str]:
    """What our session may be subscribed to still from before it shared: all of that would come twice."""
    if mqtt.share_group is None:
        return []
    wanted = {listening_to.filter for listening_to in listening(mqtt, router)}
    return [s.filter for s in router.subscriptions() if s.filter not in wanted]


def report(mqtt: Mqtt, granted: Granted) -> None:
    """Say what we got, and what of it is not what the settings ask for."""
    _log.info(
        "connected to the broker",
        session_present=granted.session_present,
        receive_maximum=granted.receive_maximum,
        maximum_packet=granted.maximum_packet,
        session_expiry_s=granted.session_expiry_s,
        shared_subscriptions=granted.shared_subscriptions,
        keepalive_s=granted.keepalive_s,
    )
    if granted.session_expiry_s is not None and granted.session_expiry_s < mqtt.session_expiry_s:
        _log.warning(
            "the broker keeps our session for a shorter time than mqtt.session_expiry_s: what comes later is lost",
            granted_s=granted.session_expiry_s,
            asked_s=mqtt.session_expiry_s,
        )
    if granted.maximum_qos < 1:
        _log.warning("the broker delivers with QoS 0 only: nothing is sent again, whatever happens to it")
    if mqtt.share_group is not None and not granted.shared_subscriptions:
        _log.error("mqtt.share_group is set and the broker has no shared subscriptions", share_group=mqtt.share_group)
