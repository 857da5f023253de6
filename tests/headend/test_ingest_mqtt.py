"""Ingest at a real mosquitto: acknowledged after commit, redelivered after a crash, stored once."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from headend.catalogue import Catalogue
from headend.ingest import Ingest
from headend.ingest_mqtt import IngestService
from headend.stores.api import Block, Receipt, Span
from headend.stores.embedded import EmbeddedReader, EmbeddedStore
from headend.supervise import Supervisor
from meterline.clock import SystemClock
from meterline.errors import StoreUnavailable
from meterline.settings import Broker
from meterline.wire import Ack, ack_topic, batch_topic, decode_ack
from tests.headend.gateway_twin import ENERGY, MINUTE, T0, Twin, poll
from tests.servers.broker import BrokerFactory, Mosquitto
from tests.servers.processes import free_port
from tests.servers.waiting import wait_until

pytestmark = pytest.mark.needs_mosquitto
ROOT = Path(__file__).resolve().parents[2]


class Edge:
    """What stands in for a gateway's uplink: publishes what it is told and listens for acknowledgements."""

    def __init__(self, port: int) -> None:
        self.acks: list[Ack] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, "edge", protocol=MQTTProtocolVersion.MQTTv5)
        subscribed = threading.Event()
        self.client.on_message = lambda _c, _u, message: self.acks.append(decode_ack(bytes(message.payload)))
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe(ack_topic("gw-1"), 1)
        assert subscribed.wait(5)

    def publish(self, *messages: bytes, topic: str = batch_topic("gw-1")) -> None:
        for message in messages:
            self.client.publish(topic, message, qos=1).wait_for_publish(5)

    def holds(self, *ranges: tuple[int, int], within: float = 10.0) -> Ack:
        wait_until(lambda: self.acks and self.acks[-1].received == ranges, within=within, what=f"an ack of {ranges}")
        return self.acks[-1]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Site:
    """A head-end's ingest in this process."""

    def __init__(self, folder: Path, port: int, twin: Twin) -> None:
        self.store, self.catalogue, self.supervisor = EmbeddedStore(folder), Catalogue(folder), Supervisor()
        clock = SystemClock()
        self.ingest = Ingest({"gw-1": twin.public}, self.store, self.catalogue, clock, self.supervisor)
        broker = Broker(host="127.0.0.1", port=port)
        self.service = IngestService(self.ingest, broker, folder, "headend", clock, self.supervisor)

    def start(self) -> Site:
        self.supervisor.start("ingest", self.service.run)
        return self

    def connected(self, within: float = 15.0) -> None:
        wait_until(lambda: self.ingest.figures.broker == "connected", within=within, what="the broker")

    def close(self) -> None:
        assert self.supervisor.stop(10) == []
        self.catalogue.close()
        self.store.close()


@pytest.fixture
def twin() -> Twin:
    return Twin()


@pytest.fixture
def edge(mosquitto: Mosquitto) -> Iterator[Edge]:
    made = Edge(mosquitto.port)
    yield made
    made.close()


def some(twin: Twin, count: int) -> list[bytes]:
    return [twin.seal(poll("m1", T0 + k * MINUTE, 100 + k, k)).message for k in range(count)]


def test_from_publish_to_acknowledgement(mosquitto: Mosquitto, edge: Edge, twin: Twin, tmp_path: Path) -> None:
    site = Site(tmp_path / "site", mosquitto.port, twin).start()
    try:
        site.connected()
        batches = some(twin, 60)  # more than the receive maximum
        edge.publish(*batches[:30], b"poison", *batches[30:])
        edge.publish(batches[0], topic=batch_topic("gw-7"))
        edge.holds((1, 60))
        assert len(site.store.series("m1", ENERGY, Span(0, 2**62))) == 60
        wait_until(lambda: site.catalogue.quarantined() == {"magic": 1, "unknown-gateway": 1}, what="the quarantine")
    finally:
        site.close()


def test_a_hole_is_asked_for_and_filled(mosquitto: Mosquitto, edge: Edge, twin: Twin, tmp_path: Path) -> None:
    site = Site(tmp_path / "site", mosquitto.port, twin).start()
    try:
        site.connected()
        batches = some(twin, 5)
        edge.publish(*batches[:1], *batches[3:])
        edge.holds((1, 1), (4, 5))
        wait_until(lambda: edge.acks[-1].wanted == ((2, 3),), what="the hole to be asked for")
        edge.publish(*batches[1:3])
        assert edge.holds((1, 5)).wanted == ()
    finally:
        site.close()


