"""Group E: network and broker."""

from __future__ import annotations

import time

from tests.faults.chain import Chain
from tests.faults.mqtt_proxy import PUBLISH, Direction, kind_of, read_publish
from tests.faults.play import Play, plays

WINDOW = 10
"""Most batches the gateway may have under way; docs/wire-contract.md, FAULTS.md M6. [batches]"""


@plays("E01")
def link_down(chain: Chain, play: Play) -> None:
    """The link is down for some seconds, which are some minutes of the plant."""
    chain.up.refuse()
    chain.pass_time(play.count(6, 60))
    chain.up.heal()


@plays("E06")
def broker_killed_and_wiped(chain: Chain, play: Play) -> None:
    """kill -9, and its database is gone: whatever it had confirmed and not delivered is lost to it."""
    for _ in range(play.count(2, 20)):
        chain.headend.pause()  # so that the broker holds something
        chain.pass_time(1.5)
        chain.broker.kill()
        chain.headend.resume()
        chain.wipe_broker()
        chain.pass_time(play.rng.uniform(0.2, 1.0))


@plays("E12")
def acknowledgements_lost(chain: Chain, play: Play) -> None:
    """Every second acknowledgement vanishes, the others come twice and in the wrong order."""
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
    chain.pass_time(play.count(6, 60))
    chain.up.heal()
    play.expect(seen > 3, f"only {seen} acknowledgements passed")


@plays("E16")
def no_flood_after_reconnect(chain: Chain, play: Play) -> None:
    """After an outage at most a window is under way, measured on the wire (paho alone sends all at once)."""
    chain.up.refuse()
    chain.pass_time(play.count(8, 60))
    chain.up.most_under_way = 0
    chain.up.heal()
    play.over()
    chain.settle(within_s=60)
    play.notes.append(f"at most {chain.up.most_under_way} unconfirmed on the wire")
    play.expect(0 < chain.up.most_under_way <= WINDOW + 1, f"{chain.up.most_under_way} unconfirmed at once")


@plays("E02")
def broker_frozen(chain: Chain, play: Play) -> None:
    """The broker is there and says nothing (SIGSTOP): connections look alive."""
    chain.broker.pause()
    chain.pass_time(play.count(5, 60))
    chain.broker.resume()


@plays("E11")
def session_taken(chain: Chain, play: Play) -> None:
    """Somebody connects with the head-end's client id and a clean start: its session at the broker is gone."""
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    other = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id="meterline-headend-fault-run", protocol=mqtt.MQTTv5,
        reconnect_on_failure=False,
    )  # fmt: skip
    other.connect("127.0.0.1", chain.broker.port, clean_start=True)
    other.loop_start()
    until = time.monotonic() + 3
    while not other.is_connected() and time.monotonic() < until:
        chain.pass_time(0.05)
    play.expect(other.is_connected(), "the intruder did not get in")
    chain.pass_time(1.0)
    other.disconnect()
    other.loop_stop()
