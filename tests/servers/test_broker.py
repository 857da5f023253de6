"""The broker fixture is a real MQTT 5 broker that can be crashed, silenced and started again."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.servers.broker import BrokerFactory, Mosquitto
from tests.servers.waiting import wait_until

pytestmark = pytest.mark.needs_mosquitto


@contextmanager
def connected(broker: Mosquitto, client_id: str) -> Iterator[mqtt.Client]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 3600
    client.connect(broker.host, broker.port, clean_start=False, properties=session)
    client.loop_start()
    try:
        wait_until(client.is_connected, what="the CONNACK")
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def publish(broker: Mosquitto, topic: str, payload: bytes) -> None:
    with connected(broker, "sender") as sender:
        sender.publish(topic, payload, qos=1).wait_for_publish(5)


def test_a_message_goes_through_at_qos_1(mosquitto: Mosquitto) -> None:
    got: queue.Queue[bytes] = queue.Queue()
    with connected(mosquitto, "receiver") as receiver:
        receiver.on_message = lambda _client, _userdata, message: got.put(bytes(message.payload))
        subscribed: queue.Queue[int] = queue.Queue()
        receiver.on_subscribe = lambda _c, _u, mid, _codes, _properties: subscribed.put(mid)
        receiver.subscribe("a/b", qos=1)
        subscribed.get(timeout=5)
        publish(mosquitto, "a/b", b"27.5")
        assert got.get(timeout=5) == b"27.5"


def test_kill_and_start_keep_the_port(mosquitto: Mosquitto) -> None:
    mosquitto.kill()
    with pytest.raises(ConnectionRefusedError):
        publish(mosquitto, "a", b"")
    mosquitto.start()
    publish(mosquitto, "a", b"")


def test_a_polite_restart_keeps_a_retained_message(mosquitto: Mosquitto) -> None:
    with connected(mosquitto, "sender") as sender:
        sender.publish("health", b"up", qos=1, retain=True).wait_for_publish(5)
    mosquitto.restart()
    got: queue.Queue[bytes] = queue.Queue()
    with connected(mosquitto, "late") as late:
        late.on_message = lambda _client, _userdata, message: got.put(bytes(message.payload))
        late.subscribe("health", qos=1)
        assert got.get(timeout=5) == b"up"


def test_configuration_lines_count(mosquitto_factory: BrokerFactory) -> None:
    broker = mosquitto_factory("allow_anonymous false")
    refused: queue.Queue[bool] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="nobody", protocol=mqtt.MQTTv5)
    client.on_connect = lambda _c, _u, _flags, reason, _properties: refused.put(reason.is_failure)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        assert refused.get(timeout=5) is True
    finally:
        client.loop_stop()


def test_a_paused_broker_is_silent_until_resumed(mosquitto: Mosquitto) -> None:
    with connected(mosquitto, "sender") as sender:
        mosquitto.pause()
        message = sender.publish("a", b"x", qos=1)
        message.wait_for_publish(0.3)
        assert not message.is_published()
        mosquitto.resume()
        message.wait_for_publish(5)
        assert message.is_published()
