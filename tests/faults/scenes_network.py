"""Group E: network and broker."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.faults.chain import Chain
from tests.faults.mqtt_proxy import PUBACK, PUBLISH, Direction, kind_of, read_publish
from tests.faults.plant_files import GATEWAY, Wish
from tests.faults.play import Play, plays, stage
from tests.servers.waiting import wait_until

WINDOW = 10
"""Most batches the gateway may have unconfirmed; FAULTS.md §6.2. [batches]"""
CONNACK = 2
QUOTA, BAD_USER = 0x97, 0x86
# A minute of the plant is a second here, so the pauses between attempts are shortened, too. [s]
QUICK: dict[str, object] = {
    "gateway_firmware_py.uplink:PAUSES_S": [0.5, 4.0],
    "gateway_firmware_py.uplink:REFUSED_S": [1.0, 4.0],
}
NETWORK = stage("network", Wish(constants=QUICK, hooks=("gateway@socket:getaddrinfo",)))
BROKER = stage(
    "broker",
    Wish(
        constants=QUICK,
        commit_s=0.05,
        broker="acl_file {folder}/acl\nmax_queued_messages 2\nmax_inflight_messages 2",
    ),
)
SHIPPED = stage("pauses as shipped", Wish())
MONTH = stage(
    "month", Wish(factor=28_800.0, period_s=14_400.0, constants=QUICK, judge_slots=False, timeout_s=1.0), long=True
)


@contextmanager
def intruder(chain: Chain, client_id: str) -> Iterator[mqtt.Client]:
    """A client of the broker that is none of ours."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5, reconnect_on_failure=False
    )
    been_in = threading.Event()  # whose id it takes may be back before anybody looks
    client.on_connect = lambda *_: been_in.set()
    client.connect("127.0.0.1", chain.broker.port, clean_start=True)
    client.loop_start()
    wait_until(been_in.is_set, within=10, what="the broker to let us in")
    yield client
    client.disconnect()
    client.loop_stop()


@plays("E01", on=NETWORK)
def link_down(chain: Chain, play: Play) -> None:
    """The link is down for some seconds, which are some minutes of the plant."""
    chain.up.refuse()
    chain.pass_time(play.count(6, 60))
    chain.up.heal()
    play.state("gateway", "uplink")


@plays("E03", on=NETWORK)
def torn_packets(chain: Chain, play: Play) -> None:
    """The connection breaks in the middle of a PUBLISH, and in the middle of what confirms it, at many offsets."""
    for number in range(play.count(5, 60)):
        chain.up.cut_after("up", play.rng.choice((1, 3, 5, 40, 90, 300)))
        chain.pass_time(play.rng.uniform(0.8, 1.6))
        if number % 2:
            chain.up.cut_after("down", play.rng.choice((1, 2, 3, 4, 5)))
            chain.pass_time(play.rng.uniform(0.8, 1.6))
    chain.up.heal()


@plays("E04", on=NETWORK)
def flapping(chain: Chain, play: Play) -> None:
    """The link comes and goes every 3 s."""
    before = chain.gateway.maxima.rss_mb
    for _ in range(play.count(2, 100)):
        chain.up.refuse()
        chain.pass_time(1.5)
        chain.up.heal()
        chain.pass_time(1.5)
    play.expect(chain.gateway.maxima.rss_mb < before + 10, "memory grew while the link flapped")


@plays("E05", on=NETWORK)
def thin_line(chain: Chain, play: Play) -> None:
    """5 kB/s, 800 ms there and back, and every twentieth batch arrives with a bit turned over."""
    seen = 0

    def rule(direction: Direction, packet: bytes) -> list[bytes] | None:
        nonlocal seen
        if direction == "down" or kind_of(packet) != PUBLISH or not read_publish(packet).topic.endswith("/batch"):
            return None
        seen += 1
        return [_flipped(packet, play.rng.randrange(8))] if seen % 20 == 7 else None

    chain.up.rule(rule)
    chain.up.slow(delay_s=0.4, bytes_per_s=5000)
    chain.pass_time(play.count(9, 90))
    chain.up.heal()
    play.notes.append(f"{seen} batches over the thin line")


