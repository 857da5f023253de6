"""The line to the broker: what arrives is queued, what is committed is acknowledged, what breaks is made anew.

The session outlives a restart (``clean_start`` False, a day), so the broker holds what comes meanwhile; at most
`RECEIVE_MAXIMUM` messages are on their way to us unacknowledged, which is what bounds our memory. The library's
callbacks only queue: an exception in one would end its thread while it goes on saying "connected".
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from headend.ingest import Ingest, Message
from headend.supervise import Supervisor
from meterline.broker_tls import tls_context, why_refused
from meterline.clock import Clock
from meterline.errors import StoreUnavailable, Unreachable
from meterline.settings import Broker
from meterline.wire import (
    ALL_ASKS,
    ALL_BATCHES,
    ALL_HEALTH,
    Ack,
    Refusal,
    ack_topic,
    encode_ack,
    encode_refusal,
    refused_topic,
)

_LOG = logging.getLogger(__name__)
RECEIVE_MAXIMUM = 50
SESSION_S = 86_400
KEEPALIVE_S = 20
LARGEST_PACKET = 4 * 1024 * 1024
"""The broker drops for us what is larger; a batch has at most 256 kB."""
ANSWER_S = 10.0
"""Longest wait for the broker to accept the connection. [s]"""
MOST_QUEUED = 10_000
"""Beyond this, what came without a receipt (QoS 0: nobody of ours) is dropped."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class _Arrival:
    message: Message
    link: Link
    mid: int
    qos: int


