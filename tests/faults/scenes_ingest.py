"""Group F: ingest."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing

import paho.mqtt.client as mqtt
import zstandard
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.faults.chain import METERLINE, Chain
from tests.faults.evidence import read_days
from tests.faults.mqtt_proxy import PUBLISH, Direction, kind_of, puback, read_publish
from tests.faults.plant_files import GATEWAY, Wish
from tests.faults.play import Play, plays, stage
from tests.faults.scenes_network import QUICK, intruder
from tests.servers.waiting import wait_until

APPEND = "headend.stores.embedded:EmbeddedStore.append"
PUBLISH_ACK = "headend.ingest_mqtt:Link.publish"
INGEST = stage("ingest", Wish(hooks=(f"headend@{APPEND}", f"headend@{PUBLISH_ACK}"), constants=QUICK, commit_s=0.1))
BATCH = f"ml1/up/{GATEWAY}/batch"


@plays("F01", on=INGEST)
def killed_between_commit_and_ack(chain: Chain, play: Play) -> None:
    """SIGKILL of the head-end when the store has committed and nobody knows; and when it has just been told."""
    for target in (APPEND, PUBLISH_ACK):
        for _ in range(play.count(1, 15)):
            chain.order("headend", {target: {"do": "kill-after", "nth": play.rng.randrange(1, 4)}})
            chain.headend.wait_ended(20)
            chain.order("headend", {})
            chain.headend.start()
            wait_until(lambda: chain.drained(), within=20, every=0.1, what="the head-end to go on")


@plays("F02", on=INGEST)
def delivered_again(chain: Chain, play: Play) -> None:
    """Everything that was ever stored comes three times more, in reversed order."""
    chain.pass_time(3)
    raws = [raw for raw, _ in read_days(chain.store).messages]
    with intruder(chain, "replay") as client:
        for _ in range(3):
            for raw in reversed(raws):
                client.publish(BATCH, raw, qos=1).wait_for_publish(10)
    play.notes.append(f"{3 * len(raws)} batches replayed")


@plays("F03", on=INGEST)
def poison(chain: Chain, play: Play) -> None:
    """Forged, malformed, oversized and deeply nested messages on every topic: put aside, and the next one is served."""
    raws = [raw for raw, _ in read_days(chain.store).messages]
    good = raws[-1]
    head = good[:68]
    nested = zstandard.ZstdCompressor().compress(b"[" * 3_000_000)
    bomb = zstandard.ZstdCompressor().compress(bytes(60_000_000))
    corpus: list[bytes] = [
        b"", b"{}", b"\xff" * 2000, b"ML", b"ML\x01\x00", good[:100], good[:-1], good + b"x", head,
        b"ML\x09" + good[3:], b"ML\x01\xff" + good[4:], head + nested, head + bomb, good[:30] + bytes(40) + good[70:],
        b'{"v":1}' * 9,
        bytes(300_000), b"[" * 200_000, b'{"v":NaN}', b"9" * 5000,
    ]  # fmt: skip
    with intruder(chain, "poisoner") as client:
        for number, body in enumerate(corpus):
            client.publish(BATCH, body, qos=1).wait_for_publish(10)
            client.publish(f"ml1/up/{GATEWAY}/health", body, qos=1).wait_for_publish(10)
            client.publish(f"ml1/up/{GATEWAY}/ask", body, qos=1).wait_for_publish(10)
            if number % 4 == 0:
                client.publish("ml1/up/nobody/batch", body, qos=1).wait_for_publish(10)
        huge = client.publish(BATCH, bytes(10_000_000), qos=1)
        huge.wait_for_publish(10)
    wait_until(lambda: sum(_quarantine(chain).values()) > len(corpus), within=15, what="the poison in quarantine")
    play.notes.append("quarantine: " + ", ".join(f"{why} {n}" for why, n in sorted(_quarantine(chain).items())))


@plays("F04", on=INGEST)
def unknown_gateway(chain: Chain, play: Play) -> None:
    """A well-formed batch of a gateway nobody knows, and ours on a foreign topic: put aside with the reason."""
    good = read_days(chain.store).messages[-1][0]
    before = _quarantine(chain).get("unknown-gateway", 0)
    with intruder(chain, "unknown") as client:
        client.publish("ml1/up/gw-99/batch", good, qos=1).wait_for_publish(10)
    wait_until(lambda: _quarantine(chain).get("unknown-gateway", 0) > before, within=10, what="the quarantine")


@plays("F05", on=INGEST)
def swallowed(chain: Chain, play: Play) -> None:
    """The pipe confirms every third batch and drops it: the holes are asked for and filled."""
    seen = dropped = 0

    def rule(direction: Direction, packet: bytes) -> list[bytes] | None:
        nonlocal seen, dropped
        if direction == "down" or kind_of(packet) != PUBLISH or not read_publish(packet).topic.endswith("/batch"):
            return None
        seen += 1
        if seen % 3:
            return None
        dropped += 1
        return [puback(read_publish(packet).mid)]

    chain.up.rule(rule)
    chain.pass_time(play.count(6, 60))
    chain.up.heal()
    play.notes.append(f"{dropped} of {seen} swallowed")
    play.expect(dropped > 0, "nothing was swallowed")


@plays("F07", on=INGEST)
def tampered(chain: Chain, play: Play) -> None:
    """Every second batch is changed on its way: refused, told, and the genuine one comes through afterwards."""
    seen = 0

    def rule(direction: Direction, packet: bytes) -> list[bytes] | None:
        nonlocal seen
        if direction == "down" or kind_of(packet) != PUBLISH or not read_publish(packet).topic.endswith("/batch"):
            return None
        seen += 1
        changed = bytearray(packet)
        changed[read_publish(packet).payload_at + play.rng.randrange(4, 90)] ^= 1
        return [bytes(changed)] if seen % 2 else None

    before = _quarantine(chain).get("signature", 0)
    chain.up.rule(rule)
    chain.pass_time(play.count(5, 60))
    chain.up.heal()
    play.expect(_quarantine(chain).get("signature", 0) > before, "nothing was put aside for its signature")


@plays("F08", on=INGEST)
def slow_store(chain: Chain, play: Play) -> None:
    """Every commit takes two seconds: the gateway waits, the broker does not overflow."""
    chain.order("headend", {APPEND: {"do": "sleep", "s": 2.0}})
    chain.pass_time(play.count(7, 60))
    chain.order("headend", {})
    play.expect("dropped" not in chain.broker.log(), "the broker dropped messages")


@plays("G07", on=INGEST)
def old_store_put_back(chain: Chain, play: Play) -> None:
    """The head-end's folder as it was some minutes ago is put back: what came meanwhile is missed and comes again."""
    chain.headend.stop()
    backup = chain.folder / "store-backup"
    shutil.copytree(chain.store, backup)
    chain.headend.start()
    chain.pass_time(4)
    chain.settle()
    chain.headend.kill()
    shutil.rmtree(chain.store)
    backup.rename(chain.store)
    chain.headend.start()