@plays("E02", on=NETWORK)
def broker_frozen(chain: Chain, play: Play) -> None:
    """The broker is there and says nothing (SIGSTOP): connections look alive."""
    chain.broker.pause()
    chain.pass_time(play.count(5, 60))
    chain.broker.resume()


@plays("E02/silent network", on=NETWORK, profile="soak")
def blackhole(chain: Chain, play: Play) -> None:
    """Packets vanish and nobody says so; the gateway has to notice by itself."""
    began = time.monotonic()
    chain.up.silence()
    wait_until(lambda: chain.gateway.said("uplink: ", began), within=60, every=0.1, what="the gateway to notice")
    detected = time.monotonic() - began
    play.notes.append(f"noticed after {detected:.0f} s")
    play.expect(detected <= 46, f"noticed only after {detected:.0f} s")
    chain.up.cut()
    chain.up.heal()


@plays("E06", on=NETWORK)
def broker_killed_and_wiped(chain: Chain, play: Play) -> None:
    """kill -9, and its database is gone: whatever it had confirmed and not delivered is lost to it."""
    for _ in range(play.count(2, 20)):
        chain.headend.pause()  # so that the broker holds something
        chain.pass_time(1.5)
        chain.broker.kill()
        chain.headend.resume()
        chain.wipe_broker()
        chain.pass_time(play.rng.uniform(0.2, 1.0))


@plays("E06/kept database", on=NETWORK)
def broker_killed(chain: Chain, play: Play) -> None:
    """kill -9 with persistence as Debian ships it: the database is as old as its last save."""
    chain.headend.pause()
    chain.pass_time(1.5)
    chain.broker.kill()
    chain.headend.resume()
    chain.broker.start()


@plays("E11", on=NETWORK)
def session_taken(chain: Chain, play: Play) -> None:
    """Somebody connects with the head-end's client id and a clean start: its session at the broker is gone."""
    with intruder(chain, "meterline-headend-fault-run"):
        chain.pass_time(1.0)


@plays("E12", on=NETWORK)
def acknowledgements_lost(chain: Chain, play: Play) -> None:
    """Every second acknowledgement vanishes, the others come twice, late, and between foreign ones."""
    held: list[bytes] = []
    seen = 0

    def rule(direction: Direction, packet: bytes) -> list[bytes] | None:
        nonlocal seen
        if direction == "up" or kind_of(packet) != PUBLISH or "/ack" not in read_publish(packet).topic:
            return None
        seen += 1
        if seen % 2:
            held.append(packet)
            return []
        return [packet, packet, *held[-3:-2]]

    chain.up.rule(rule)
    for _ in range(play.count(3, 30)):
        chain.pass_time(2)
        with intruder(chain, "somebody") as client:
            for body in (
                b'{"v":1,"gateway":"gw-2","epoch":"00112233445566ff","received":[[1,900000]],"wanted":[],"at":1}',
                b'{"v":1,"gateway":"gw-1","epoch":"00112233445566ff","received":[[1,900000]],"wanted":[],"at":1}',
                b"\x00\xff not json",
                b"[" * 5000,
            ):
                client.publish(f"ml1/down/{GATEWAY}/ack", body, qos=1).wait_for_publish(5)
    chain.up.heal()
    play.expect(seen > 3, f"only {seen} acknowledgements passed")


@plays("E14", on=NETWORK)
def names_not_resolved(chain: Chain, play: Play) -> None:
    """Looking the broker's name up takes three seconds, and the connection is cut: polling must not wait for it."""
    chain.order("gateway", {"socket:getaddrinfo": {"do": "sleep", "s": 3}})
    chain.pass_time(0.2)
    chain.up.cut()
    chain.pass_time(5)
    chain.order("gateway", {})


@plays("E16", on=NETWORK)
def no_flood_after_reconnect(chain: Chain, play: Play) -> None:
    """After an outage at most a window is under way, measured on the wire (paho alone sends all at once)."""
    chain.up.refuse()
    chain.pass_time(play.count(16, 120))
    chain.up.most_under_way = 0
    chain.up.heal()
    play.over()
    chain.settle(within_s=60)
    play.notes.append(f"at most {chain.up.most_under_way} unconfirmed on the wire")
    play.expect(0 < chain.up.most_under_way <= WINDOW + 1, f"{chain.up.most_under_way} unconfirmed at once")


