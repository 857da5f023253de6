"""A head-end for the gateway's tests: verifies, keeps by key, acknowledges. It can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from meterline.ranges import RangeSet
from meterline.wire import (
    GENESIS,
    Ack,
    Ask,
    Batch,
    Health,
    Refusal,
    ack_topic,
    decode_ask,
    decode_health,
    digest_of,
    encode_ack,
    encode_refusal,
    gateway_of,
    refusal_digest,
    refused_topic,
    unseal,
    verify,
)


class FakeHeadend:
    """Keeps every message by ``(epoch, seq)``; `mangle` may turn an acknowledgement into none or several."""

    def __init__(self, port: int, key: Ed25519PublicKey, *, answers: bool = True) -> None:
        self._port, self._key = port, key
        self.lock = threading.Lock()
        self.answers = answers
        self.refuses: Callable[[Batch], str] = lambda batch: ""
        self.refused: list[str] = []
        self.knows = True
        self.mangle: Callable[[Ack], list[Ack]] = lambda ack: [ack]
        self.stored: dict[tuple[str, int], bytes] = {}
        self.doubles = 0
        self.received: dict[str, RangeSet] = {}
        self.health: list[Health] = []
        self.problems: list[str] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="fake-headend", protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda c, u, f, r, p: c.subscribe(
            [("ml1/up/+/batch", 1), ("ml1/up/+/health", 1), ("ml1/up/+/ask", 0)]
        )
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)

    def start(self) -> None:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", self._port, clean_start=False, properties=properties)
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, ack: Ack, *, retain: bool = True) -> None:
        self._client.publish(ack_topic(ack.gateway), encode_ack(ack), qos=1, retain=retain)

    def batches(self) -> list[Batch]:
        with self.lock:
            return [unseal(message) for _, message in sorted(self.stored.items())]

    def ack(self, gateway: str, epoch: str) -> Ack:
        received = self.received.get(epoch, RangeSet())
        wanted = received.gaps(1, received.last) if received else ()
        return Ack(gateway, epoch, received.ranges, wanted)

    def acknowledge_all(self, gateway: str) -> None:
        with self.lock:
            for epoch in self.received:
                for ack in self.mangle(self.ack(gateway, epoch)):
                    self.publish(ack)

    def refuse(self, gateway: str, payload: bytes, reason: str) -> None:
        """Say that a message was not taken."""
        self.refused.append(reason)
        refusal = Refusal(gateway, refusal_digest(payload), reason)
        self._client.publish(refused_topic(gateway), encode_refusal(refusal), qos=1)

    def _answer(self, ask: Ask) -> None:
        with self.lock:
            if not self.answers:
                return
            mine = {seq: digest_of(message) for (epoch, seq), message in self.stored.items() if epoch == ask.epoch}
            wanted = {*ask.digests, max(mine, default=0)} & mine.keys()
            digests = tuple((seq, mine[seq]) for seq in sorted(wanted))
            answer = replace(self.ack(ask.gateway, ask.epoch), digests=digests, answers=ask.nonce)
            for ack in self.mangle(answer):
                self.publish(ack)

    def _on_message(self, client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        try:
            payload = bytes(message.payload)
            if message.topic.endswith("/health"):
                self.health.append(decode_health(payload))
                return
            if message.topic.endswith("/ask"):
                if self.knows:
                    self._answer(decode_ask(payload))
                else:
                    self.refuse(gateway_of(message.topic), payload, "unknown-gateway")
                return
            verify(payload, self._key)
            batch = unseal(payload)
        except Exception as error:  # noqa: BLE001 - told by the test
            self.problems.append(repr(error))
            return
        refusal = self.refuses(batch)
        if refusal:
            self.refuse(gateway_of(message.topic), payload, refusal)
            return
        with self.lock:
            key = (batch.epoch, batch.seq)
            if key in self.stored:
                self.doubles += 1
                if self.stored[key] != payload:
                    self.problems.append(f"two different batches with the key {key}")
            self.stored[key] = payload
            mine = self.received.setdefault(batch.epoch, RangeSet())
            mine.add(batch.seq)
            for lost in batch.lost:
                self.received.setdefault(lost.epoch, RangeSet()).add(lost.first, lost.last)
            if self.answers:
                for ack in self.mangle(self.ack(gateway_of(message.topic), batch.epoch)):
                    self.publish(ack)

    def chain_breaks(self) -> list[str]:
        """Where a stored batch does not name the digest of the stored batch before it."""
        with self.lock:
            stored = dict(self.stored)
        breaks = []
        for (epoch, seq), message in sorted(stored.items()):
            before = stored.get((epoch, seq - 1))
            expected = digest_of(before) if before else (GENESIS if seq == 1 else None)
            if expected is not None and unseal(message).prev != expected:
                breaks.append(f"{epoch}/{seq}")
        return breaks
