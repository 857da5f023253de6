"""The uplink alone: brokers that hang, network threads that die, ids used twice, rubbish for an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from gateway_firmware_py import uplink as module
from gateway_firmware_py.health import Troubles
from gateway_firmware_py.outbox import Outbox
from gateway_firmware_py.uplink import Uplink
from meterline.ranges import RangeSet
from meterline.settings import Broker, Login
from meterline.wire import Ack, Health, ack_topic
from tests.gateway.fake_headend import FakeHeadend
from tests.gateway.memory_files import MemoryFiles
from tests.gateway.rig import KEY, Rig, numbers_of
from tests.servers.broker import BrokerFactory, Mosquitto
from tests.servers.waiting import wait_until

pytestmark = pytest.mark.needs_mosquitto


class Station:
    """A keeper in memory with an uplink on a thread."""

    def __init__(self, port: int, folder: Path, make: Callable[..., Uplink] = Uplink, **broker: Any) -> None:
        self.said: list[str] = []
        self.rig = Rig(MemoryFiles())
        self.troubles = Troubles(self.said.append)
        self.outbox = Outbox("gw1", self.rig.state)
        self.outbox.attach(self.rig.keeper)
        self.rig.keeper._kept = self._kept
        self.uplink = make(
            gateway="gw1",
            broker=Broker(port=port, **broker),
            folder=folder,
            outbox=self.outbox,
            health=lambda state: Health("gw1", self.rig.keeper.epoch, state, 0, troubles=self.troubles.now()),
            health_s=0.2,
            monotonic_s=time.monotonic,
            troubles=self.troubles,
            announce=self.said.append,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.uplink.run, args=(self._stop,), name="uplink")

    def _kept(self, batches: Any) -> None:
        self.rig.sent.extend(batches)
        self.outbox.announce(batches)
        self.uplink.wake()

    def start(self) -> Station:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(15)
        assert not self._thread.is_alive()

    def trouble(self, word: str) -> str:
        return next((text for text in self.troubles.now() if text.startswith(word)), "")


@pytest.fixture
def stations() -> Iterator[list[Station]]:
    begun: list[Station] = []
    yield begun
    for station in begun:
        station.stop()


@pytest.fixture
def store(mosquitto: Mosquitto) -> Iterator[FakeHeadend]:
    headend = FakeHeadend(mosquitto.port, KEY.public_key())
    headend.start()
    yield headend
    headend.stop()


def begin(stations: list[Station], port: int, folder: Path, **more: Any) -> Station:
    stations.append(Station(port, folder, **more).start())
    return stations[-1]


def test_a_broker_that_hangs_is_left_and_found_again(
    mosquitto: Mosquitto, store: FakeHeadend, stations: list[Station], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALLED_S", 0.5)
    monkeypatch.setattr(module, "CONNECT_S", 1.0)
    monkeypatch.setattr(module, "PAUSES_S", (0.1, 0.2))
    station = begin(stations, mosquitto.port, tmp_path)
    station.rig.keep(1)
    wait_until(lambda: len(store.stored) == 1, what="the first batch")
    mosquitto.pause()
    station.rig.keep(2)
    wait_until(lambda: "confirms nothing" in station.trouble("uplink"), what="the watchdog")
    mosquitto.resume()
    wait_until(lambda: len(store.stored) == 2, what="the second batch")
    assert store.problems == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_network_thread_is_noticed_though_the_client_says_connected(
    mosquitto: Mosquitto, store: FakeHeadend, stations: list[Station], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALLED_S", 0.5)
    monkeypatch.setattr(module, "PAUSES_S", (0.1, 0.2))
    made: list[mqtt.Client] = []

    class Sabotaged(Uplink):
        def _client(self, events: Any) -> mqtt.Client:
            client = super()._client(events)
            made.append(client)
            if len(made) == 1:

                def bad(*_: object) -> None:
                    raise RuntimeError("a callback fails")

                client.on_publish = bad
            return client

    station = begin(stations, mosquitto.port, tmp_path, make=Sabotaged)
    wait_until(lambda: len(made) == 2, what="a fresh client")
    station.rig.keep(1)
    wait_until(lambda: len(store.stored) == 1, what="the batch")


def test_two_devices_with_one_id_do_not_fight(
    mosquitto: Mosquitto, stations: list[Station], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.1, 60.0))
    station = begin(stations, mosquitto.port, tmp_path)
    wait_until(lambda: station.uplink.connected, what="the connection")
    other = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="meterline-gw1", protocol=mqtt.MQTTv5)
    other.reconnect_delay_set(1, 1)
    other.connect("127.0.0.1", mosquitto.port)
    other.loop_start()
    try:
        wait_until(lambda: "another device" in station.trouble("uplink-unsteady"), what="the trouble in words")
        assert station.uplink.connections <= 4, "each pause is twice the one before"
    finally:
        other.disconnect()
        other.loop_stop()


def test_a_broker_that_says_so_is_believed(stations: list[Station], tmp_path: Path) -> None:
    uplink = Station(1, tmp_path).uplink
    with pytest.raises(module.Refused, match="another device"):
        uplink._lost(module._Event("gone", reason=0x8E))
    with pytest.raises(module.Refused, match="raise its limit"):
        uplink._lost(module._Event("gone", reason=0x95))


def test_a_wrong_password_is_named(mosquitto_factory: BrokerFactory, stations: list[Station], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("wrong")
    broker = mosquitto_factory("allow_anonymous false")
    station = begin(stations, broker.port, tmp_path, login=Login(username="gw1", password_file="secret"))
    wait_until(lambda: "check user and password" in station.trouble("uplink"), what="the refusal in words")


def test_rubbish_on_the_acknowledgement_topic_stops_nothing(
    mosquitto: Mosquitto, store: FakeHeadend, stations: list[Station], tmp_path: Path
) -> None:
    rubbish = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    rubbish.connect("127.0.0.1", mosquitto.port)
    rubbish.publish(ack_topic("gw1"), b'{"v": 1, "received": [[9, 1]]}', qos=1, retain=True)
    rubbish.loop_start()
    station = begin(stations, mosquitto.port, tmp_path)
    try:
        wait_until(lambda: "cannot be read" in station.trouble("ack"), what="the rubbish noticed")
        for n in range(1, 30):
            station.rig.keep(n)
        wait_until(lambda: len(store.stored) == 29, what="all batches")
        wait_until(lambda: not station.troubles.now(), what="the trouble over")
    finally:
        rubbish.disconnect()
        rubbish.loop_stop()
    assert sorted(numbers_of(station.rig.sent)) == list(range(1, 30))
    assert store.problems == []


def test_a_certificate_file_that_is_not_there_is_named(stations: list[Station], tmp_path: Path) -> None:
    station = begin(stations, 1, tmp_path, tls=True, ca_file="ca.pem")
    wait_until(lambda: "ca.pem" in station.trouble("uplink"), what="the file's name")


def test_acknowledgements_lost_doubled_and_foreign(
    mosquitto: Mosquitto, store: FakeHeadend, stations: list[Station], tmp_path: Path
) -> None:
    dealt = iter(range(1_000_000))

    def mangle(ack: Ack) -> list[Ack]:
        foreign = Ack("gw2", ack.epoch, ((1, 1_000_000),))
        unknown = Ack("gw1", "0" * 16, ((1, 1_000_000),))
        return [[], [ack, ack, foreign], [], [unknown, ack]][next(dealt) % 4]

    store.mangle = mangle
    station = begin(stations, mosquitto.port, tmp_path)
    for n in range(1, 101):
        station.rig.keep(n)
    wait_until(lambda: len(store.stored) == 100, what="all batches")
    store.mangle = lambda ack: [ack]
    store.acknowledge_all("gw1")
    wait_until(lambda: station.rig.state.acked(station.rig.keeper.epoch) == RangeSet([(1, 100)]), what="the last word")
    assert station.rig.state.counters()["acks-unknown-epoch"] > 0
    assert store.problems == []
    assert store.chain_breaks() == []


def test_a_silent_head_end_closes_the_window_and_costs_nothing(
    mosquitto: Mosquitto, store: FakeHeadend, stations: list[Station], tmp_path: Path
) -> None:
    station = begin(stations, mosquitto.port, tmp_path)
    wait_until(lambda: station.uplink.connected and station.outbox.compared, what="the comparison")
    store.answers = False
    for n in range(1, 101):
        station.rig.keep(n)
    wait_until(lambda: len(store.stored) == 16, what="four windows of four")
    wait_until(lambda: len(store.health) > 3, what="some time to go by")
    assert len(store.stored) == 16, "the broker's queue is no place for a backlog"
    assert station.rig.state.acked(station.rig.keeper.epoch) == RangeSet(), "confirmed is not stored"
    store.answers = True
    store.acknowledge_all("gw1")
    wait_until(lambda: len(store.stored) == 100, what="all batches")
    assert store.problems == []


def test_a_head_end_that_is_away_is_named_and_gets_nothing_it_could_not_compare(
    mosquitto: Mosquitto, stations: list[Station], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNANSWERED_S", 0.3)
    monkeypatch.setattr("gateway_firmware_py.outbox.ASK_S", 0.2)
    station = begin(stations, mosquitto.port, tmp_path)
    station.rig.keep(1)
    wait_until(lambda: "does not answer" in station.trouble("head-end"), what="the trouble in words")
    assert station.uplink.sent == 0
    store = FakeHeadend(mosquitto.port, KEY.public_key())
    store.start()
    try:
        wait_until(lambda: len(store.stored) == 1, what="the batch")
        wait_until(lambda: not station.troubles.now(), what="the trouble over")
    finally:
        store.stop()


def test_a_gateway_the_head_end_does_not_know_is_told_so_and_not_that_nobody_answers(
    mosquitto: Mosquitto, store: FakeHeadend, stations: list[Station], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway_firmware_py.outbox.ASK_S", 0.2)
    store.knows = False
    station = begin(stations, mosquitto.port, tmp_path)
    station.rig.keep(1)
    wait_until(lambda: "--show-key" in station.trouble("head-end"), what="the refusal in words")
    assert store.stored == {}
    store.knows = True
    wait_until(lambda: len(store.stored) == 1, what="the batch, once it is known")
    wait_until(lambda: not station.troubles.now(), what="the trouble over")


def test_a_key_the_head_end_does_not_know_is_named_and_nothing_is_given_up(
    mosquitto: Mosquitto, store: FakeHeadend, stations: list[Station], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFUSED_S", (0.3, 0.6))
    store.refuses = lambda batch: "signature"
    station = begin(stations, mosquitto.port, tmp_path)
    for n in range(1, 41):
        station.rig.keep(n)
    wait_until(lambda: "--show-key" in station.trouble("refused"), what="the refusal in words")
    store.refuses = lambda batch: ""
    wait_until(lambda: len(store.stored) == 40, what="everything, once the key is right")
    wait_until(lambda: not station.troubles.now(), what="the trouble over")
    assert len(store.refused) < 40, "not everything was tried in vain"
    assert station.rig.state.undeclared() == ()


def test_a_broker_that_denies_batches_is_named_and_nothing_is_given_up(
    tmp_path: Path, mosquitto_factory: BrokerFactory, stations: list[Station], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.1, 0.2))
    monkeypatch.setattr(module, "REFUSED_S", (0.3, 0.6))
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite ml1/up/gw1/health\ntopic read ml1/#\n")
    broker = mosquitto_factory(f"acl_file {rules}")
    store = FakeHeadend(broker.port, KEY.public_key())
    store.start()
    try:
        station = begin(stations, broker.port, tmp_path)
        station.rig.keep(1)
        wait_until(lambda: "access rules" in station.trouble("denied"), what="the denial in words")
        wait_until(lambda: store.health and any("denied" in t for t in store.health[-1].troubles), what="and in health")
        assert station.outbox.live + station.outbox.backlog + station.outbox.window.under_way == 1
        assert station.rig.state.acked(station.rig.keeper.epoch) == RangeSet()
        rules.write_text("topic readwrite ml1/#\n")
        broker.restart()
        wait_until(lambda: len(store.stored) == 1, what="what had been denied")
        wait_until(lambda: not station.troubles.now(), what="the troubles over")
    finally:
        store.stop()


def test_batches_under_way_never_pass_what_the_broker_takes(
    tmp_path: Path, mosquitto_factory: BrokerFactory, stations: list[Station]
) -> None:
    broker = mosquitto_factory("max_inflight_messages 2")  # announced as the receive maximum
    store = FakeHeadend(broker.port, KEY.public_key())
    store.start()
    try:
        station = begin(stations, broker.port, tmp_path)
        for n in range(1, 101):
            station.rig.keep(n)
            assert station.outbox.window.size <= 4
        wait_until(lambda: len(store.stored) == 100, what="all batches")
        assert station.outbox.window.size <= 2
        assert station.uplink.connections == 1, "a broker closes the connection that sends too much at once"
    finally:
        store.stop()