class Link:
    """One connection to the broker, from connect to loss; never used again after that.

    Raises
    ------
    Unreachable
        No broker there, or it refuses us.
    """

    def __init__(
        self, broker: Broker, folder: Path, client_id: str, clock: Clock, inbox: queue.Queue[_Arrival]
    ) -> None:
        self._clock, self._inbox = clock, inbox
        self._answered = threading.Event()
        self._refusal = ""
        self.lost = threading.Event()
        where = f"broker {broker.host}:{broker.port}"
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True, reconnect_on_failure=False,
        )  # fmt: skip
        self._client.connect_timeout = ANSWER_S / 2
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        if broker.login is not None:
            self._client.username_pw_set(broker.login.username, broker.login.password(folder))
        if broker.tls:
            try:
                self._client.tls_set_context(tls_context(broker, folder))
            except OSError as error:
                raise Unreachable(where, str(error), "correct broker: in headend.yaml") from error
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = LARGEST_PACKET
        try:
            self._client.connect(broker.host, broker.port, KEEPALIVE_S, clean_start=False, properties=properties)
        except (OSError, ValueError) as error:
            if why := why_refused(error):
                raise Unreachable(where, why, "nothing is sent over an open line instead") from error
            raise Unreachable(where, str(error), "start the broker, or correct broker: in headend.yaml") from error
        self._client.loop_start()
        answered = self._answered.wait(ANSWER_S)
        if not answered or self._refusal:
            self.close()
            raise Unreachable(where, self._refusal or "does not answer", "check host, port and login in headend.yaml")

    def take_off(self, arrivals: Sequence[_Arrival]) -> None:
        """Tell the broker that these messages were dealt with; those of an earlier connection come again anyway."""
        for arrival in arrivals:
            if arrival.link is self and arrival.qos > 0 and not self.lost.is_set():
                self._client.ack(arrival.mid, arrival.qos)

    def publish(self, ack: Ack) -> None:
        """Publish an acknowledgement, retained; if it does not arrive, the next one says the same and more."""
        if not self.lost.is_set():
            self._client.publish(ack_topic(ack.gateway), encode_ack(ack), qos=1, retain=True)

    def refuse(self, refusal: Refusal) -> None:
        """Tell a gateway what could not be taken; if it does not arrive, the batch comes again and is refused again."""
        if not self.lost.is_set():
            self._client.publish(refused_topic(refusal.gateway), encode_refusal(refusal), qos=1)

    def close(self) -> None:
        """Leave in good order; the session stays."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: mqtt.Client, _user: object, _flags: mqtt.ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            self._refusal = f"refuses the connection: {reason}"
            self._answered.set()
        else:
            topics = ((ALL_BATCHES, 1), (ALL_HEALTH, 1), (ALL_ASKS, 0))
            client.subscribe([(topic, SubscribeOptions(qos=qos)) for topic, qos in topics])

    def _on_subscribe(
        self, _client: mqtt.Client, _user: object, _mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._refusal = f"refuses the subscription: {refused[0]}"
        self._answered.set()

    def _on_disconnect(
        self, _client: mqtt.Client, _user: object, _flags: object, _reason: ReasonCode, _properties: object
    ) -> None:
        self.lost.set()
        self._answered.set()

    def _on_message(self, _client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
        if message.qos == 0 and self._inbox.qsize() > MOST_QUEUED:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "(not UTF-8)"
        arrived = Message(topic, bytes(message.payload), self._clock.now_ns(), message.retain)
        self._inbox.put_nowait(_Arrival(arrived, self, message.mid, message.qos))


class IngestService:
    """The ingest thread: keeps the line, groups what waits, commits, acknowledges.

    Parameters
    ----------
    folder
        Where relative paths of the broker settings start.
    client_id
        Must stay the same over restarts: the broker keeps our session under it.
    """

    def __init__(
        self, ingest: Ingest, broker: Broker, folder: Path, client_id: str, clock: Clock, supervisor: Supervisor
    ) -> None:
        self._ingest, self._broker, self._folder, self._client_id = ingest, broker, folder, client_id
        self._clock, self._supervisor = clock, supervisor
        self._inbox: queue.Queue[_Arrival] = queue.Queue()
        self._link: Link | None = None
        self._pause_s = FIRST_PAUSE_S

    def run(self) -> None:
        """Work until the supervisor says stop."""
        try:
            while not self._supervisor.stopping.is_set():
                link = self._connected()
                if link is None:
                    self._supervisor.stopping.wait(self._pause_s * random.uniform(0.8, 1.2))
                    self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
                    continue
                arrivals = self._waiting(0.2)
                if arrivals:
                    self._commit(link, arrivals)
                for ack in self._ingest.overdue():
                    link.publish(ack)
        finally:
            if self._link is not None:
                self._link.close()
                self._link = None

    def _connected(self) -> Link | None:
        if self._link is not None and not self._link.lost.is_set():
            return self._link
        if self._link is not None:
            self._link.close()
            self._link = None
            self._ingest.state(broker="connection lost")
            _LOG.warning("connection to the broker lost")
        try:
            self._link = Link(self._broker, self._folder, self._client_id, self._clock, self._inbox)
        except Unreachable as error:
            if self._ingest.figures.broker != str(error):
                _LOG.warning("%s; trying again until it works", error)
            self._ingest.state(broker=str(error))
            return None
        self._pause_s = FIRST_PAUSE_S
        self._ingest.state(broker="connected")
        _LOG.info("connected to the broker at %s:%d", self._broker.host, self._broker.port)
        return self._link

    def _waiting(self, wait_s: float) -> list[_Arrival]:
        """Everything that waits, or after `wait_s` nothing; a group becomes one commit."""
        try:
            arrivals = [self._inbox.get(timeout=wait_s)]
        except queue.Empty:
            return []
        while len(arrivals) < 4 * RECEIVE_MAXIMUM:
            try:
                arrivals.append(self._inbox.get_nowait())
            except queue.Empty:
                break
        return arrivals

    def _commit(self, link: Link, arrivals: Sequence[_Arrival]) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                acks = self._ingest.take([arrival.message for arrival in arrivals])
                break
            except StoreUnavailable as error:
                if self._ingest.figures.store != str(error):
                    _LOG.error("%s; nothing is acknowledged until it works, gateways keep their data", error)
                self._ingest.state(store=str(error))
                if self._supervisor.stopping.wait(pause_s):
                    return
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        for ack in acks:
            link.publish(ack)
        for refusal in self._ingest.refusals():
            link.refuse(refusal)
        link.take_off(arrivals)