@plays("E07", on=BROKER)
def queue_limit(chain: Chain, play: Play) -> None:
    """The broker's queue holds two messages and the head-end is away: the broker confirms and drops."""
    chain.headend.pause()
    with intruder(chain, "somebody") as client:  # the gateway alone never sends so much unacknowledged
        for _ in range(80):
            client.publish("ml1/up/gw-2/batch", b"fills the queue", qos=1)
        chain.pass_time(play.count(6, 30))
    chain.headend.resume()
    play.expect("dropped" in chain.broker.log(), "the broker's log tells of no drop")


@plays("E08", on=BROKER)
def denied(chain: Chain, play: Play) -> None:
    """The broker's access rules no longer let the gateway write: reason 0x87, and nothing may be given up."""
    acl = chain.folder / "acl"
    acl.write_text("topic deny ml1/up/gw-1/batch\ntopic readwrite #\n", encoding="utf-8")
    _reload(chain)
    chain.pass_time(4)
    acl.write_text("topic readwrite #\n", encoding="utf-8")
    _reload(chain)
    play.expect(play.said("gateway", "denied: "), "the gateway did not say that it is denied")


@plays("E09", on=BROKER)
def quota_exceeded(chain: Chain, play: Play) -> None:
    """The broker answers every batch with 0x97, though it has taken it; then it refuses the user."""

    def rule(direction: Direction, packet: bytes) -> list[bytes] | None:
        if direction == "up":
            return None
        if kind_of(packet) == PUBACK:
            return [bytes((PUBACK << 4, 3)) + packet[2:4] + bytes((QUOTA,))]
        return None

    def refused(direction: Direction, packet: bytes) -> list[bytes] | None:
        if direction == "down" and kind_of(packet) == CONNACK:
            return [bytes((CONNACK << 4, 3, 0, BAD_USER, 0))]
        return None

    chain.up.rule(rule)
    chain.pass_time(3)
    chain.up.rule(refused)
    chain.up.cut()
    chain.pass_time(3)
    chain.up.heal()
    play.state("gateway", "uplink")


@plays("E10", on=BROKER)
def same_client_id(chain: Chain, play: Play) -> None:
    """Another client takes the gateway's client id again and again: no loop, and somebody is told."""
    before = chain.up.connections
    until = time.monotonic() + play.count(8, 60)
    while time.monotonic() < until:
        with intruder(chain, f"meterline-{GATEWAY}"):
            chain.pass_time(0.5)
    made = chain.up.connections - before
    play.notes.append(f"{made} connections in {play.count(8, 60)} s")
    play.expect(made <= play.count(8, 60), "the gateway fights for its id")
    play.expect(play.said("gateway", "device"), "nobody was told of the second device")


@plays("E04/pauses as shipped", on=SHIPPED, profile="soak")
def flapping_as_shipped(chain: Chain, play: Play) -> None:
    """Every 3 s for 10 minutes, with the pauses a real gateway makes."""
    play.within_s = 90
    for _ in range(100):
        chain.up.refuse()
        chain.pass_time(3)
        chain.up.heal()
        chain.pass_time(3)


@plays("E01/30 days", on=MONTH, last=True)
def month_without_link(chain: Chain, play: Play) -> None:
    """Thirty days in a minute and a half: the journal crosses thirty day boundaries, and then all of it goes out."""
    play.within_s = 60
    chain.up.refuse()
    chain.pass_time(90)
    chain.up.heal()


def _flipped(packet: bytes, bit: int) -> bytes:
    """One bit of the payload's last quarter turned over; the packet stays well-formed."""
    changed = bytearray(packet)
    changed[-max(1, len(packet) // 4)] ^= 1 << bit
    return bytes(changed)


def _reload(chain: Chain) -> None:
    """SIGHUP: mosquitto reads its access rules again."""
    os.kill(chain.broker.pid, signal.SIGHUP)
