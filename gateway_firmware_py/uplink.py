"""MQTT 5 to the broker: a pipe that loses, doubles and reorders, and is treated as one.

One thread of ours does everything; paho's network thread only puts what happens into a queue, so nothing in a callback
can kill it. paho's own queue stays empty: how much is under way is our `Window`'s business, and after a disconnect the
client object is thrown away with whatever it still wanted to resend (components.md §7, FAULTS.md M5-M8).
"""

from __future__ import annotations

import queue
import random
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway_firmware_py.health import Troubles
from gateway_firmware_py.lanes import Key
from gateway_firmware_py.outbox import Outbox
from meterline.broker_tls import ends_soon, tls_context, why_refused
from meterline.errors import UplinkDown, WireError
from meterline.settings import Broker
from meterline.wire import (
    Health,
    Refusal,
    ack_topic,
    ask_topic,
    batch_topic,
    decode_ack,
    decode_refusal,
    encode_ask,
    encode_health,
    health_topic,
    refusal_digest,
    refused_topic,
)

KEEPALIVE_S = 20
CONNECT_S = 10.0
"""Longest wait for the broker's word on connecting and subscribing. [s]"""
UNANSWERED_S = 20.0
"""A question to the head-end stands unanswered for so long: a person is told. [s]"""
AUDIT_S = 3600.0
"""Between comparisons of everything with the head-end while the connection lasts. [s]"""
STEADY_S = 120.0
"""A connection that lasted so long was a good one. [s]"""
STALLED_S = 45.0
"""Nothing confirmed for so long although something is under way: the client is rebuilt. [s]"""
PAUSES_S = (1.0, 60.0)
"""Shortest and longest pause before the next attempt; jittered by half. [s]"""
REFUSED_S = (30.0, 300.0)
"""The same when the broker refuses us: nobody is helped by trying hard. [s]"""
_NOT_AUTHORISED, _TAKEN_OVER, _TOO_LARGE, _QUOTA = 0x87, 0x8E, 0x95, 0x97


@dataclass(frozen=True, slots=True)
class _Event:
    kind: str
    reason: int = 0
    words: str = ""
    mid: int = 0
    topic: str = ""
    payload: bytes = b""
    properties: Any = None


class Refused(UplinkDown):
    """The broker is there and does not want us; a person has to change something."""


