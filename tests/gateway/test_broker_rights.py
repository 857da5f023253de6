"""The rights that docs/operations.md gives to gateways and head-end, in force on a real mosquitto."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from meterline.wire import ALL_BATCHES, ack_topic, batch_topic, health_topic
from tests.servers.broker import BrokerFactory, Mosquitto
from tests.servers.waiting import wait_until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
DENIED = ReasonCode(PacketTypes.PUBACK, "Not authorized")
pytestmark = pytest.mark.needs_mosquitto


def acl_of_the_page() -> str:
    found = re.search(r"```\n# /etc/mosquitto/acl[^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert found
    return found.group(1)


def password_line(name: str) -> str:
    """A line as mosquitto_passwd writes it: PBKDF2-SHA512, 101 rounds; the password is the name."""
    digest = hashlib.pbkdf2_hmac("sha512", name.encode(), b"twelve bytes", 101)
    return f"{name}:$7$101${base64.b64encode(b'twelve bytes').decode()}${base64.b64encode(digest).decode()}\n"


class Party:
    """One client that remembers the broker's answers."""

    def __init__(self, broker: Mosquitto, name: str, password: str | None = None) -> None:
        self.connected: list[bool] = []
        self.answers: list[ReasonCode] = []
        self.heard: list[str] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"test-{name}", protocol=mqtt.MQTTv5)
        self.client.username_pw_set(name, password or name)
        self.client.on_connect = lambda _c, _u, _f, reason, _p: self.connected.append(not reason.is_failure)
        self.client.on_publish = lambda _c, _u, _m, reason, _p: self.answers.append(reason)
        self.client.on_message = lambda _c, _u, message: self.heard.append(message.topic)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        wait_until(lambda: self.connected, what=f"the broker's word to {name}")

    def publish(self, topic: str) -> ReasonCode:
        before = len(self.answers)
        self.client.publish(topic, b"x", qos=1)
        wait_until(lambda: len(self.answers) > before, what=f"the answer to {topic}")
        return self.answers[-1]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(mosquitto_factory: BrokerFactory, tmp_path: Path) -> Mosquitto:
    acl, passwords = tmp_path / "acl", tmp_path / "passwords"
    acl.write_text(acl_of_the_page(), encoding="utf-8")
    passwords.write_text("".join(map(password_line, ("gw-1", "gw-2", "headend"))), encoding="utf-8")
    for path in (acl, passwords):
        path.chmod(0o600)
    return mosquitto_factory(f"allow_anonymous false\npassword_file {passwords}\nacl_file {acl}")


def test_a_gateway_speaks_for_itself_only(broker: Mosquitto) -> None:
    headend, gateway = Party(broker, "headend"), Party(broker, "gw-1")
    headend.client.subscribe(ALL_BATCHES, qos=1)
    wait_until(lambda: headend.publish(ack_topic("gw-1")) != DENIED, what="the head-end's right to acknowledge")
    assert gateway.publish(health_topic("gw-1")) != DENIED
    for foreign in (batch_topic("gw-2"), ack_topic("gw-1"), "ml1/up/gw-2/health", "$SYS/x", "elsewhere"):
        assert gateway.publish(foreign) == DENIED, foreign
    assert gateway.publish(batch_topic("gw-1")) != DENIED
    wait_until(lambda: headend.heard, what="the batch at the head-end")
    assert set(headend.heard) == {batch_topic("gw-1")}
    gateway.close()
    headend.close()


def test_a_gateway_does_not_hear_what_others_are_told(broker: Mosquitto) -> None:
    headend, gateway = Party(broker, "headend"), Party(broker, "gw-1")
    for topic in (ack_topic("gw-2"), ack_topic("gw-1"), "ml1/#"):
        gateway.client.subscribe(topic, qos=1)
    headend.publish(ack_topic("gw-2"))
    wait_until(lambda: (headend.publish(ack_topic("gw-1")), gateway.heard)[1], what="its own acknowledgement")
    assert set(gateway.heard) == {ack_topic("gw-1")}
    gateway.close()
    headend.close()


def test_a_wrong_password_is_refused(broker: Mosquitto) -> None:
    party = Party(broker, "gw-1", "guess")
    assert party.connected[0] is False
    party.close()
