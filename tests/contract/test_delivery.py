"""Gateway and head-end joined in memory, with everything that befalls them: nothing is lost, nothing is doubled.

Random lives: readings, messages lost on the way in both directions, broken connections, restarts, a disk put back from
an old copy (C12), a wiped or restored store (G07). The oracle is the list of readings each disk has seen.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_firmware_py.outbox import Outbox
from gateway_firmware_py.state import State
from headend.ingest import Ingest, Message
from headend.stores.api import Span
from headend.stores.memory import MemoryStore
from headend.supervise import Supervisor
from meterline.clock import ManualClock
from meterline.wire import (
    Ack,
    ask_topic,
    batch_topic,
    decode_ack,
    decode_refusal,
    encode_ack,
    encode_ask,
    encode_refusal,
    unseal,
)
from tests.gateway.memory_files import MemoryFiles
from tests.gateway.polls import T0_NS
from tests.gateway.rig import KEY, Rig


class Quarantine:
    """Stands for the catalogue: remembers why anything was refused."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def quarantine(self, received_ns: int, topic: str, reason: str, detail: str, message: bytes) -> None:
        self.reasons.append(f"{reason}: {detail}")


class World:
    """One gateway, one head-end, a pipe between them that loses what it likes."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.clock = ManualClock(T0_NS)
        self.quarantine = Quarantine()
        self.number = 0
        self.delivered: set[int] = set()
        self.on_disk: set[int] = set()
        self.loss = 0.0
        self.put_back_times = 0
        self.files, self.state = MemoryFiles(), State()
        self.backups = [(self.files.power_cut(), State(), set[int]())]
        self.begin_store()
        self.begin_gateway()

    # --- lives -----------------------------------------------------------------------------------------------------

    def begin_store(self) -> None:
        self.store = MemoryStore()
        self.restart_headend()

    def restart_headend(self) -> None:
        keys = {"gw1": KEY.public_key()}
        self.ingest = Ingest(keys, self.store, self.quarantine, self.clock, Supervisor())  # type: ignore[arg-type]

    def begin_gateway(self) -> None:
        self.parted: list[tuple[str, int]] = []
        self.rig = Rig(self.files, self.state, self.clock, segment_bytes=1500)
        self.outbox = Outbox("gw1", self.state, parted=lambda epoch, first: self.parted.append((epoch, first)))
        self.rig.keeper._kept = self.outbox.announce
        self.outbox.attach(self.rig.keeper)
        self.outbox.connected(100)

    def restart(self) -> None:
        self.state.save()
        self.begin_gateway()

    def read(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.rig.keep(self.number)
            self.on_disk.add(self.number)
            self.clock.advance(1.0)

    def back_up(self) -> None:
        self.backups.append((self.files.power_cut(), copy_of(self.state), set(self.on_disk)))

    def put_back(self) -> None:
        """A card from the drawer: what was read since it was copied, and not delivered, is gone with the other card."""
        self.put_back_times += 1
        files, state, had = self.draw.choice(self.backups)
        self.files, self.state, self.on_disk = files.power_cut(), copy_of(state), set(had)
        self.begin_gateway()

    def wipe_store(self) -> None:
        self.begin_store()
        self.delivered = set()

    # --- the pipe --------------------------------------------------------------------------------------------------

    def arrives(self) -> bool:
        return self.draw.random() >= self.loss

    def pump(self, rounds: int) -> None:
        for _ in range(rounds):
            messages = list(self.upwards())
            self.draw.shuffle(messages)
            for ack in [*self.ingest.take(messages), *self.ingest.overdue()]:
                if self.arrives():
                    self.outbox.acknowledge(decode_ack(encode_ack(ack)), self.clock.monotonic_s())
            for refusal in self.ingest.refusals():
                if self.arrives():
                    self.outbox.refused(decode_refusal(encode_refusal(refusal)), self.clock.monotonic_s())
            for epoch, first in self.parted:
                self.outbox.renumbered(epoch, *self.rig.keeper.renumber(epoch, first))
            self.parted.clear()
            self.clock.advance(1.0)
            self.outbox.tick(self.clock.monotonic_s())
        self.delivered |= set(self.stored())

    def upwards(self) -> Iterator[Message]:
        now_s = self.clock.monotonic_s()
        for ask in self.outbox.questions(now_s):
            if self.arrives():
                yield Message(ask_topic("gw1"), encode_ask(ask), self.clock.t_ns)
        while (item := self.outbox.take(now_s)) is not None:
            key, message = item
            self.outbox.confirmed(key)
            for _ in range(2 if self.draw.random() < self.loss / 2 else 1):
                if self.arrives():
                    yield Message(batch_topic("gw1"), message, self.clock.t_ns)

    def stored(self) -> list[int]:
        found = []
        for gateway in self.store.gateways():
            for epoch, ranges in self.store.received(gateway).items():
                for first, last in ranges:
                    for seq in range(first, last + 1):
                        message = self.store.evidence(gateway, epoch, seq)
                        if message is not None:
                            found += [int(poll.numbers[0] or 0) for poll in unseal(message).polls]
        return found


def copy_of(state: State) -> State:
    """The state as it would be read from a copy of its file."""
    state.save()
    found = State()
    state._database.backup(found._database)
    found._load()
    return found


STEPS = ("read", "read", "read", "pump", "pump", "pump", "lossy", "restart", "reconnect", "headend", "backup")


def play(world: World, steps: int, more: tuple[str, ...]) -> None:
    for _ in range(steps):
        match world.draw.choice(STEPS + more):
            case "read":
                world.read(world.draw.randrange(1, 12))
            case "pump":
                world.pump(world.draw.randrange(1, 5))
            case "lossy":
                world.loss = world.draw.choice((0.0, 0.3, 0.7))
            case "restart":
                world.restart()
            case "reconnect":
                world.outbox.connected(world.draw.choice((1, 5, 100)))
            case "headend":
                world.restart_headend()
            case "backup":
                world.back_up()
            case "put back":
                world.put_back()
            case "wipe":
                world.wipe_store()


def drain(world: World) -> None:
    """A quiet while: the line holds, the clock goes on."""
    world.loss = 0.0
    world.outbox.connected(100)
    world.read(1)
    for _ in range(60):
        world.pump(10)
        waiting = world.outbox.backlog + world.outbox.live + world.outbox.window.under_way
        if world.outbox.compared and not waiting and world.on_disk <= set(world.stored()):
            return
        world.read(1)


def assert_each_once(world: World) -> None:
    """Everything delivered or still on the gateway's disk is stored, and a reader finds each of it once.

    Two copies of one card that both number the same readings anew bring them twice, under different keys; of one slot
    only one counts (`StoreReader.series`).
    """
    expected = world.delivered | world.on_disk
    stored = Counter(world.stored())
    assert set(stored) == expected
    series = world.store.series("m1", "energy.active.import", Span(0, 2**62))
    assert sorted((series.micro // 10_000).tolist()) == sorted(expected)
    if world.put_back_times < 2:
        assert max(stored.values()) == 1
    assert world.quarantine.reasons == [], "not one batch was sent under a number that was taken"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
@pytest.mark.slow
def test_every_reading_is_stored_once_whatever_disk_is_put_back(seed: int) -> None:
    world = World(seed)
    play(world, 40, ("put back",))
    drain(world)
    assert_each_once(world)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
@pytest.mark.slow
def test_every_reading_is_stored_once_whatever_store_is_wiped(seed: int) -> None:
    world = World(seed)
    play(world, 40, ("wipe", "put back"))
    drain(world)
    assert_each_once(world)


def test_an_answer_of_long_ago_opens_nothing() -> None:
    world = World(1)
    world.read(5)
    (ask,) = world.outbox.questions(0.0)
    (early,) = world.ingest.take([Message(ask_topic("gw1"), encode_ask(ask), T0_NS)])
    world.outbox.connected(100)  # the answer comes on the next connection, from the broker's memory
    assert isinstance(early, Ack)
    world.outbox.acknowledge(early, 1.0)
    assert world.outbox.take(1.0) is None
    drain(world)
    assert sorted(world.stored()) == list(range(1, world.number + 1))