class Uplink:
    """Sends what the outbox gives, takes acknowledgements, tells the gateway's health.

    Parameters
    ----------
    folder
        Relative names of certificate and password files start here.
    health
        Makes the health message for ``running``, ``stopping`` and ``gone``.
    """

    def __init__(
        self,
        *,
        gateway: str,
        broker: Broker,
        folder: Path,
        outbox: Outbox,
        health: Callable[[str], Health],
        health_s: float,
        monotonic_s: Callable[[], float],
        troubles: Troubles,
        announce: Callable[[str], None],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._now_ns = now_ns
        self._gateway, self._broker, self._folder = gateway, broker, folder
        self._outbox, self._health, self._health_s = outbox, health, health_s
        self._monotonic_s, self._troubles, self._announce = monotonic_s, troubles, announce
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._mids: dict[int, Key | None] = {}  # None: a health message
        self._questions: set[int] = set()
        self._asked: deque[bytes] = deque(maxlen=64)
        self._first_question = True
        self._compared_s = 0.0
        self._denied_until_s = 0.0
        self._denied_pause_s = REFUSED_S[0]
        self.progress_s = monotonic_s()
        self.connected = False
        self.sent = self.resent = self.connections = 0

    def wake(self) -> None:
        """There is something new to send."""
        self._events.put(_Event("wake"))

    def run(self, stop: threading.Event) -> None:
        """Connect, send, reconnect, until told to stop."""
        pause_s = PAUSES_S[0]
        short = 0
        while not stop.is_set():
            began_s, connections = self._monotonic_s(), self.connections
            try:
                self._session(stop)
                return
            except UplinkDown as error:
                self._troubles.set("uplink", str(error))
                lasted_s = self._monotonic_s() - began_s
                if lasted_s > STEADY_S:
                    pause_s, short = PAUSES_S[0], 0
                short += self.connections - connections
                # Mosquitto 2.0 does not tell a client that its id was taken over; it looks like this.
                again = f"lost {short} times soon after connecting; does another device use this gateway's id?"
                self._troubles.set("uplink-unsteady", again if short >= 3 else "")
                wait_s = max(pause_s, REFUSED_S[0]) if isinstance(error, Refused) else pause_s
                stop.wait(wait_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, PAUSES_S[1])

    # --- one connection --------------------------------------------------------------------------------------------

    def _session(self, stop: threading.Event) -> None:
        self._events = queue.SimpleQueue()
        self._mids.clear()
        self._questions.clear()
        self._first_question = True
        client = self._client(self._events)
        try:
            self._connect(client, stop)
            if stop.is_set():
                return
            self.connected = True
            self.connections += 1
            self._troubles.set("uplink", "")
            self._look_at_certificate(client)
            self._announce(f"connected to the broker at {self._where}")
            self._serve(client, stop)
            self._farewell(client)
        finally:
            self.connected = False
            client.disconnect()
            client.loop_stop()

    def _client(self, events: queue.SimpleQueue[_Event]) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"meterline-{self._gateway}",
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_S / 2
        client.max_queued_messages_set(64)
        # Only tuples into a queue: a callback that fails would end paho's thread without a sign.
        client.on_connect = lambda c, u, flags, reason, properties: events.put(
            _Event("connected", _value(reason), str(reason), properties=properties)
        )
        client.on_connect_fail = lambda c, u: events.put(_Event("gone", words="no answer"))
        client.on_disconnect = lambda c, u, flags, reason, properties: events.put(
            _Event("gone", _value(reason), str(reason))
        )
        client.on_subscribe = lambda c, u, mid, reasons, properties: events.put(
            _Event("subscribed", max(map(_value, reasons), default=0))
        )
        client.on_publish = lambda c, u, mid, reason, properties: events.put(
            _Event("confirmed", _value(reason), str(reason), mid=mid)
        )
        client.on_message = lambda c, u, message: events.put(
            _Event("message", topic=message.topic, payload=bytes(message.payload))
        )
        client.on_socket_open = lambda c, u, sock: _limit_silence(sock)
        client.will_set(health_topic(self._gateway), encode_health(self._health("gone")), qos=1, retain=True)
        if self._broker.tls:
            try:
                client.tls_set_context(tls_context(self._broker, self._folder))
            except OSError as error:
                raise UplinkDown(str(error)) from error
        if self._broker.login is not None:
            client.username_pw_set(self._broker.login.username, self._broker.login.password(self._folder))
        return client

    def _connect(self, client: mqtt.Client, stop: threading.Event) -> None:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 0
        try:
            client.connect(self._broker.host, self._broker.port, KEEPALIVE_S, clean_start=True, properties=properties)
        except (OSError, ValueError) as error:
            if why := why_refused(error):
                raise Refused(f"{self._where}: {why}") from error
            raise UplinkDown(
                f"no broker at {self._where} ({error}); everything is kept in the journal, trying again"
            ) from error
        client.loop_start()
        answer = self._await("connected", stop)
        if answer is None:
            return
        if answer.reason >= 0x80:
            raise Refused(f"the broker at {self._where} refuses us: {answer.words}; check user and password")
        receive_maximum = getattr(answer.properties, "ReceiveMaximum", None) or 65535
        client.subscribe([(ack_topic(self._gateway), 1), (refused_topic(self._gateway), 1)])
        answer = self._await("subscribed", stop)
        if answer is not None and answer.reason >= 0x80:
            raise Refused(f"the broker does not let us read ml1/down/{self._gateway}/#; check its access rules")
        self._outbox.connected(receive_maximum)

    def _look_at_certificate(self, client: mqtt.Client) -> None:
        line = client.socket()
        certificate = line.getpeercert() if isinstance(line, ssl.SSLSocket) else None
        self._troubles.set("certificate", ends_soon(certificate, self._now_ns()))

    def _await(self, kind: str, stop: threading.Event) -> _Event | None:
        end_s = self._monotonic_s() + CONNECT_S
        while not stop.is_set():
            left_s = end_s - self._monotonic_s()
            if left_s <= 0:
                raise UplinkDown(f"the broker at {self._where} does not answer; trying again")
            event = self._next(min(left_s, 0.5))
            if event is None:
                continue
            if event.kind == kind:
                return event
            self._handle(event)
        return None

    def _serve(self, client: mqtt.Client, stop: threading.Event) -> None:
        now_s = self._monotonic_s()
        self.progress_s = began_s = now_s
        health_due_s = now_s
        self._compared_s = now_s
        audit_due_s = now_s + AUDIT_S
        while not stop.is_set():
            now_s = self._monotonic_s()
            if now_s >= health_due_s:
                self._publish_health(client, "running")
                health_due_s = now_s + self._health_s
                if now_s - began_s > STEADY_S:
                    self._troubles.set("uplink-unsteady", "")
            self.resent += self._outbox.tick(now_s)
            if now_s >= audit_due_s:
                audit_due_s = now_s + AUDIT_S
                self._outbox.audit()
            self._ask(client, now_s)
            if now_s >= self._denied_until_s:
                self._fill(client, now_s)
            if self._mids and now_s - self.progress_s > STALLED_S:
                raise UplinkDown(f"the broker at {self._where} confirms nothing; connecting anew")
            deadline_s = self._outbox.window.next_deadline_s()
            wait_s = min(1.0, health_due_s - now_s, (deadline_s or now_s + 1.0) - now_s)
            event = self._next(max(0.01, wait_s))
            while event is not None:
                self._handle(event)
                event = self._next(0.0)

    def _ask(self, client: mqtt.Client, now_s: float) -> None:
        """Ask what the head-end holds, before anything is sent.

        The first question of a connection is confirmed, which shows whether the broker lets it pass; repeating it into
        the queue of a head-end that is away would only fill that.
        """
        for ask in self._outbox.questions(now_s):
            question = encode_ask(ask)
            self._asked.append(refusal_digest(question))
            info = client.publish(ask_topic(self._gateway), question, qos=int(self._first_question))
            if self._first_question:
                self._questions.add(info.mid)
            self._first_question = False
        if self._outbox.compared:
            self._compared_s = now_s
            self._troubles.set("head-end", "")
        elif now_s - self._compared_s > UNANSWERED_S:
            self._troubles.set("head-end", "does not answer; batches wait in the journal until it does")

    def _unwanted(self, refusal: Refusal) -> bool:
        """Whether it is our question that was refused: then the head-end is there and does not want to know us."""
        if refusal.gateway != self._gateway or refusal.digest not in self._asked:
            return False
        self._compared_s = self._monotonic_s()
        self._troubles.set("head-end", _what_to_do(refusal))
        return True

    def _fill(self, client: mqtt.Client, now_s: float) -> None:
        while True:
            try:
                item = self._outbox.take(now_s)
            except OSError as error:
                self._troubles.set("journal-read", f"{error.strerror or error}")
                return
            if item is None:
                return
            key, message = item
            info = client.publish(batch_topic(self._gateway), message, qos=1)
            if info.rc != mqtt.MQTT_ERR_SUCCESS:
                self._outbox.give_back(key, now_s)
                raise UplinkDown(f"the connection to {self._where} broke ({mqtt.error_string(info.rc)})")
            if not self._mids:
                self.progress_s = now_s
            self._mids[info.mid] = key
            self.sent += 1

    def _publish_health(self, client: mqtt.Client, state: str) -> int:
        message = encode_health(self._health(state))
        info = client.publish(health_topic(self._gateway), message, qos=1, retain=True)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            raise UplinkDown(f"the connection to {self._where} broke ({mqtt.error_string(info.rc)})")
        if not self._mids:
            self.progress_s = self._monotonic_s()
        self._mids[info.mid] = None
        return info.mid

    def _farewell(self, client: mqtt.Client) -> None:
        """Say that we stop on purpose; a second is enough, the last will says the rest."""
        mid = self._publish_health(client, "stopping")
        end_s = self._monotonic_s() + 1.0
        while mid in self._mids and self._monotonic_s() < end_s:
            event = self._next(0.1)
            if event is not None:
                self._handle(event)

    def _handle(self, event: _Event) -> None:
        now_s = self._monotonic_s()
        if event.kind == "gone":
            self._lost(event)
        elif event.kind == "confirmed":
            self._confirmed(event, now_s)
        elif event.kind == "message":
            self.progress_s = now_s
            try:
                self._answer(event, now_s)
            except WireError as error:
                self._troubles.set("ack", f"an answer of the head-end cannot be read ({error})")
            else:
                self._troubles.set("ack", "")

    def _answer(self, event: _Event, now_s: float) -> None:
        if event.topic == refused_topic(self._gateway):
            refusal = decode_refusal(event.payload)
            if not self._unwanted(refusal) and self._outbox.refused(refusal, now_s):
                self._pause(now_s)
                self._troubles.set("refused", _what_to_do(refusal))
        elif self._outbox.acknowledge(decode_ack(event.payload), now_s):
            self._denied_pause_s = REFUSED_S[0]
            self._troubles.set("refused", "")

    def _pause(self, now_s: float) -> None:
        """Send no batches for a while; each time longer, until one is taken again."""
        if now_s >= self._denied_until_s:
            self._denied_until_s = now_s + self._denied_pause_s
            self._denied_pause_s = min(2 * self._denied_pause_s, REFUSED_S[1])

    def _confirmed(self, event: _Event, now_s: float) -> None:
        self.progress_s = now_s
        key = self._mids.pop(event.mid, None)
        question = event.mid in self._questions
        self._questions.discard(event.mid)
        if question and event.reason >= 0x80:
            self._deny(event.words)
        if event.reason < 0x80:
            if key is not None:
                self._outbox.confirmed(key)
                self._troubles.set("denied", "")
            return
        if key is None:
            return
        self._outbox.give_back(key, now_s, slower=True)
        if event.reason == _QUOTA:
            self._denied_until_s = now_s + 1.0
        else:
            self._pause(now_s)
            self._deny(event.words)

    def _deny(self, words: str) -> None:
        self._troubles.set(
            "denied", f"the broker refuses batches ({words}); check its access rules for {self._gateway}"
        )

    def _lost(self, event: _Event) -> None:
        if event.reason == _TAKEN_OVER:
            raise Refused("another device connects with this gateway's id; one of the two must be renamed")
        if event.reason == _NOT_AUTHORISED:
            raise Refused(f"the broker at {self._where} sent us away: {event.words}")
        if event.reason == _TOO_LARGE:
            raise Refused(f"the broker at {self._where} takes no messages of this size; raise its limit")
        raise UplinkDown(f"the connection to {self._where} is gone ({event.words}); kept in the journal, trying again")

    def _next(self, wait_s: float) -> _Event | None:
        try:
            return self._events.get(timeout=wait_s) if wait_s > 0 else self._events.get_nowait()
        except queue.Empty:
            return None

    @property
    def _where(self) -> str:
        return f"{self._broker.host}:{self._broker.port}"


def _what_to_do(refusal: Refusal) -> str:
    """A refusal that all batches would meet, for a person."""
    if refusal.reason in ("signature", "unknown-gateway"):
        return "the head-end does not know this gateway's key; put it into headend.yaml (meterline gateway --show-key)"
    if refusal.reason == "version":
        return "the head-end is of another version; update it"
    return f"the head-end refuses every batch ({refusal.reason}: {refusal.detail[:60]}); nothing is given up"


def _value(reason: ReasonCode | int) -> int:
    return reason if isinstance(reason, int) else int(reason.value)


def _limit_silence(sock: Any) -> None:
    """Let the kernel give up on a peer that takes nothing, sooner than its own quarter of an hour."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and getattr(sock, "family", None) in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, option, 30_000)