@plays("F09", on=INGEST)
def second_headend(chain: Chain, play: Play) -> None:
    """The head-end is started a second time on the same store: it leaves, saying why."""
    done = subprocess.run(
        [*METERLINE, "headend", "headend.yaml"], cwd=chain.folder, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    play.expect(done.returncode == 3 and "another process" in said, f"exit {done.returncode}: {said[-200:]}")


@plays("F10", on=INGEST)
def stale_subscription(chain: Chain, play: Play) -> None:
    """The session at the broker still has a subscription to everything, from another configuration."""
    chain.headend.stop()
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id="meterline-headend-fault-run", protocol=mqtt.MQTTv5,
        reconnect_on_failure=False,
    )  # fmt: skip
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", chain.broker.port, clean_start=False, properties=properties)
    client.loop_start()
    wait_until(client.is_connected, within=10, what="the broker")
    client.subscribe("#", qos=1)
    chain.pass_time(0.3)
    client.disconnect()
    client.loop_stop()
    chain.headend.start()
    chain.pass_time(1)
    with intruder(chain, "chatter") as other:
        for number in range(200):
            other.publish(f"weather/{number}", b"rain", qos=1)
        chain.pass_time(1)


def _quarantine(chain: Chain) -> dict[str, int]:
    """Reason -> how many messages were put aside."""
    with closing(sqlite3.connect(f"file:{chain.store}/catalogue.sqlite?mode=ro", uri=True, timeout=5)) as db:
        return dict(db.execute("SELECT reason, sum(times) FROM quarantine GROUP BY reason").fetchall())
