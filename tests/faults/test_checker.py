"""The judge itself: a clean plant passes, and every kind of damage done to it by hand is found and named rightly."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.faults.checker import Checker, Oracle, Violations
from tests.faults.energy import kwh_error
from tests.faults.evidence import CONTEXT, GENESIS, open_message

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NS, MINUTE = 10**9, 60 * 10**9
T0 = 1_794_535_200 * NS
EPOCH = "00112233445566ff"
SLOTS = 6
SCHEMA = """
CREATE TABLE batches (id INTEGER PRIMARY KEY, epoch TEXT, seq INTEGER, received_ns INTEGER, message BLOB);
CREATE TABLE meters (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE polls (t INTEGER, meter INTEGER, batch INTEGER, place INTEGER, delays TEXT, numbers TEXT, qualities TEXT);
CREATE TABLE lost (epoch TEXT, first INTEGER, last INTEGER, reason TEXT);
"""


def seal(
    seq: int, prev: str, number: int, slot_ns: int, *, key: Ed25519PrivateKey = KEY, quality: int = 0, **more: Any
) -> bytes:
    """A message after docs/wire-contract.md, written here a second time on purpose."""
    group = {
        "profile": "p@1", "measurands": ["energy.active.import"], "exponents": -2, "floats": 0, "requests": 0,
        "meters": ["m1"], "slots": slot_ns // 10**6, "delays": [[40]], "clocks": 0, "numbers": [[number]],
        "qualities": quality,
    }  # fmt: skip
    body = {
        "v": 1, "gateway": "gw-1", "epoch": EPOCH, "seq": seq, "prev": prev, "at": (slot_ns + NS) // 10**6,
        "software": "test", "frames": "", "groups": [group], **more,
    }  # fmt: skip
    packed = zstandard.ZstdCompressor().compress(json.dumps(body).encode())
    return b"ML\x01\x00" + key.sign(CONTEXT + hashlib.sha256(packed).digest()) + packed


class Plant:
    """A meter, a gateway and a store that agree, as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.messages: list[bytes] = []
        self.checker = Checker(gateway="gw-1", key=KEY.public_key(), meters=["m1"], period_ns=MINUTE)
        self.shown = [(T0 + k * MINUTE + 20_000_000, 1000 + k) for k in range(SLOTS)]
        prev = GENESIS
        for k in range(SLOTS):
            self.messages.append(seal(k + 1, prev, 1000 + k, T0 + k * MINUTE))
            prev = hashlib.sha256(self.messages[-1][68:]).hexdigest()
        self.store(self.messages)

    def store(self, messages: list[bytes]) -> None:
        path = self.folder / "hot" / "2026-11-13.sqlite"
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as db, db:
            db.executescript(SCHEMA + "INSERT INTO meters VALUES (1, 'm1');")
            for number, raw in enumerate(messages):
                message = open_message(raw, KEY.public_key())
                at = (number, message.epoch, message.seq, message.at_ns, raw)
                db.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?)", at)
                for poll in message.polls:
                    doubt = json.dumps(poll.qualities) if any(poll.qualities) else None
                    row = (poll.slot_ns, 1, number, 0, json.dumps(poll.delays_ms), json.dumps(poll.numbers), doubt)
                    db.execute("INSERT INTO polls VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def sql(self, text: str) -> None:
        with closing(sqlite3.connect(self.folder / "hot" / "2026-11-13.sqlite")) as db, db:
            db.execute(text)

    def judge(self, excuses: list[tuple[int, int, str]] | None = None) -> Violations:
        rows = [
            {"t": t, "meter": "m1", "why": "read", "shown": {"energy.active.import": number}}
            for t, number in self.shown
        ]
        (self.folder / "shown.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        until_ns = T0 + SLOTS * MINUTE
        bad, counted = self.checker.look(
            store=self.folder, oracle=Oracle(self.folder), excuses=excuses or [], until_ns=until_ns, clean=[]
        )
        assert counted.compared > 0
        return bad


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def kinds(bad: Violations) -> set[str]:
    return {name for name in ("lost", "dup", "wrong", "chain", "missed") if getattr(bad, name)}


def test_what_agrees_passes(plant: Plant) -> None:
    assert kinds(plant.judge()) == set()


def drop_batch(plant: Plant) -> None:
    plant.store([m for number, m in enumerate(plant.messages) if number != 2])


def double_row(plant: Plant) -> None:
    plant.sql("INSERT INTO polls SELECT * FROM polls WHERE batch = 3")


def double_batch(plant: Plant) -> None:
    plant.store([*plant.messages, plant.messages[1]])


def change_row(plant: Plant) -> None:
    plant.sql("UPDATE polls SET numbers = '[1]' WHERE batch = 2")


def forge(plant: Plant) -> None:
    last = open_message(plant.messages[-2], KEY.public_key())
    plant.store([*plant.messages[:-1], seal(SLOTS, last.digest, 1005, T0 + 5 * MINUTE, key=OTHER)])


def unlink_chain(plant: Plant) -> None:
    plant.store([*plant.messages[:-1], seal(SLOTS, "11" * 32, 1005, T0 + 5 * MINUTE)])


def another_number(plant: Plant) -> None:
    plant.shown[2] = (plant.shown[2][0], 77)


def the_slot_before(plant: Plant) -> None:
    plant.shown[3] = (plant.shown[3][0], 77)
    plant.shown.insert(3, (T0 + 2 * MINUTE + 50 * NS, 1003))


def doubt(plant: Plant) -> None:
    last = open_message(plant.messages[-2], KEY.public_key())
    plant.store([*plant.messages[:-1], seal(SLOTS, last.digest, 1005, T0 + 5 * MINUTE, quality=4)])


def answered_only(plant: Plant) -> None:
    plant.store(plant.messages[:-1])


def nothing_at_all(plant: Plant) -> None:
    plant.store(plant.messages[:-1])
    plant.shown.pop()


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (drop_batch, {"lost", "chain"}),
        (double_row, {"dup"}),
        (double_batch, {"dup"}),
        (change_row, {"dup", "wrong"}),
        (forge, {"chain"}),
        (unlink_chain, {"chain"}),
        (another_number, {"wrong"}),
        (the_slot_before, {"wrong"}),
        (doubt, {"wrong"}),
        (answered_only, {"lost"}),
        (nothing_at_all, {"missed"}),
    ],
)
def test_harm_is_found(plant: Plant, harm: Callable[[Plant], None], found: set[str]) -> None:
    harm(plant)
    assert kinds(plant.judge()) == found