def test_a_store_that_is_down_holds_back_the_acknowledgement(
    mosquitto: Mosquitto, edge: Edge, twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path / "site", mosquitto.port, twin)
    real, refused = site.store.append, threading.Event()
    broken = threading.Event()
    broken.set()

    def append(blocks: list[Block]) -> Receipt:
        if broken.is_set():
            refused.set()
            raise StoreUnavailable("disk full")
        return real(blocks)

    monkeypatch.setattr(site.store, "append", append)
    site.start()
    try:
        site.connected()
        edge.publish(*some(twin, 3))
        assert refused.wait(10)
        wait_until(lambda: site.ingest.figures.store == "disk full", what="the state to say so")
        assert edge.acks == []
        broken.clear()
        edge.holds((1, 3))
        wait_until(lambda: site.ingest.figures.store == "ok", what="the state to say so")
    finally:
        site.close()


def test_no_broker_is_one_line_and_then_it_works(
    mosquitto_factory: BrokerFactory, twin: Twin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    site = Site(tmp_path / "site", port, twin).start()
    try:
        wait_until(lambda: "refused" in site.ingest.figures.broker.lower(), what="the refusal")
        wait_until(lambda: site.service._pause_s >= 4, what="a second and third try")
        lines = [r.message for r in caplog.records if "broker" in r.message]
        assert len(lines) == 1
        assert f"127.0.0.1:{port}" in lines[0]
        assert "start the broker" in lines[0]
    finally:
        site.close()


def test_a_broker_that_dies_comes_back_with_everything_delivered(
    mosquitto: Mosquitto, twin: Twin, tmp_path: Path
) -> None:
    site = Site(tmp_path / "site", mosquitto.port, twin).start()
    edge = Edge(mosquitto.port)
    try:
        site.connected()
        batches = some(twin, 6)
        edge.publish(*batches[:3])
        edge.holds((1, 3))
        edge.close()
        mosquitto.kill()
        wait_until(lambda: site.ingest.figures.broker != "connected", what="the loss to be noticed")
        mosquitto.start()
        site.connected()
        edge = Edge(mosquitto.port)
        edge.publish(*batches)
        edge.holds((1, 6))
        assert site.store.totals().batches == 6
    finally:
        edge.close()
        site.close()


KILLED = """
    import base64, os, signal, sys
    from pathlib import Path
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from headend.catalogue import Catalogue
    from headend.ingest import Ingest
    from headend.ingest_mqtt import IngestService
    from headend.stores.embedded import EmbeddedStore
    from headend.supervise import Supervisor
    from meterline.clock import SystemClock
    from meterline.settings import Broker

    folder, port, key = Path(sys.argv[1]), int(sys.argv[2]), base64.b64decode(sys.argv[3])
    store, clock, supervisor = EmbeddedStore(folder), SystemClock(), Supervisor()
    real = store.append

    def append(blocks):
        receipt = real(blocks)
        os.kill(os.getpid(), signal.SIGKILL)  # committed, nothing acknowledged to anybody
        return receipt

    store.append = append
    ingest = Ingest({"gw-1": Ed25519PublicKey.from_public_bytes(key)}, store, Catalogue(folder), clock, supervisor)
    IngestService(ingest, Broker(host="127.0.0.1", port=port), folder, "headend", clock, supervisor).run()
"""


def test_killed_between_commit_and_acknowledgement(
    mosquitto: Mosquitto, edge: Edge, twin: Twin, tmp_path: Path
) -> None:
    """The broker delivers again to the next process, which knows the batches and acknowledges them: no duplicate."""
    folder = tmp_path / "site"
    key = base64.b64encode(twin.public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), str(mosquitto.port), key], cwd=ROOT
    )
    batches = some(twin, 4)
    wait_until(lambda: "SUBACK to headend" in mosquitto.log(), within=20, what="the head-end at the broker")
    edge.publish(*batches)
    assert child.wait(20) == -signal.SIGKILL
    kept = EmbeddedReader(folder)
    assert kept.totals().batches >= 1
    kept.close()
    assert edge.acks == []
    site = Site(folder, mosquitto.port, twin).start()
    try:
        edge.holds((1, 4))
        assert site.store.totals().batches == 4
        assert site.ingest.figures.duplicates >= 1
        assert len(site.store.series("m1", ENERGY, Span(0, 2**62))) == 4
    finally:
        site.close()
