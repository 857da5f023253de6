"""E13: the broker's certificate decides whether anything is sent, on both sides; an open line is never the way out."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_firmware_py import uplink as module
from headend.ingest_mqtt import Link
from meterline.clock import SystemClock
from meterline.errors import Unreachable
from meterline.settings import Broker
from tests.gateway.certificates import Authority
from tests.gateway.test_uplink import Station
from tests.servers.broker import BrokerFactory, Mosquitto
from tests.servers.waiting import wait_until

pytestmark = pytest.mark.needs_mosquitto


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def stations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Station]]:
    monkeypatch.setattr(module, "PAUSES_S", (0.05, 0.1))
    monkeypatch.setattr(module, "REFUSED_S", (0.05, 0.1))
    begun: list[Station] = []
    yield begun
    for station in begun:
        station.stop()


def listening(factory: BrokerFactory, certificate: Path, key: Path, more: str = "") -> Mosquitto:
    return factory(f"certfile {certificate}\nkeyfile {key}\n{more}")


def connect(port: int, folder: Path, ca_file: Path, **more: str) -> Link:
    """The head-end's side of it."""
    broker = Broker(port=port, tls=True, ca_file=ca_file.name, **more)  # type: ignore[arg-type]
    return Link(broker, folder, "headend", SystemClock(), queue.Queue())


def test_a_broker_of_our_authority_is_spoken_to(
    mosquitto_factory: BrokerFactory, authority: Authority, stations: list[Station], tmp_path: Path
) -> None:
    broker = listening(mosquitto_factory, *authority.issue("broker"))
    stations.append(Station(broker.port, tmp_path, tls=True, ca_file=authority.file.name).start())
    wait_until(lambda: stations[0].uplink.connected, what="the connection")
    assert stations[0].trouble("certificate") == ""
    connect(broker.port, tmp_path, authority.file).close()


@pytest.mark.parametrize(
    ("flaw", "says"),
    [
        ("foreign", "unable to get local issuer certificate"),
        ("expired", "certificate has expired"),
        ("elsewhere", "IP address mismatch"),
    ],
)
def test_a_certificate_that_is_not_right_is_refused_by_both_sides(
    mosquitto_factory: BrokerFactory,
    authority: Authority,
    stations: list[Station],
    tmp_path: Path,
    flaw: str,
    says: str,
) -> None:
    if flaw == "foreign":
        files = Authority(tmp_path, "somebody").issue("broker")
    elif flaw == "expired":
        files = authority.issue("broker", days=-1)
    else:
        files = authority.issue("broker", address=None)
    broker = listening(mosquitto_factory, *files)
    stations.append(Station(broker.port, tmp_path, tls=True, ca_file=authority.file.name).start())
    stations[0].rig.keep(1)
    wait_until(lambda: says in stations[0].trouble("uplink"), what="the refusal in words")
    assert "check ca_file" in stations[0].trouble("uplink") or len(stations[0].trouble("uplink")) == 120
    assert not stations[0].uplink.connected
    assert stations[0].uplink.sent == 0
    with pytest.raises(Unreachable, match=says):
        connect(broker.port, tmp_path, authority.file)
    assert "Received PUBLISH" not in broker.log()


def test_an_open_port_is_not_taken_for_a_protected_one(
    mosquitto: Mosquitto, authority: Authority, stations: list[Station], tmp_path: Path
) -> None:
    stations.append(Station(mosquitto.port, tmp_path, tls=True, ca_file=authority.file.name).start())
    wait_until(lambda: stations[0].trouble("uplink"), what="the refusal")
    assert not stations[0].uplink.connected
    assert "Received CONNECT" not in mosquitto.log()


def test_a_certificate_that_ends_soon_is_named_in_time(
    mosquitto_factory: BrokerFactory, authority: Authority, stations: list[Station], tmp_path: Path
) -> None:
    broker = listening(mosquitto_factory, *authority.issue("broker", days=9.5))
    stations.append(Station(broker.port, tmp_path, tls=True, ca_file=authority.file.name).start())
    wait_until(lambda: stations[0].uplink.connected, what="the connection")
    wait_until(lambda: "ends in 9 day(s)" in stations[0].trouble("certificate"), what="the warning")


def test_a_broker_may_know_its_clients_by_their_certificates(
    mosquitto_factory: BrokerFactory, authority: Authority, stations: list[Station], tmp_path: Path
) -> None:
    demands = f"cafile {authority.file}\nrequire_certificate true\nuse_identity_as_username true"
    broker = listening(mosquitto_factory, *authority.issue("broker"), demands)
    authority.issue("gw1")
    nobody = Station(broker.port, tmp_path, tls=True, ca_file=authority.file.name).start()
    known = Station(
        broker.port, tmp_path, tls=True, ca_file=authority.file.name, cert_file="gw1.crt", key_file="gw1.key"
    ).start()
    stations += [nobody, known]
    wait_until(lambda: known.uplink.connected, what="the known one")
    wait_until(lambda: nobody.trouble("uplink"), what="the other one's refusal")
    assert not nobody.uplink.connected
    assert "u'gw1'" in broker.log()