def test_a_committed_batch_that_never_came_is_lost(plant: Plant) -> None:
    plant.checker.committed[EPOCH, SLOTS + 1] = seal(SLOTS + 1, "00" * 32, 1, T0)
    assert plant.judge().lost == {("seq", EPOCH, SLOTS + 1)}


def test_a_batch_other_than_the_journals_is_found(plant: Plant) -> None:
    plant.checker.committed[EPOCH, 1] = seal(1, GENESIS, 5, T0)
    assert kinds(plant.judge()) == {"chain"}


def test_a_declared_loss_a_silence_and_an_excuse_explain(plant: Plant) -> None:
    second = open_message(plant.messages[1], KEY.public_key())
    gap = seal(4, "22" * 32, 1003, T0 + 3 * MINUTE, lost=[{"epoch": EPOCH, "first": 3, "last": 3, "reason": "quota"}])
    plant.store([*plant.messages[:2], gap])
    assert second.seq == 2
    assert kinds(plant.judge([(T0 + 4 * MINUTE, T0 + 6 * MINUTE, "dead")])) == set()
    silence = [{"meter": "m1", "from": (T0 + 4 * MINUTE) // 10**6, "to": None, "cause": "silent"}]
    gap = seal(
        4, "22" * 32, 1003, T0 + 3 * MINUTE, missing=silence,
        lost=[{"epoch": EPOCH, "first": 3, "last": 3, "reason": "quota"}],
    )  # fmt: skip
    plant.store([*plant.messages[:2], gap])
    assert kinds(plant.judge()) == set()


def test_only_what_is_new_is_counted() -> None:
    before = Violations(lost={("seq", EPOCH, 1)})
    now = Violations(lost={("seq", EPOCH, 1), ("seq", EPOCH, 2)}, dup={("batch", EPOCH, 1)})
    new = now.minus(before)
    assert (new.lost, new.dup) == ({("seq", EPOCH, 2)}, {("batch", EPOCH, 1)})


@pytest.mark.parametrize("wrong_micro", [0, 5, 2_000_000])
def test_energy_is_added_up_to_the_last_millionth(plant: Plant, wrong_micro: int) -> None:
    """1000 at T0 + 40 ms to 1005 five minutes later, in hundredths of a kWh, times a ratio of 40."""
    boundary = T0 - 900 * NS  # the account begins a quarter of an hour before, with a reading on each side of it
    early = [seal(1, GENESIS, 990, boundary - MINUTE), seal(2, "33" * 32, 991, boundary + MINUTE)]
    messages = [open_message(raw, KEY.public_key()) for raw in (*early, *plant.messages)]
    # at the boundary: 9.90 kWh and 59.96 s of 120 s towards 9.91 kWh
    wanted = (10.05 - (9.90 + 0.01 * 59.96 / 120)) * 40
    with closing(sqlite3.connect(plant.folder / "catalogue.sqlite")) as db, db:
        db.execute("CREATE TABLE intervals (meter, measurand, resolution, start_ns, micro)")
        halves = round(wanted * 1e6) // 2, round(wanted * 1e6) - round(wanted * 1e6) // 2 + wrong_micro
        for start_ns, micro in ((boundary, halves[0]), (T0, halves[1])):
            db.execute("INSERT INTO intervals VALUES ('m1', 'energy.active.import', '15min', ?, ?)", (start_ns, micro))
    error, count = kwh_error(plant.folder, messages, "m1", 40, boundary - 2)
    assert count == 2
    assert error == pytest.approx(max(0, wrong_micro - 1) / 1e6, abs=1e-6)
